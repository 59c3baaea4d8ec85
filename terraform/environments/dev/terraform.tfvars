environment = "dev"
region      = "eu-central-1"
owner       = "recsys"
disposable  = true

api_function        = { memory_mb = 1769, timeout_s = 10, reserved_concurrency = null, provisioned_concurrency = 0, snap_start = true }
authorizer_function = { memory_mb = 256, timeout_s = 5, reserved_concurrency = null, provisioned_concurrency = 0, snap_start = true }
shadow_function     = { memory_mb = 1769, timeout_s = 30, reserved_concurrency = null, provisioned_concurrency = 0, snap_start = true }
weighted_rollouts   = true
account_concurrency = 1000

exploration_share     = 0.05
throttle              = { rate = 50, burst = 100 }
cors_origins          = ["http://localhost:8000"]
event_shards          = 1
event_retention_hours = 24
storefront            = true

log_days           = 14
alarm_emails       = ["recsys-dev@example.com"]
latency_p99_ms     = 1000
monthly_budget_usd = 100
