variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "functions" {
  description = "Functions by short name. package_hash is the base64 SHA-256 of the zip; timeout_s and memory_mb are Lambda's limits; snap_start (a paid cache for every published version) and provisioned_concurrency exclude each other; reserved_concurrency null uses the account's common pool. Nothing here may depend on a queue: role, log group and dead-letter queue of a function are made from it, and a queue takes half a minute."
  type = map(object({
    description             = string
    handler                 = string
    package_path            = string
    package_hash            = string
    memory_mb               = number
    timeout_s               = number
    environment             = optional(map(string), {})
    reserved_concurrency    = optional(number)
    provisioned_concurrency = optional(number, 0)
    snap_start              = optional(bool, false)
    ephemeral_storage_mb    = optional(number, 512)
  }))

  validation {
    condition     = alltrue([for function in values(var.functions) : can(regex("^[A-Za-z0-9+/]{43}=$", function.package_hash))])
    error_message = "package_hash is the SHA-256 of the zip in base64, as `recsys package` prints it (source_code_hash)."
  }

  validation {
    condition     = alltrue([for function in values(var.functions) : function.memory_mb >= 128 && function.memory_mb <= 10240])
    error_message = "A function has 128 to 10240 MB of memory."
  }

  validation {
    condition     = alltrue([for function in values(var.functions) : function.timeout_s >= 1 && function.timeout_s <= 900])
    error_message = "A time limit is 1 to 900 seconds."
  }
}

variable "access" {
  description = "Grants of service-access by function, beside what every function needs."
  type        = map(map(list(string)))
  default     = {}
}

variable "queues" {
  description = "SQS queue that a function reads, by function."
  type = map(object({
    arn                 = string
    batch_size          = optional(number, 10)
    batch_window_s      = optional(number, 1)
    maximum_concurrency = optional(number, 2)
  }))
  default = {}

  validation {
    condition     = length(setsubtract(keys(var.queues), keys(var.functions))) == 0
    error_message = "queues names a function that functions does not have."
  }
}

variable "environment" {
  description = "Variables of every function: RECSYS_* settings."
  type        = map(string)
}

variable "package_bucket" {
  description = "Bucket of the zips."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of variables, logs and dead letters."
  type        = string
}

variable "runtime" {
  description = "Lambda runtime. The packages contain libraries for exactly this one."
  type        = string
  default     = "python3.13"

  validation {
    condition     = can(regex("^python3\\.\\d+$", var.runtime))
    error_message = "The functions are Python: python3.<minor>."
  }
}

variable "architecture" {
  description = "Processor of the packages."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Lambda runs on arm64 or x86_64."
  }
}

variable "weighted_rollouts" {
  description = "Whether new code is rolled out by weights of the alias `live`. Excludes provisioned concurrency."
  type        = bool
  default     = true
}

variable "account_concurrency" {
  description = "The account's quota of concurrent executions in the region (Service Quotas, L-B99A9384)."
  type        = number
  default     = 1000
}

variable "log_days" {
  description = "Days for which logs are kept."
  type        = number
  default     = 30
}

variable "tracing" {
  description = "Whether Lambda records traces with X-Ray."
  type        = bool
  default     = true
}
