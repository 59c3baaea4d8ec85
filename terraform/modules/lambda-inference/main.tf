data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  queues = "arn:${data.aws_partition.current.partition}:sqs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"

  snap_started = { for name, function in var.functions : name => function.snap_start }
  provisioned  = { for name, function in var.functions : name => function.provisioned_concurrency if function.provisioned_concurrency > 0 }

  access = { for name in keys(var.functions) : name => lookup(var.access, name, {}) }

  runtime_minor = tonumber(regex("^python3\\.(\\d+)$", var.runtime)[0])

  reserved = sum(concat([0], [for function in values(var.functions) : function.reserved_concurrency if function.reserved_concurrency != null]))

  # AWS refuses reservations that leave less than this to the account's other functions.
  left_unreserved = 100
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = var.functions

  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

# For asynchronous invocations, which only people and schedules make. All versions behind an alias need the same queue.
resource "aws_sqs_queue" "dead_letters" {
  for_each = var.functions

  name                      = "${var.name}-${each.key}-dead-letters"
  message_retention_seconds = 14 * 24 * 3600
  kms_master_key_id         = var.kms_key_arn

  # An attribute, because a resource of its own waits for half a minute.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = "${local.queues}:${var.name}-${each.key}-dead-letters"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

module "access" {
  source   = "../service-access"
  for_each = var.functions

  grants = merge(local.access[each.key], {
    kms_write  = [var.kms_key_arn]
    logs_write = ["${aws_cloudwatch_log_group.this[each.key].arn}:*"]
    sqs_send   = concat(lookup(local.access[each.key], "sqs_send", []), [aws_sqs_queue.dead_letters[each.key].arn])
    xray_trace = ["*"]
  })
}

resource "aws_iam_role" "this" {
  for_each = var.functions

  name = "${var.name}-${each.key}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = var.functions

  name   = "access"
  role   = aws_iam_role.this[each.key].id
  policy = module.access[each.key].policy
}

# Through S3, because a direct upload is limited to 50 MB. The object's name is the package's hash.
resource "aws_s3_object" "package" {
  for_each = var.functions

  bucket      = var.package_bucket
  key         = "packages/${each.key}/${replace(replace(trimsuffix(each.value.package_hash, "="), "/", "_"), "+", "-")}.zip"
  source      = each.value.package_path
  source_hash = each.value.package_hash
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_117:It calls AWS services alone, over TLS and by its role; a VPC would add cold starts and endpoints
  #checkov:skip=CKV_AWS_272:A package has the name of its bytes and Terraform states their hash; only the deploying role writes there
  for_each = var.functions

  function_name = "${var.name}-${each.key}"
  description   = each.value.description
  role          = aws_iam_role.this[each.key].arn
  handler       = each.value.handler
  runtime       = var.runtime
  architectures = [var.architecture]
  memory_size   = each.value.memory_mb
  timeout       = each.value.timeout_s
  publish       = true

  s3_bucket        = aws_s3_object.package[each.key].bucket
  s3_key           = aws_s3_object.package[each.key].key
  source_code_hash = each.value.package_hash

  reserved_concurrent_executions = coalesce(each.value.reserved_concurrency, -1)
  kms_key_arn                    = var.kms_key_arn

  environment {
    variables = merge(var.environment, each.value.environment)
  }

  ephemeral_storage {
    size = each.value.ephemeral_storage_mb
  }

  dead_letter_config {
    target_arn = aws_sqs_queue.dead_letters[each.key].arn
  }

  # The handlers write JSON themselves; Lambda's JSON format would wrap their metrics.
  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.this[each.key].name
  }

  tracing_config {
    mode = var.tracing ? "Active" : "PassThrough"
  }

  dynamic "snap_start" {
    for_each = local.snap_started[each.key] ? ["PublishedVersions"] : []

    content {
      apply_on = snap_start.value
    }
  }

  # Lambda uses role, key and queue when it creates a function.
  depends_on = [aws_iam_role_policy.this]

  lifecycle {
    precondition {
      condition     = !local.snap_started[each.key] || local.runtime_minor >= 12
      error_message = "${each.key}: SnapStart needs python3.12 or later; choose a later runtime or snap_start = false."
    }

    precondition {
      condition     = !local.snap_started[each.key] || each.value.provisioned_concurrency == 0
      error_message = "${each.key}: SnapStart and provisioned concurrency exclude each other; choose one."
    }

    precondition {
      condition     = !local.snap_started[each.key] || each.value.ephemeral_storage_mb <= 512
      error_message = "${each.key}: SnapStart allows at most 512 MB of /tmp; use less, or snap_start = false."
    }

    precondition {
      condition     = !var.weighted_rollouts || each.value.provisioned_concurrency == 0
      error_message = "${each.key}: an alias with weights excludes provisioned concurrency; use SnapStart, or set weighted_rollouts = false."
    }

    precondition {
      condition     = each.value.provisioned_concurrency <= coalesce(each.value.reserved_concurrency, var.account_concurrency)
      error_message = "${each.key}: provisioned concurrency exceeds the reserved."
    }

    precondition {
      condition     = local.reserved <= var.account_concurrency - local.left_unreserved
      error_message = "Reserved concurrency is ${local.reserved} in all, but of ${var.account_concurrency} in the account AWS keeps ${local.left_unreserved} unreserved: reserve less (null: none), or ask for a higher quota and set account_concurrency to it."
    }

    precondition {
      # Environment: 4 KB for names and values together.
      condition     = length(jsonencode(merge(var.environment, each.value.environment))) <= 4096
      error_message = "${each.key}: Lambda allows 4 KB of environment variables."
    }
  }
}

resource "aws_lambda_alias" "live" {
  for_each = var.functions

  name             = "live"
  description      = "The live version; moved by deployments, only created by Terraform"
  function_name    = aws_lambda_function.this[each.key].function_name
  function_version = aws_lambda_function.this[each.key].version

  lifecycle {
    ignore_changes = [function_version, routing_config]
  }
}

resource "aws_lambda_provisioned_concurrency_config" "this" {
  for_each = local.provisioned

  function_name                     = aws_lambda_function.this[each.key].function_name
  qualifier                         = aws_lambda_alias.live[each.key].name
  provisioned_concurrent_executions = each.value
}

# Failed asynchronous invocations go to the dead-letter queue after one retry.
resource "aws_lambda_function_event_invoke_config" "this" {
  for_each = var.functions

  function_name                = aws_lambda_function.this[each.key].function_name
  qualifier                    = aws_lambda_alias.live[each.key].name
  maximum_event_age_in_seconds = 3600
  maximum_retry_attempts       = 1
}

resource "aws_lambda_event_source_mapping" "queue" {
  for_each = var.queues

  event_source_arn                   = each.value.arn
  function_name                      = aws_lambda_alias.live[each.key].arn
  batch_size                         = each.value.batch_size
  maximum_batching_window_in_seconds = each.value.batch_window_s
  function_response_types            = ["ReportBatchItemFailures"]

  # Without a limit the mapping starts more and more instances and is throttled by the reservation.
  scaling_config {
    maximum_concurrency = each.value.maximum_concurrency
  }

  lifecycle {
    precondition {
      condition     = each.value.maximum_concurrency >= 2 && each.value.maximum_concurrency <= coalesce(var.functions[each.key].reserved_concurrency, var.account_concurrency)
      error_message = "${each.key}: a queue's maximum_concurrency is at least 2, and at most the function's reservation."
    }
  }
}
