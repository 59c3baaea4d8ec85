data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  queues      = "arn:${data.aws_partition.current.partition}:sqs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"
  queue_names = { shadow = "${var.name}-shadow", shadow_failed = "${var.name}-shadow-failed" }

  tls_only = {
    for key, name in local.queue_names : key => jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = "${local.queues}:${name}"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }]
    })
  }

  # The smallest buffer that Firehose accepts with dynamic partitioning.
  buffer_mb = 64

  # Questions for the shadow model expire after an hour (lambda_api/state/shadow_queue.py).
  question_lifetime_s = 3600
  max_deliveries      = 3
}

resource "aws_kinesis_stream" "events" {
  count = var.stream == null ? 0 : 1

  name             = "${var.name}-events"
  retention_period = var.stream.retention_hours
  shard_count      = var.stream.shards
  encryption_type  = "KMS"
  kms_key_id       = var.kms_key_arn

  stream_mode_details {
    stream_mode = var.stream.shards == null ? "ON_DEMAND" : "PROVISIONED"
  }
}

resource "aws_cloudwatch_log_group" "delivery" {
  name              = "/aws/kinesisfirehose/${var.name}-events"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_cloudwatch_log_stream" "delivery" {
  name           = "S3Delivery"
  log_group_name = aws_cloudwatch_log_group.delivery.name
}

module "delivery_access" {
  source = "../service-access"

  grants = {
    kinesis_read      = aws_kinesis_stream.events[*].arn
    s3_deliver        = ["${var.lake_bucket_arn}/events/*", "${var.lake_bucket_arn}/events_refused/*"]
    s3_deliver_bucket = [var.lake_bucket_arn]
    kms_write         = [var.kms_key_arn]
    logs_write        = ["${aws_cloudwatch_log_group.delivery.arn}:*"]
  }
}

resource "aws_iam_role" "delivery" {
  name = "${var.name}-event-delivery"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "firehose.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "delivery" {
  name   = "delivery"
  role   = aws_iam_role.delivery.id
  policy = module.delivery_access.policy
}

resource "aws_kinesis_firehose_delivery_stream" "events" {
  name        = "${var.name}-events"
  destination = "extended_s3"

  dynamic "kinesis_source_configuration" {
    for_each = aws_kinesis_stream.events[*].arn

    content {
      kinesis_stream_arn = kinesis_source_configuration.value
      role_arn           = aws_iam_role.delivery.arn
    }
  }

  # A stream in front of it encrypts its records itself.
  dynamic "server_side_encryption" {
    for_each = var.stream == null ? [var.kms_key_arn] : []

    content {
      enabled  = true
      key_type = "CUSTOMER_MANAGED_CMK"
      key_arn  = server_side_encryption.value
    }
  }

  extended_s3_configuration {
    role_arn   = aws_iam_role.delivery.arn
    bucket_arn = var.lake_bucket_arn

    # The same folders as on a laptop: <kind>/date=<day>, by the day of arrival (UTC).
    prefix              = "events/!{partitionKeyFromQuery:kind}/date=!{timestamp:yyyy-MM-dd}/"
    error_output_prefix = "events_refused/!{firehose:error-output-type}/date=!{timestamp:yyyy-MM-dd}/"
    file_extension      = ".jsonl.gz"
    custom_time_zone    = "UTC"
    buffering_size      = local.buffer_mb
    buffering_interval  = var.buffer_s
    compression_format  = "GZIP"
    kms_key_arn         = var.kms_key_arn

    dynamic_partitioning_configuration {
      enabled        = true
      retry_duration = 300
    }

    processing_configuration {
      enabled = true

      processors {
        type = "MetadataExtraction"

        parameters {
          parameter_name  = "JsonParsingEngine"
          parameter_value = "JQ-1.6"
        }

        parameters {
          parameter_name  = "MetadataExtractionQuery"
          parameter_value = "{kind:.kind}"
        }
      }
    }

    cloudwatch_logging_options {
      enabled         = true
      log_group_name  = aws_cloudwatch_log_group.delivery.name
      log_stream_name = aws_cloudwatch_log_stream.delivery.name
    }
  }

  # Firehose uses its role when it is created.
  depends_on = [aws_iam_role_policy.delivery]
}

# Queue policies are attributes of the queues: a resource of its own waits for half a minute.
resource "aws_sqs_queue" "shadow_failed" {
  name                      = local.queue_names.shadow_failed
  message_retention_seconds = 14 * 24 * 3600
  kms_master_key_id         = var.kms_key_arn
  policy                    = local.tls_only["shadow_failed"]

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = ["${local.queues}:${local.queue_names.shadow}"]
  })
}

resource "aws_sqs_queue" "shadow" {
  name                       = local.queue_names.shadow
  message_retention_seconds  = local.question_lifetime_s
  visibility_timeout_seconds = 6 * var.shadow_timeout_s
  kms_master_key_id          = var.kms_key_arn
  policy                     = local.tls_only["shadow"]

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.shadow_failed.arn
    maxReceiveCount     = local.max_deliveries
  })

  lifecycle {
    precondition {
      condition     = 6 * var.shadow_timeout_s * local.max_deliveries <= local.question_lifetime_s
      error_message = "Messages would expire before their last delivery: shadow_timeout_s must be 200 or less."
    }
  }
}
