variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of stream, queues, logs and delivered objects."
  type        = string
}

variable "lake_bucket_arn" {
  description = "Bucket that events are delivered to, below events/."
  type        = string
}

variable "shards" {
  description = "Shards of the stream, 1 MB or 1,000 records a second each. Null: on demand, which costs more at a steady rate."
  type        = number
  default     = null

  validation {
    condition     = var.shards == null ? true : var.shards >= 1
    error_message = "A stream has at least one shard; null makes it an on-demand one."
  }
}

variable "retention_hours" {
  description = "Hours for which the stream keeps records: how long delivery may stand still without loss."
  type        = number
  default     = 24

  validation {
    condition     = var.retention_hours >= 24 && var.retention_hours <= 8760
    error_message = "Kinesis keeps records for 24 to 8760 hours."
  }
}

variable "buffer_s" {
  description = "Seconds after which a batch is written to the lake."
  type        = number
  default     = 300

  validation {
    condition     = var.buffer_s >= 60 && var.buffer_s <= 900
    error_message = "With dynamic partitioning Firehose takes 60 to 900 seconds."
  }
}

variable "shadow_timeout_s" {
  description = "Time limit of the function that reads the shadow queue; messages stay hidden for six times as long."
  type        = number
}

variable "log_days" {
  description = "Days for which the log of failed deliveries is kept."
  type        = number
  default     = 30
}
