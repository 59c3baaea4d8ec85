# Values are in ../environments/*/terraform.tfvars. Every environment sets the attributes without `optional`.
variable "environment" {
  description = "Name of the environment; everything is called recsys-<environment>-..."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.environment))
    error_message = "2 to 21 lower-case letters, digits and hyphens, a letter first."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "allowed_account_ids" {
  description = "Accounts in which this environment may be created; the provider refuses credentials of any other. Name one, and use one account per environment. Null: any, which only a disposable environment may say."
  type        = list(string)
  default     = null

  validation {
    condition     = var.disposable || length(coalesce(var.allowed_account_ids, [])) > 0
    error_message = "Name the account of this environment in allowed_account_ids: credentials of another one would build it there."
  }
}

variable "owner" {
  description = "Team responsible for the environment, value of the tag Owner."
  type        = string
}

variable "disposable" {
  description = "Whether tables and buckets may be destroyed with their data. Never true for an environment with a shop's data."
  type        = bool

  validation {
    condition     = !(var.disposable && var.environment == "prod")
    error_message = "prod holds a shop's data and cannot be disposable."
  }
}

variable "packages" {
  description = "Zips of the functions: path and base64 SHA-256 (source_code_hash), as `recsys package` prints them."
  type = object({
    api        = object({ path = string, hash = string })
    authorizer = object({ path = string, hash = string })
    shadow     = object({ path = string, hash = string })
    judge      = object({ path = string, hash = string })
  })
}

variable "functions" {
  description = "Sizes of the functions: api answers shoppers, authorizer checks keys, shadow queries the shadow model; see modules/lambda-inference. reserved_concurrency null uses the account's pool, because new accounts allow only 10 concurrent executions."
  type = object({
    api = object({
      memory_mb               = number
      timeout_s               = number
      reserved_concurrency    = number
      provisioned_concurrency = number
      snap_start              = bool
    })
    authorizer = object({
      memory_mb               = number
      timeout_s               = number
      reserved_concurrency    = number
      provisioned_concurrency = number
      snap_start              = bool
    })
    shadow = object({
      memory_mb               = number
      timeout_s               = number
      reserved_concurrency    = number
      provisioned_concurrency = number
      snap_start              = bool
    })
  })
}

variable "rollout" {
  description = "Rollouts that decide by themselves: strategy of a registered version (canary, blue-green, shadow, immediate), what decides a canary (experiment, interleaving, guardrails), hours that a person has to approve before everybody meets it (0: nobody is asked), and size of the function that judges (memory and /tmp in MB: it reads the stage's lists and checks bundles). Null: a registered version waits for a person."
  type = object({
    strategy       = string
    approval_hours = number
    verdict        = optional(string, "experiment")
    function = object({
      memory_mb = number
      timeout_s = number
      disk_mb   = number
    })
  })
  default = null

  validation {
    condition     = var.rollout == null || contains(["canary", "blue-green", "shadow", "immediate"], try(var.rollout.strategy, ""))
    error_message = "strategy is canary, blue-green, shadow or immediate."
  }

  validation {
    condition     = var.rollout == null || contains(["experiment", "interleaving", "guardrails"], try(var.rollout.verdict, ""))
    error_message = "verdict is experiment, interleaving or guardrails."
  }

  validation {
    condition     = var.rollout == null || try(var.rollout.approval_hours >= 0 && var.rollout.approval_hours <= 168, false)
    error_message = "approval_hours is 0 to 168: a version that waits longer has to be judged again."
  }
}

variable "serving" {
  description = "Serving: whether new code is rolled out by weights of the alias `live` (excludes provisioned concurrency), the account's quota of concurrent executions in the region (Service Quotas, L-B99A9384), share of exploration, requests per second and burst of each route, origins of shop pages that call the API from a browser (the page behind CloudFront needs none), the API's own domain with its ACM certificate of this region (the gateway's default address is then closed)."
  type = object({
    weighted_rollouts   = bool
    account_concurrency = number
    exploration_share   = number
    throttle            = object({ rate = number, burst = number })
    cors_origins        = list(string)
    domain              = optional(object({ name = string, certificate_arn = string }))
  })

  validation {
    condition     = var.serving.exploration_share >= 0 && var.serving.exploration_share <= 0.5
    error_message = "exploration_share is between 0 and 0.5, as in lambda_api/settings.py."
  }
}

variable "events" {
  description = "Path of events into the lake. stream null: functions write to Firehose directly, without a fixed cost. Otherwise a Kinesis stream in front of it, for further readers: shards (null: on demand) and hours for which it keeps records."
  type = object({
    stream = object({
      shards          = number
      retention_hours = number
    })
  })
}

variable "storefront" {
  description = "The demonstration shop page on CloudFront, with the AWS WAF web ACL in front of it or null. It shows 24 shoppers of the log with their purchases, and anybody can act as any shopper, so it must not show a shop's own data. Refused outside disposable environments unless demonstration = true. Null: no page."
  type = object({
    web_acl_arn   = string
    demonstration = optional(bool, false)
  })

  validation {
    condition     = var.storefront == null || var.disposable || try(var.storefront.demonstration, false)
    error_message = "The page shows shoppers of the log to everybody: set storefront = null, or demonstration = true for invented data."
  }
}

variable "storefront_key" {
  description = "API key of scope shop that CloudFront adds to the page's requests. Empty: the page alone."
  type        = string
  default     = ""
  sensitive   = true
}

variable "network" {
  description = "VPC for containers: addresses, zones, NAT gateways (none, one, per_zone), AWS services with an endpoint; see modules/network. Null: none, and therefore no runs on AWS."
  type = object({
    cidr                = string
    zones               = set(string)
    nat                 = string
    interface_endpoints = set(string)
  })
  default = null
}

variable "backup" {
  description = "Daily backups of the lake and of the tables api_keys and registry, copied into a vault of another account: ARN of that vault, days for which copies are kept; see modules/backup. Null: recovery within this account only."
  type = object({
    vault_arn = string
    days      = optional(number, 35)
  })
  default = null
}

variable "image_tag" {
  description = "Tag of the container images: the git revision that `recsys images` gave them. No task starts before images with this tag are pushed."
  type        = string
  default     = "unreleased"
}

variable "runs" {
  description = "A run of the asset graph on ECS: CPU units, memory in MB, disk in GiB, processor (X86_64, ARM64); see modules/runs. Null: none."
  type = object({
    cpu          = number
    memory_mb    = number
    disk_gib     = number
    architecture = string
  })
  default = null

  validation {
    condition     = var.runs == null || var.network != null
    error_message = "Runs on ECS need a network: set network, or runs = null."
  }
}

variable "dagster" {
  description = "Dagster's web server, daemon and code locations on ECS: size of each (CPU units, memory in MB), load balancer, database; see modules/dagster. Null: none."
  type = object({
    size = object({ cpu = number, memory_mb = number })
    web = object({
      internal        = bool
      certificate_arn = string
      allowed_cidrs   = list(string)
    })
    database = object({
      version        = string
      instance_class = string
      storage_gib    = number
      multi_az       = bool
      backup_days    = number
    })
  })
  default = null

  validation {
    condition     = var.dagster == null || var.runs != null
    error_message = "Dagster starts its runs as tasks: set runs, or dagster = null."
  }
}

variable "ci_access" {
  description = "Roles of GitHub's jobs: repository (owner/name) and its ids or null, the account's OIDC provider or null to create it, Terraform's state as in backend.hcl; see modules/ci-access. Null: none."
  type = object({
    repository     = string
    repository_ids = optional(object({ owner = string, repository = string }))
    provider_arn   = string
    state          = object({ bucket = string, key = string })
  })
  default = null
}

variable "operations" {
  description = "Days for which logs are kept, mail addresses for alarms and the budget, the latency in milliseconds beyond which one request in a hundred is an alarm, the monthly budget in US dollars, whether the dashboard and all alarms are created (false: three alarms and no dashboard, which costs nearly nothing), and whether requests are traced with X-Ray (at a low rate nearly every request is, for 5 dollars per million)."
  type = object({
    full_monitoring    = bool
    tracing            = bool
    log_days           = number
    alarm_emails       = list(string)
    latency_p99_ms     = number
    monthly_budget_usd = number
  })

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.operations.log_days)
    error_message = "CloudWatch accepts only certain numbers of days, e.g. 7, 14, 30, 90 or 365."
  }
}
