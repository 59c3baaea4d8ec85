# Checked where they are used, in modules/recommender.
variable "environment" {
  description = "Name of the environment; everything is called recsys-<environment>-..."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "owner" {
  description = "Team that answers for the environment, value of the tag Owner."
  type        = string
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
  default     = ""
  sensitive   = true
}

variable "storefront_web_acl_arn" {
  description = "AWS WAF web ACL in front of the page; null: none."
  type        = string
  default     = null
}

variable "disposable" {
  description = "Whether tables and buckets may be destroyed with what they hold. Never where a shop's data is."
  type        = bool
}

variable "log_days" {
  description = "Days for which logs are kept."
  type        = number
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
