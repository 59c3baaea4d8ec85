variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "machine" {
  description = "Short name of the machine, such as training."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.machine))
    error_message = "2 to 21 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "definition" {
  description = "File of the definition in Amazon States Language (JSONPath), a template of Terraform's."
  type        = string
}

variable "substitutions" {
  description = "Values of the definition's placeholders."
  type        = map(string)
}

variable "services" {
  description = "Table of the services the machine calls: service integration (Resource of a Task) => lines of service-access => names of resources."
  type        = map(map(list(string)))
}

variable "resources" {
  description = "ARNs behind the names of that table; a name with none grants nothing."
  type        = map(list(string))
}

variable "schedule" {
  description = "When executions start by themselves: expression and time zone of EventBridge Scheduler. Null: only when somebody starts one."
  type = object({
    expression = string
    timezone   = string
    enabled    = optional(bool, true)
  })
  default = null
}

variable "kms_key_arn" {
  description = "Key of log, queue and schedule."
  type        = string
}

variable "log_days" {
  description = "Days for which the log is kept."
  type        = number
}
