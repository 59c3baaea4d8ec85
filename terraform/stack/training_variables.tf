variable "shop" {
  description = "The shop's data: s3:// prefix, kind of source (auto: recognised), first day on the calendar (null: the data's). Null: nothing to train on, so runs on AWS refuse to start."
  type = object({
    data      = string
    source    = optional(string, "auto")
    first_day = optional(string)
  })
  default = null

  validation {
    condition     = var.shop == null ? true : can(regex("^s3://[^/]+/.+[^/]$", var.shop.data))
    error_message = "data is an s3:// prefix below a bucket, without a slash at the end."
  }
}

variable "settings" {
  description = "What the shop wants of its lists, models and evaluation, for all code: RECSYS_* settings by name (docs/settings.md), such as { RECSYS_ALLOW_REPEATS = \"true\" }."
  type        = map(string)
  default     = {}

  validation {
    condition = length(setsubtract(keys(var.settings), [
      "RECSYS_ALLOW_REPEATS", "RECSYS_CURRENCY", "RECSYS_EVENTS", "RECSYS_FRESHNESS", "RECSYS_FRESH_DAYS",
      "RECSYS_INFERENCE_LOG", "RECSYS_K", "RECSYS_MAX_PER_BRAND", "RECSYS_MAX_PER_CATEGORY", "RECSYS_MODELS",
      "RECSYS_NEW_PRODUCTS", "RECSYS_PARAMETERS", "RECSYS_PREDICTION_CACHE_S", "RECSYS_SEED", "RECSYS_SHOP_NAME",
      "RECSYS_TEST_DAYS", "RECSYS_TEST_SHARE", "RECSYS_VALIDATION_DAYS", "RECSYS_VALIDATION_SHARE",
    ])) == 0
    error_message = "settings holds settings of the shop only; what belongs to the environment is set by other variables (docs/aws.md)."
  }
}

variable "sagemaker" {
  description = "SageMaker: what training jobs run on (null: models are trained in the run), instance type of batch transforms (batches are transforms wherever sagemaker is set, because the image that serves endpoints is named then), how a model version is served by an endpoint of its own, and how many concurrent runs the account's serverless endpoints may have; see modules/sagemaker. Null: none."
  type = object({
    jobs = optional(object({
      instance_type = string
      spot          = bool
      volume_gb     = number
      max_runtime_s = number
      max_wait_s    = number
    }))
    batch_instance_type = optional(string, "ml.m5.large")
    endpoint = object({
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
    })
    serverless_concurrency_quota = optional(number, 10)
  })
  default = null
}

variable "training" {
  description = "The training machine, which runs the asset graph and reads its outcome: when it starts by itself (null: only when somebody starts it). What it registers is rolled out where rollout is set; otherwise somebody is told. An environment has one trainer: this schedule, or Dagster's (off until somebody turns it on), or GitHub's model-training (off until the repository names RECSYS_DATA); turn on one of the three. Null: no machine."
  type = object({
    schedule = optional(object({
      expression = string
      timezone   = string
      enabled    = optional(bool, true)
    }))
  })
  default = null

  validation {
    condition     = var.training == null || var.runs != null
    error_message = "The training machine runs the asset graph as a task on ECS: set runs, or training = null."
  }

  validation {
    condition     = var.shop != null || !try(var.training.schedule.enabled, false)
    error_message = "A schedule without a shop would start runs that refuse to train: name the shop's data in shop, or say enabled = false."
  }
}

variable "daily" {
  description = "The daily task, for environments without Dagster's daemon: it ingests new days, makes yesterday's reports, and starts the training machine where they ask for it. With it the weekly schedule may be off: at the latest after 28 days it starts a training. Null: none."
  type = object({
    schedule = object({
      expression = string
      timezone   = string
      enabled    = optional(bool, true)
    })
  })
  default = null

  validation {
    condition     = var.daily == null || var.training != null
    error_message = "The daily task starts the training machine: set training, or daily = null."
  }

  validation {
    condition     = var.shop != null || !try(var.daily.schedule.enabled, false)
    error_message = "A schedule without a shop would start tasks that have nothing to report on: name the shop's data in shop, or say enabled = false."
  }
}

variable "feature_job" {
  description = "Feature tables on Glue: size of a worker, workers, minutes after which a run is ended; see modules/glue. Paid by the run, and worth it when a shop's log outgrows the memory of one task. Null: computed in the run, by DuckDB."
  type = object({
    worker_type     = string
    workers         = number
    timeout_minutes = number
  })
  default = null

  validation {
    condition     = var.feature_job == null || var.feature_package != null
    error_message = "The job's code comes from `recsys package`: pass feature_package, or feature_job = null."
  }
}

variable "feature_package" {
  description = "Code of the feature job, as `recsys package` prints it: zip and its base64 SHA-256, entry program, libraries it needs besides."
  type = object({
    path           = string
    hash           = string
    entry          = string
    python_modules = list(string)
  })
  default = null
}
