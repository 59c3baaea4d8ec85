variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string

  validation {
    # The longest bucket name is <name>-models-<12 digits>, of the 63 characters S3 takes.
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,42}$", var.name))
    error_message = "Bucket names are made of it: 2 to 43 lower-case letters, digits and hyphens."
  }
}

variable "kms_key_arn" {
  description = "Key of the data buckets."
  type        = string
}

variable "cold_after_days" {
  description = "Days after which data moves to Intelligent-Tiering and logs to Glacier Instant Retrieval."
  type        = number
  default     = 90
}

variable "old_version_days" {
  description = "Days for which a replaced or deleted object can be brought back."
  type        = number
  default     = 30

  validation {
    condition     = var.old_version_days >= 1
    error_message = "Keep replaced versions for at least a day, to undo a deletion by mistake."
  }
}

variable "log_days" {
  description = "Days for which access logs of the buckets are kept."
  type        = number
  default     = 365
}

variable "force_destroy" {
  description = "Whether destroying the environment deletes its data. Only for environments without a shop's data."
  type        = bool
  default     = false
}
