variable "name" {
  description = "Name of the schedule, the prefix of its role and its queue."
  type        = string
}

variable "description" {
  description = "What the schedule starts, in words."
  type        = string
}

variable "schedule" {
  description = "When: expression and time zone of EventBridge Scheduler, and whether it is on."
  type = object({
    expression = string
    timezone   = string
    enabled    = bool
  })

  validation {
    condition     = can(regex("^(cron|rate|at)\\(.+\\)$", var.schedule.expression))
    error_message = "An expression of EventBridge Scheduler: cron(...), rate(...) or at(...)."
  }
}

variable "call" {
  description = "What is called: service and operation of a universal target of Scheduler, such as sfn:startExecution."
  type        = string
}

variable "input" {
  description = "Parameters of the call as JSON, in which keywords such as <aws.scheduler.execution-id> are filled in."
  type        = string
}

variable "grants" {
  description = "What the call needs: grants of service-access."
  type        = map(list(string))
}

variable "kms_key_arn" {
  description = "Key of schedule and queue."
  type        = string
}
