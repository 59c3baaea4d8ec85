variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "deletion_window_days" {
  description = "Days in which a deletion of the key can be taken back. What it encrypts is lost afterwards."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_window_days >= 7 && var.deletion_window_days <= 30
    error_message = "KMS waits 7 to 30 days before it deletes a key."
  }
}
