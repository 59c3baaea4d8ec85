mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name           = "recsys-test"
  package_bucket = "models"
  kms_key_arn    = "arn:aws:kms:eu-central-1:123456789012:key/k"
  environment    = { RECSYS_TARGET = "aws" }
  access = {
    api    = { dynamodb_read = ["arn:aws:dynamodb:eu-central-1:123456789012:table/t"] }
    worker = { sqs_consume = ["arn:aws:sqs:eu-central-1:123456789012:q"] }
  }
  queues = { worker = { arn = "arn:aws:sqs:eu-central-1:123456789012:q", maximum_concurrency = 4 } }

  functions = {
    api = {
      description  = "Answers"
      handler      = "package.module.handler"
      package_path = "api.zip"
      package_hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
      memory_mb    = 1769
      timeout_s    = 10
      snap_start   = true
    }
    worker = {
      description          = "Works"
      handler              = "package.other.handler"
      package_path         = "worker.zip"
      package_hash         = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
      memory_mb            = 256
      timeout_s            = 30
      reserved_concurrency = 4
      environment          = { OWN = "1" }
    }
  }
}

run "functions" {
  command = apply

  module {
    source = "./modules/lambda-inference"
  }

  assert {
    condition     = alltrue([for function in values(aws_lambda_function.this) : function.publish && function.architectures[0] == "arm64" && function.runtime == "python3.13" && one(function.tracing_config).mode == "Active"])
    error_message = "Functions are published, for the platform of their packages, and traced."
  }

  assert {
    condition     = aws_lambda_function.this["api"].reserved_concurrent_executions == -1 && aws_lambda_function.this["worker"].reserved_concurrent_executions == 4
    error_message = "No reservation unless one is given."
  }

  assert {
    condition     = one(aws_lambda_function.this["api"].snap_start).apply_on == "PublishedVersions" && length(aws_lambda_function.this["worker"].snap_start) == 0
    error_message = "No SnapStart unless it is asked for: its cache is paid for every published version."
  }

  assert {
    condition     = one(aws_lambda_function.this["worker"].environment).variables == tomap({ RECSYS_TARGET = "aws", OWN = "1" })
    error_message = "A function's own variables come beside the common ones."
  }

  assert {
    condition     = aws_s3_object.package["api"].key == "packages/api/47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU.zip"
    error_message = "A package is called by its bytes, in letters a path may hold."
  }

  assert {
    condition     = { for name, alias in aws_lambda_alias.live : name => alias.name } == { api = "live", worker = "live" }
    error_message = "Everything calls the alias live."
  }

  assert {
    condition     = keys(aws_lambda_event_source_mapping.queue) == ["worker"] && contains(aws_lambda_event_source_mapping.queue["worker"].function_response_types, "ReportBatchItemFailures")
    error_message = "The queue feeds its function, and a failed message alone comes again."
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.this["api"].policy).Statement : statement.Sid] == ["DynamodbRead", "KmsWrite", "LogsWrite", "SqsSend", "XrayTrace"]
    error_message = "A role holds its grants, and what every function needs."
  }

  assert {
    condition     = length(aws_lambda_provisioned_concurrency_config.this) == 0
    error_message = "Nothing is provisioned unless asked for."
  }
}

run "snapstart_before_python_3_12_is_refused" {
  command = plan

  module {
    source = "./modules/lambda-inference"
  }

  variables {
    runtime = "python3.11"
  }

  expect_failures = [aws_lambda_function.this["api"]]
}

run "provisioned_concurrency_with_a_weighted_alias_is_refused" {
  command = plan

  module {
    source = "./modules/lambda-inference"
  }

  variables {
    queues = {}
    functions = {
      api = {
        description             = "Answers"
        handler                 = "package.module.handler"
        package_path            = "api.zip"
        package_hash            = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        memory_mb               = 1769
        timeout_s               = 10
        snap_start              = false
        provisioned_concurrency = 2
      }
    }
  }

  expect_failures = [aws_lambda_function.this["api"]]
}

run "provisioned_concurrency_alone_is_taken" {
  command = plan

  module {
    source = "./modules/lambda-inference"
  }

  variables {
    weighted_rollouts = false
    queues            = {}
    functions = {
      api = {
        description             = "Answers"
        handler                 = "package.module.handler"
        package_path            = "api.zip"
        package_hash            = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        memory_mb               = 1769
        timeout_s               = 10
        snap_start              = false
        provisioned_concurrency = 2
      }
    }
  }

  assert {
    condition     = aws_lambda_provisioned_concurrency_config.this["api"].provisioned_concurrent_executions == 2 && aws_lambda_provisioned_concurrency_config.this["api"].qualifier == "live"
    error_message = "Instances are kept for the alias that answers."
  }
}

run "snapstart_with_provisioned_concurrency_is_refused" {
  command = plan

  module {
    source = "./modules/lambda-inference"
  }

  variables {
    weighted_rollouts = false
    queues            = {}
    functions = {
      api = {
        description             = "Answers"
        handler                 = "package.module.handler"
        package_path            = "api.zip"
        package_hash            = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        memory_mb               = 1769
        timeout_s               = 10
        snap_start              = true
        provisioned_concurrency = 2
      }
    }
  }

  expect_failures = [aws_lambda_function.this["api"]]
}

run "snapstart_with_a_large_disk_is_refused" {
  command = plan

  module {
    source = "./modules/lambda-inference"
  }

  variables {
    queues = {}
    functions = {
      api = {
        description          = "Answers"
        handler              = "package.module.handler"
        package_path         = "api.zip"
        package_hash         = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        memory_mb            = 1769
        timeout_s            = 10
        snap_start           = true
        ephemeral_storage_mb = 1024
      }
    }
  }

  expect_failures = [aws_lambda_function.this["api"]]
}

run "more_than_the_account_has_is_refused" {
  command = plan

  module {
    source = "./modules/lambda-inference"
  }

  variables {
    account_concurrency = 100
  }

  expect_failures = [aws_lambda_function.this["api"], aws_lambda_function.this["worker"]]
}

run "what_is_no_hash_is_refused" {
  command = plan

  module {
    source = "./modules/lambda-inference"
  }

  variables {
    queues = {}
    functions = {
      api = {
        description  = "Answers"
        handler      = "package.module.handler"
        package_path = "api.zip"
        package_hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        memory_mb    = 64
        timeout_s    = 1000
      }
    }
  }

  expect_failures = [var.functions]
}
