environment = "dev"
region      = "eu-central-1"
owner       = "recsys"
disposable  = true

allowed_account_ids = null

functions = {
  api        = { memory_mb = 1769, timeout_s = 10, reserved_concurrency = null, provisioned_concurrency = 0, snap_start = false }
  authorizer = { memory_mb = 1024, timeout_s = 5, reserved_concurrency = null, provisioned_concurrency = 0, snap_start = false }
  shadow     = { memory_mb = 1769, timeout_s = 30, reserved_concurrency = null, provisioned_concurrency = 0, snap_start = false }
}

serving = {
  weighted_rollouts   = true
  account_concurrency = 1000
  exploration_share   = 0.05
  throttle            = { rate = 50, burst = 100 }
  cors_origins        = ["http://localhost:8000"]
}

events = {
  stream = null
}

storefront = {
  web_acl_arn = null
}

backup = null

network = null

runs = null

sagemaker = null

training = null

daily = null

rollout = null

shop = null

feature_job = null

dagster = null

ci_access = null

operations = {
  full_monitoring    = false
  tracing            = false
  log_days           = 14
  alarm_emails       = ["recsys-dev@example.com"]
  latency_p99_ms     = 1000
  monthly_budget_usd = 25
}
