variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "endpoint" {
  description = "How a model version is served: serverless or real-time (one of the two), variants per endpoint, data capture, subnets."
  type = object({
    serverless = optional(object({
      memory_mb               = number
      max_concurrency         = number
      provisioned_concurrency = optional(number, 0)
    }))
    realtime = optional(object({
      instance_type = string
      min_instances = number
      max_instances = number
    }))
    variants     = optional(number, 1)
    data_capture = optional(bool, false)
    subnet_ids   = optional(list(string), [])
  })
}

variable "jobs" {
  description = "What training jobs run on: instance type, spot or not, disk in GB, longest run and (spot) longest run and waiting together in seconds. Null: no jobs, models are trained where the asset graph runs."
  type = object({
    instance_type = string
    spot          = bool
    volume_gb     = number
    max_runtime_s = number
    max_wait_s    = number
  })
  default = null
}

variable "image_tag" {
  description = "Tag of the images of jobs and endpoints: the git revision `make images` gave them."
  type        = string
  default     = "unreleased"
}

variable "batch_instance_type" {
  description = "Instance type of batch transforms, as which batches run wherever there are images."
  type        = string
  default     = "ml.m5.large"
}

variable "models_bucket_name" {
  description = "Bucket of the files of jobs."
  type        = string
}

variable "shadow" {
  description = "Whether a model may stand in the shadow on an endpoint of its own during a rollout."
  type        = bool
  default     = true
}

variable "serverless_concurrency_quota" {
  description = "Concurrent runs all serverless endpoints of the account may have together (Service Quotas); new accounts have 10."
  type        = number
  default     = 10
}

variable "lake_bucket_arn" {
  description = "Bucket training reads."
  type        = string
}

variable "models_bucket_arn" {
  description = "Bucket training writes and endpoints read."
  type        = string
}

variable "log_group_arn_prefix" {
  description = "arn:<partition>:logs:<region>:<account>, below which SageMaker makes its own log groups."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:logs:[a-z0-9-]+:[0-9]{12}$", var.log_group_arn_prefix))
    error_message = "arn:<partition>:logs:<region>:<account>, without a colon at the end."
  }
}

variable "kms_key_arn" {
  description = "Key of images and objects."
  type        = string
}

variable "images_kept" {
  description = "Images kept per repository."
  type        = number
  default     = 20

  validation {
    condition     = var.images_kept >= 2
    error_message = "A rollback needs the image before the newest."
  }
}

variable "force_destroy" {
  description = "Whether destroying the environment deletes its images."
  type        = bool
  default     = false
}
