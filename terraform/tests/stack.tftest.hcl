mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  environment = "prod"
  packages = {
    api        = { path = "api.zip", hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }
    authorizer = { path = "authorizer.zip", hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }
    shadow     = { path = "shadow.zip", hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }
  }
  region     = "eu-central-1"
  owner      = "recsys"
  disposable = false
  functions = {
    api        = { memory_mb = 1769, timeout_s = 10, reserved_concurrency = 20, provisioned_concurrency = 0, snap_start = true }
    authorizer = { memory_mb = 256, timeout_s = 5, reserved_concurrency = 20, provisioned_concurrency = 0, snap_start = true }
    shadow     = { memory_mb = 1769, timeout_s = 30, reserved_concurrency = 2, provisioned_concurrency = 0, snap_start = true }
  }
  serving = {
    weighted_rollouts   = true
    account_concurrency = 1000
    exploration_share   = 0.05
    throttle            = { rate = 10, burst = 10 }
    cors_origins        = []
  }
  events     = { shards = 1, retention_hours = 24 }
  storefront = null
  operations = {
    log_days           = 30
    alarm_emails       = ["somebody@example.com"]
    latency_p99_ms     = 500
    monthly_budget_usd = 100
  }
}

run "without_a_page" {
  command = plan

  module {
    source = "./stack"
  }

  assert {
    condition     = length(module.storefront) == 0 && output.storefront_url == null
    error_message = "A shop with a page of its own needs none of ours."
  }

  assert {
    condition     = toset(keys(output.route_keys)) == toset(concat([for route in local.routes : "${route.method} ${route.path}"], ["$default"]))
    error_message = "The gateway has the routes of routes.json."
  }
}

run "what_would_lose_a_shops_data_is_refused" {
  command = plan

  module {
    source = "./stack"
  }

  variables {
    disposable = true
    serving = {
      weighted_rollouts   = true
      account_concurrency = 1000
      exploration_share   = 0.9
      throttle            = { rate = 10, burst = 10 }
      cors_origins        = []
    }
    operations = {
      log_days           = 10
      alarm_emails       = ["somebody@example.com"]
      latency_p99_ms     = 500
      monthly_budget_usd = 100
    }
  }

  expect_failures = [var.disposable, var.serving, var.operations]
}
