environment = "staging"
region      = "eu-central-1"
owner       = "recsys"
disposable  = false

api_function        = { memory_mb = 1769, timeout_s = 10, reserved_concurrency = 50, provisioned_concurrency = 0, snap_start = true }
authorizer_function = { memory_mb = 256, timeout_s = 5, reserved_concurrency = 50, provisioned_concurrency = 0, snap_start = true }
shadow_function     = { memory_mb = 1769, timeout_s = 30, reserved_concurrency = 5, provisioned_concurrency = 0, snap_start = true }
weighted_rollouts   = true
account_concurrency = 1000

exploration_share     = 0.05
throttle              = { rate = 200, burst = 400 }
cors_origins          = []
event_shards          = 1
event_retention_hours = 24
storefront            = true

log_days           = 30
alarm_emails       = ["recsys-staging@example.com"]
latency_p99_ms     = 500
monthly_budget_usd = 300
