environment = "prod"
region      = "eu-central-1"
owner       = "recsys"
disposable  = false

api_function        = { memory_mb = 1769, timeout_s = 10, reserved_concurrency = 400, provisioned_concurrency = 0, snap_start = true }
authorizer_function = { memory_mb = 512, timeout_s = 5, reserved_concurrency = 400, provisioned_concurrency = 0, snap_start = true }
shadow_function     = { memory_mb = 1769, timeout_s = 30, reserved_concurrency = 20, provisioned_concurrency = 0, snap_start = true }
weighted_rollouts   = true
account_concurrency = 1000

exploration_share     = 0.05
throttle              = { rate = 2000, burst = 2000 }
cors_origins          = []
event_shards          = null
event_retention_hours = 168
storefront            = true

log_days           = 90
alarm_emails       = ["recsys-prod@example.com"]
latency_p99_ms     = 300
monthly_budget_usd = 3000
