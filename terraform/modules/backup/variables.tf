variable "name" {
  description = "Project and environment, the name of vault and plan."
  type        = string
}

variable "vault_arn" {
  description = "Vault in another account that receives a copy of every backup. Its access policy allows backup:CopyIntoBackupVault to this account."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:backup:[a-z0-9-]+:\\d{12}:backup-vault:.+$", var.vault_arn))
    error_message = "vault_arn is the ARN of a backup vault: arn:aws:backup:<region>:<account>:backup-vault:<name>."
  }
}

variable "resources" {
  description = "ARNs of tables and buckets that are backed up."
  type        = list(string)
}

variable "schedule" {
  description = "When a backup begins, as a cron expression in UTC."
  type        = string
  default     = "cron(0 2 * * ? *)"
}

variable "days_here" {
  description = "Days for which a backup is kept in this account; tables can be restored to any second of the last 35 days without it."
  type        = number
  default     = 7
}

variable "days_there" {
  description = "Days for which a copy is kept in the other account."
  type        = number
  default     = 35
}

variable "kms_key_arn" {
  description = "Key of the vault in this account."
  type        = string
}

variable "force_destroy" {
  description = "Whether the vault in this account may be destroyed with its backups."
  type        = bool
  default     = false
}
