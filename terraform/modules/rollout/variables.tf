variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "machine_folder" {
  description = "Folder with rollout.asl.json and its table of services, services.json."
  type        = string
}

variable "function" {
  description = "The function that carries out the machine's steps: its name, and the alias that is invoked with the alias' ARN."
  type = object({
    function_name = string
    alias         = string
    arn           = string
  })

  validation {
    condition     = endswith(var.function.arn, ":${var.function.alias}")
    error_message = "arn is the ARN of the alias: a machine that invokes $LATEST would change under a running rollout."
  }
}

variable "api_function_name" {
  description = "Function that answers shoppers; its throttling ends a rollout."
  type        = string
}

variable "topic_arn" {
  description = "Topic of notices to people."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the machine's log."
  type        = string
}

variable "log_days" {
  description = "Days for which the machine's log is kept."
  type        = number
}
