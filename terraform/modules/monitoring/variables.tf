variable "name" {
  description = "Project and environment, the prefix of every name and the value of the tag Environment."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the topic."
  type        = string
}

variable "emails" {
  description = "Who is told of alarms and of the budget. Each address has to be confirmed by its owner."
  type        = list(string)

  validation {
    condition     = length(var.emails) > 0
    error_message = "Somebody has to be told: alarms that reach nobody are none."
  }

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", email))])
    error_message = "An address reads name@host."
  }
}

variable "functions" {
  description = "Functions watched, by short name: name, time limit in seconds, queue of dead letters."
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
  description = "Tables watched, by the name the code opens them under."
  type        = map(string)
}

variable "event_stream_name" {
  description = "Kinesis stream of events."
  type        = string
}

variable "delivery_stream_name" {
  description = "Firehose that writes them to the lake."
  type        = string
}

variable "delivery_buffer_s" {
  description = "Seconds for which the Firehose collects a batch; events older by a quarter of an hour are late."
  type        = number
}

variable "shadow_queue_name" {
  description = "Queue of questions for the model in the shadow."
  type        = string
}

variable "shadow_failed_queue_name" {
  description = "Queue of those that were given up."
  type        = string
}

variable "alarms" {
  description = "Alarms of other modules, by name: namespace, metric and statistic; dimensions; threshold, below which instead of above which it sounds if `below`; what it means and what to do."
  type = map(object({
    metric      = list(string)
    dimensions  = map(string)
    threshold   = number
    below       = optional(bool, false)
    description = string
  }))
  default = {}

  validation {
    condition     = alltrue([for alarm in values(var.alarms) : length(alarm.metric) == 3 && length(alarm.description) > 40])
    error_message = "An alarm names namespace, metric and statistic, and says in a sentence what it means and what to do."
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
    error_message = "A share lies between 0 and 1; at 1 the alarm could never sound."
  }
}

variable "error_share" {
  description = "Alarm when this share of a function's runs fail."
  type        = number
  default     = 0.01

  validation {
    condition     = var.error_share >= 0 && var.error_share < 1
    error_message = "A share lies between 0 and 1; at 1 the alarm could never sound."
  }
}

variable "monthly_budget_usd" {
  description = "What the environment may cost a month, in US dollars; told at 80 % and when 100 % are forecast."
  type        = number

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "A budget is more than nothing."
  }
}
