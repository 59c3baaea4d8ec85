variable "name" {
  description = "Project and environment, the prefix of every name and the value of the tag Environment."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the topic."
  type        = string
}

variable "emails" {
  description = "Mail addresses for alarms and the budget. Each owner has to confirm the subscription."
  type        = list(string)

  validation {
    condition     = length(var.emails) > 0
    error_message = "Name at least one address, or alarms reach nobody."
  }

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])
    error_message = "An address has the form name@host."
  }
}

variable "functions" {
  description = "Monitored functions by short name: name, time limit in seconds, dead-letter queue."
  type = map(object({
    function_name          = string
    timeout_s              = number
    dead_letter_queue_name = string
  }))
}

variable "api_id" {
  description = "Id of the HTTP API."
  type        = string
}

variable "table_names" {
  description = "Monitored tables, by their names in the code."
  type        = map(string)
}

variable "full" {
  description = "All alarms and the dashboard. False: three alarms, which cost 0.30 dollars a month."
  type        = bool
  default     = true
}

variable "event_stream_name" {
  description = "Kinesis stream of events; empty where records go to Firehose directly."
  type        = string
}

variable "delivery_stream_name" {
  description = "Firehose that writes events to the lake."
  type        = string
}

variable "delivery_buffer_s" {
  description = "Seconds for which Firehose collects a batch; events are late 15 minutes after that."
  type        = number
}

variable "shadow_queue_name" {
  description = "Shadow queue."
  type        = string
}

variable "shadow_failed_queue_name" {
  description = "Queue of its failed messages."
  type        = string
}

variable "alarms" {
  description = "Alarms of other modules, by name: namespace, metric and statistic; dimensions; threshold (`below`: the alarm is for values below it); a description with the meaning and the remedy; seconds of a period, and in how many of the last periods the threshold has to be passed (`breaches` of `periods`); what missing data mean, in CloudWatch's words."
  type = map(object({
    metric      = list(string)
    dimensions  = map(string)
    threshold   = number
    below       = optional(bool, false)
    period_s    = optional(number, 300)
    periods     = optional(number, 3)
    breaches    = optional(number, 2)
    missing     = optional(string, "notBreaching")
    description = string
  }))
  default = {}

  validation {
    condition     = alltrue([for alarm in values(var.alarms) : length(alarm.metric) == 3 && length(alarm.description) > 40])
    error_message = "An alarm names namespace, metric and statistic, and its description says what it means and what to do."
  }
}

variable "latency_p99_ms" {
  description = "Alarm when one request in a hundred takes longer, in milliseconds."
  type        = number
  default     = 500
}

variable "fallback_share" {
  description = "Alarm when this share of personal lists fell back to popular products."
  type        = number
  default     = 0.1

  validation {
    condition     = var.fallback_share >= 0 && var.fallback_share < 1
    error_message = "A share is between 0 and 1; at 1 the alarm could never fire."
  }
}

variable "error_share" {
  description = "Alarm when this share of invocations or requests fails."
  type        = number
  default     = 0.01

  validation {
    condition     = var.error_share >= 0 && var.error_share < 1
    error_message = "A share is between 0 and 1; at 1 the alarm could never fire."
  }
}

variable "monthly_budget_usd" {
  description = "Monthly budget in US dollars; a message is sent at 80 % and when 100 % are forecast."
  type        = number

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "The budget is more than 0."
  }
}
