mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  environment = "prod"
  packages = {
    api        = { path = "api.zip", hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }
    authorizer = { path = "authorizer.zip", hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }
    shadow     = { path = "shadow.zip", hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }
    judge      = { path = "judge.zip", hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }
  }
  region              = "eu-central-1"
  owner               = "recsys"
  disposable          = false
  allowed_account_ids = ["123456789012"]
  functions = {
    api        = { memory_mb = 1769, timeout_s = 10, reserved_concurrency = 20, provisioned_concurrency = 0, snap_start = false }
    authorizer = { memory_mb = 256, timeout_s = 5, reserved_concurrency = 20, provisioned_concurrency = 0, snap_start = false }
    shadow     = { memory_mb = 1769, timeout_s = 30, reserved_concurrency = 2, provisioned_concurrency = 0, snap_start = false }
  }
  serving = {
    weighted_rollouts   = true
    account_concurrency = 1000
    exploration_share   = 0.05
    throttle            = { rate = 10, burst = 10 }
    cors_origins        = []
  }
  events     = { stream = { shards = 1, retention_hours = 24 } }
  storefront = null
  operations = {
    full_monitoring    = true
    tracing            = true
    log_days           = 30
    alarm_emails       = ["somebody@example.com"]
    latency_p99_ms     = 500
    monthly_budget_usd = 100
  }
}

run "everything_at_once" {
  command = plan

  module {
    source = "./stack"
  }

  variables {
    shop     = { data = "s3://a-shop/log" }
    settings = { RECSYS_ALLOW_REPEATS = "true", RECSYS_MAX_PER_BRAND = "3" }
    network = {
      cidr                = "10.20.0.0/20"
      zones               = ["eu-central-1a", "eu-central-1b"]
      nat                 = "one"
      interface_endpoints = []
    }
    runs       = { cpu = 2048, memory_mb = 16384, disk_gib = 40, architecture = "X86_64" }
    training   = { schedule = null }
    daily      = { schedule = { expression = "cron(0 2 * * ? *)", timezone = "UTC" } }
    storefront = { web_acl_arn = null, demonstration = true }
    sagemaker = {
      endpoint = { serverless = { memory_mb = 2048, max_concurrency = 3 } }
    }
    feature_job = { worker_type = "G.1X", workers = 2, timeout_minutes = 120 }
    feature_package = {
      path           = "features.zip"
      hash           = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
      entry          = "glue_features.py"
      python_modules = ["sqlglot==26.0.0"]
    }
  }

  assert {
    condition     = length(module.training) == 1 && length(module.feature_job) == 1 && length(module.storefront) == 1
    error_message = "A machine that nobody's schedule starts, a feature job and a demonstration are made where they are asked for."
  }

  assert {
    condition     = output.settings.RECSYS_FEATURES_GLUE_JOB == "recsys-prod-features" && output.settings.RECSYS_DATA == "s3://a-shop/log" && output.settings.RECSYS_INFERENCE_INSTANCE_TYPE == "ml.m5.large"
    error_message = "Whoever runs the graph is told of the job, the shop's data, and what batches run on."
  }

  assert {
    condition     = { for name, alarm in local.daily_alarms : name => alarm.metric[1] } == { "daily-missed" = "ApproximateNumberOfMessagesVisible", "daily-not-run" = "ReportsMade", "drift-found" = "DriftFamilies", "quality-gate-closed" = "GatesClosed", "data-stopped" = "DataAge", "stream-stopped" = "StreamAge" }
    error_message = "The daily task is watched where its schedule is on."
  }

  assert {
    condition     = local.daily_settings.RECSYS_TRAINING_MACHINE_ARN == "arn:aws:states:eu-central-1:123456789012:stateMachine:recsys-prod-training"
    error_message = "The task names the training machine without depending on it."
  }

  assert {
    condition     = toset(keys(output.route_keys)) == toset([for route in local.routes : "${route.method} ${route.path}"])
    error_message = "The gateway has the routes of routes.json."
  }
}

run "what_would_hurt_a_shop_is_refused" {
  command = plan

  module {
    source = "./stack"
  }

  # Data that may be lost, the environment's own settings, chance beyond measure, an unknown strategy, training on nothing, features without their code, logs of an odd age.
  variables {
    disposable  = true
    settings    = { RECSYS_TARGET = "local" }
    feature_job = { worker_type = "G.1X", workers = 2, timeout_minutes = 120 }
    training    = { schedule = { expression = "cron(0 4 ? * MON *)", timezone = "UTC" } }
    rollout     = { strategy = "big-bang", approval_hours = 0, function = { memory_mb = 3008, timeout_s = 840, disk_mb = 2048 } }
    serving = {
      weighted_rollouts   = true
      account_concurrency = 1000
      exploration_share   = 0.9
      throttle            = { rate = 10, burst = 10 }
      cors_origins        = []
    }
    operations = {
      full_monitoring    = true
      tracing            = true
      log_days           = 10
      alarm_emails       = ["somebody@example.com"]
      latency_p99_ms     = 500
      monthly_budget_usd = 100
    }
  }

  expect_failures = [var.disposable, var.feature_job, var.operations, var.rollout, var.serving, var.settings, var.training]
}

run "a_daily_task_with_nothing_to_report_on_is_refused" {
  command = plan

  module {
    source = "./stack"
  }

  variables {
    training = null
    daily    = { schedule = { expression = "cron(0 2 * * ? *)", timezone = "UTC" } }
  }

  expect_failures = [var.daily]
}

run "an_environment_without_an_account_is_refused" {
  command = plan

  module {
    source = "./stack"
  }

  variables {
    allowed_account_ids = null
  }

  expect_failures = [var.allowed_account_ids]
}

run "shoppers_on_a_page_are_refused" {
  command = plan

  module {
    source = "./stack"
  }

  variables {
    storefront = { web_acl_arn = null }
  }

  expect_failures = [var.storefront]
}
