variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "entry_path" {
  description = "The program Glue starts, recsys_assets/features/glue_features.py."
  type        = string
}

variable "package" {
  description = "Zip of the code it imports: path and base64 SHA-256, as `recsys package` prints them."
  type = object({
    path = string
    hash = string
  })
}

variable "python_modules" {
  description = "Libraries Glue installs when a run starts, each name==version."
  type        = list(string)
}


variable "lake_bucket_arn" {
  description = "Its ARN: interactions are read, feature tables written."
  type        = string
}

variable "code_bucket_name" {
  description = "Bucket of the code, of Glue's temporary files and of what Dagster and a run tell each other."
  type        = string
}

variable "code_bucket_arn" {
  description = "ARN of that bucket."
  type        = string
}

variable "glue_version" {
  description = "Version of Glue, which brings Python and Spark."
  type        = string
  default     = "5.0"
}

variable "worker_type" {
  description = "Size of a worker."
  type        = string
  default     = "G.1X"
}

variable "workers" {
  description = "Workers of a run, the driver among them."
  type        = number
  default     = 2
}

variable "timeout_minutes" {
  description = "Minutes after which Glue ends a run."
  type        = number
  default     = 120

  validation {
    condition     = var.timeout_minutes >= 1 && var.timeout_minutes <= 10080
    error_message = "From a minute to seven days."
  }
}

variable "kms_key_arn" {
  description = "Key of code, log and feature tables."
  type        = string
}

variable "log_days" {
  description = "Days for which logs are kept."
  type        = number
}
