environment = "prod"
region      = "eu-central-1"
owner       = "recsys"
disposable  = false

# The account of prod, of no other environment. Nobody has this number: put yours here.
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
  throttle            = { rate = 2000, burst = 2000 }
  cors_origins        = []
}

events = {
  stream = null
}

storefront = null

backup = null

network = {
  cidr                = "10.22.0.0/18"
  zones               = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  nat                 = "one"
  interface_endpoints = []
}

runs = {
  cpu          = 8192
  memory_mb    = 32768
  disk_gib     = 200
  architecture = "X86_64"
}

sagemaker = {
  jobs = {
    instance_type = "ml.m5.2xlarge"
    spot          = true
    volume_gb     = 30
    max_runtime_s = 14400
    max_wait_s    = 28800
  }
  batch_instance_type = "ml.m5.large"
  endpoint = {
    serverless = { memory_mb = 4096, max_concurrency = 3, provisioned_concurrency = 0 }
  }
  serverless_concurrency_quota = 10
}

training = {
  schedule = { expression = "cron(0 4 ? * MON *)", timezone = "UTC", enabled = false }
}

daily = {
  schedule = { expression = "cron(0 2 * * ? *)", timezone = "UTC", enabled = false }
}

rollout = {
  strategy       = "canary"
  approval_hours = 48
  function       = { memory_mb = 3008, timeout_s = 840, disk_mb = 2048 }
}

shop = null

feature_job = null

dagster = null

ci_access = {
  repository     = "example/recsys"
  repository_ids = null
  provider_arn   = null
  state          = { bucket = "recsys-prod-terraform-state", key = "recsys/terraform.tfstate" }
}

operations = {
  full_monitoring    = true
  tracing            = true
  log_days           = 365
  alarm_emails       = ["recsys-prod@example.com"]
  latency_p99_ms     = 300
  monthly_budget_usd = 3000
}
