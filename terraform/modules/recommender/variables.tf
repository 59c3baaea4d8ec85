variable "environment" {
  description = "Name of the environment; everything is called recsys-<environment>-..."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.environment))
    error_message = "2 to 21 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "packages" {
  description = "Zips of the functions: path and base64 SHA-256 (source_code_hash), as `recsys package` prints them."
  type = object({
    api        = object({ path = string, hash = string })
    authorizer = object({ path = string, hash = string })
    shadow     = object({ path = string, hash = string })
  })
}

variable "api_function" {
  description = "Size of the function that answers shoppers; see modules/lambda-inference."
  type = object({
    memory_mb               = number
    timeout_s               = number
    reserved_concurrency    = number
    provisioned_concurrency = number
    snap_start              = bool
  })
}

variable "authorizer_function" {
  description = "Size of the function that checks keys; see modules/lambda-inference."
  type = object({
    memory_mb               = number
    timeout_s               = number
    reserved_concurrency    = number
    provisioned_concurrency = number
    snap_start              = bool
  })
}

variable "shadow_function" {
  description = "Size of the function that asks the model in the shadow; see modules/lambda-inference."
  type = object({
    memory_mb               = number
    timeout_s               = number
    reserved_concurrency    = number
    provisioned_concurrency = number
    snap_start              = bool
  })
}

variable "weighted_rollouts" {
  description = "Whether new code is rolled out by weights of the alias `live`. Excludes provisioned concurrency."
  type        = bool
}

variable "account_concurrency" {
  description = "Concurrent executions this account may have in the region (Service Quotas, L-B99A9384)."
  type        = number
}

variable "exploration_share" {
  description = "Share of places given to chance, 0 to 0.5."
  type        = number

  validation {
    condition     = var.exploration_share >= 0 && var.exploration_share <= 0.5
    error_message = "Between 0 and 0.5, as lambda_api/settings.py has it."
  }
}

variable "throttle" {
  description = "Requests per second and burst of each route of the API."
  type = object({
    rate  = number
    burst = number
  })
}

variable "cors_origins" {
  description = "Origins of shop pages that call the API from a browser. The page behind CloudFront needs none."
  type        = list(string)
}

variable "event_shards" {
  description = "Shards of the event stream; null: on demand."
  type        = number
}

variable "event_retention_hours" {
  description = "Hours for which the event stream keeps records."
  type        = number
}

variable "storefront" {
  description = "Whether the demonstration shop page is put on CloudFront."
  type        = bool
}

variable "storefront_key" {
  description = "API key of scope shop that CloudFront adds to the page's requests. Empty: the page alone."
  type        = string
  sensitive   = true
}

variable "storefront_web_acl_arn" {
  description = "AWS WAF web ACL in front of the page; null: none."
  type        = string
}

variable "disposable" {
  description = "Whether tables and buckets may be destroyed with what they hold. Never where a shop's data is."
  type        = bool

  validation {
    condition     = !(var.disposable && var.environment == "prod")
    error_message = "prod holds a shop's data: it is not disposable."
  }
}

variable "log_days" {
  description = "Days for which logs are kept."
  type        = number

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "CloudWatch keeps logs for certain numbers of days only, e.g. 7, 14, 30, 90 or 365."
  }
}

variable "alarm_emails" {
  description = "Who is told of alarms and of the budget."
  type        = list(string)
}

variable "latency_p99_ms" {
  description = "Alarm when one request in a hundred takes longer, in milliseconds."
  type        = number
}

variable "monthly_budget_usd" {
  description = "What the environment may cost a month, in US dollars."
  type        = number
}
