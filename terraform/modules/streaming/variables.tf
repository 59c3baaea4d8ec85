variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "kms_key_arn" {
  description = "ARN of the KMS key of stream, queues, logs and delivered objects."
  type        = string
}

variable "lake_bucket_arn" {
  description = "Bucket that receives the events, below events/."
  type        = string
}

variable "stream" {
  description = "A Kinesis stream in front of Firehose, for further readers: shards of 1 MB or 1,000 records per second each (null: on demand, which costs more at a steady rate), and hours for which records are kept, so long can delivery be interrupted without loss. Null: no stream, records are written to Firehose directly."
  type = object({
    shards          = optional(number)
    retention_hours = optional(number, 24)
  })
  default = null

  validation {
    condition     = try(var.stream.shards, null) == null ? true : var.stream.shards >= 1
    error_message = "A stream has at least one shard; null makes it an on-demand stream."
  }

  validation {
    condition     = var.stream == null ? true : var.stream.retention_hours >= 24 && var.stream.retention_hours <= 8760
    error_message = "Kinesis keeps records for 24 to 8760 hours."
  }
}

variable "buffer_s" {
  description = "Seconds after which a batch is written to the lake."
  type        = number
  default     = 300

  validation {
    condition     = var.buffer_s >= 60 && var.buffer_s <= 900
    error_message = "With dynamic partitioning the interval is 60 to 900 seconds."
  }
}

variable "shadow_timeout_s" {
  description = "Time limit of the function that reads the shadow queue; the visibility timeout is six times as long."
  type        = number
}

variable "log_days" {
  description = "Days for which the log of failed deliveries is kept."
  type        = number
  default     = 30
}
