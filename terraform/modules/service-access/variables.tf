variable "grants" {
  description = "Line of the table of service integrations => ARNs it is granted on. A line with no ARN grants nothing; [\"*\"] is accepted only for lines that AWS cannot confine."
  type        = map(list(string))

  validation {
    condition     = alltrue([for name in keys(var.grants) : contains(keys(local.service_integrations), name)])
    error_message = "Unknown service integration. Add a line with its actions to service_integrations in modules/service-access/main.tf, or correct the name."
  }

  validation {
    condition = alltrue([
      for name, resources in var.grants : alltrue([
        for resource in resources : try(local.service_integrations[name].everywhere, null) != null ? resource == "*" : startswith(resource, "arn:")
      ])
    ])
    error_message = "A grant needs the ARN of its resource; only lines with the reason `everywhere` take \"*\", and they take nothing else."
  }
}
