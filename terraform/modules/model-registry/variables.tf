variable "table_prefix" {
  description = "Prefix of every table name, RECSYS_TABLE_PREFIX of the code."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,200}$", var.table_prefix))
    error_message = "DynamoDB table names hold letters, digits, hyphens, dots and underscores only."
  }
}

variable "kms_key_arn" {
  description = "Key of the tables."
  type        = string
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the tables until this is switched off."
  type        = bool
  default     = true
}

variable "max_read_units" {
  description = "Read request units per second a table may use at most, a limit to what a flood can cost. -1: none."
  type        = number
  default     = -1

  validation {
    condition     = var.max_read_units == -1 || var.max_read_units >= 1
    error_message = "At least 1, or -1 for no limit."
  }
}

variable "max_write_units" {
  description = "Write request units per second a table may use at most. -1: none."
  type        = number
  default     = -1

  validation {
    condition     = var.max_write_units == -1 || var.max_write_units >= 1
    error_message = "At least 1, or -1 for no limit."
  }
}
