environment = "staging"
region      = "eu-central-1"
owner       = "recsys"
disposable  = false

# The account of staging, of no other environment. Nobody has this number: put yours here.
allowed_account_ids = ["000000000000"]

functions = {
  api        = { memory_mb = 1769, timeout_s = 10, reserved_concurrency = null, provisioned_concurrency = 0, snap_start = false }
  authorizer = { memory_mb = 1024, timeout_s = 5, reserved_concurrency = null, provisioned_concurrency = 0, snap_start = false }
  shadow     = { memory_mb = 1769, timeout_s = 30, reserved_concurrency = null, provisioned_concurrency = 0, snap_start = false }
}

serving = {
  weighted_rollouts   = true
  account_concurrency = 1000
  exploration_share   = 0.05
  throttle            = { rate = 200, burst = 400 }
  cors_origins        = []
}

events = {
  stream = null
}

storefront = null

backup = null

network = {
  cidr                = "10.21.0.0/20"
  zones               = ["eu-central-1a", "eu-central-1b"]
  nat                 = "one"
  interface_endpoints = []
}

runs = {
  cpu          = 4096
  memory_mb    = 16384
  disk_gib     = 100
  architecture = "X86_64"
}

sagemaker = null

training = {
  schedule = { expression = "cron(0 4 ? * MON *)", timezone = "UTC", enabled = false }
}

daily = {
  schedule = { expression = "cron(0 2 * * ? *)", timezone = "UTC", enabled = false }
}

rollout = {
  strategy       = "canary"
  approval_hours = 0
  function       = { memory_mb = 3008, timeout_s = 840, disk_mb = 2048 }
}

shop = null

feature_job = null

dagster = null

ci_access = null

operations = {
  full_monitoring    = true
  tracing            = true
  log_days           = 30
  alarm_emails       = ["recsys-staging@example.com"]
  latency_p99_ms     = 500
  monthly_budget_usd = 300
}
