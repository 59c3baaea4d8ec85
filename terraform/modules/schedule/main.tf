data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name
  missed    = "${var.name}-missed"
}

# What the schedule could not start.
resource "aws_sqs_queue" "missed" {
  name                      = local.missed
  message_retention_seconds = 14 * 24 * 3600
  kms_master_key_id         = var.kms_key_arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = "arn:${local.partition}:sqs:${local.region}:${local.account}:${local.missed}"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

module "access" {
  source = "../service-access"

  grants = merge(var.grants, {
    kms_write = [var.kms_key_arn]
    sqs_send  = [aws_sqs_queue.missed.arn]
  })
}

resource "aws_iam_role" "this" {
  name = "${var.name}-schedule"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "access"
  role   = aws_iam_role.this.id
  policy = module.access.policy
}

resource "aws_scheduler_schedule" "this" {
  name                         = var.name
  description                  = var.description
  schedule_expression          = var.schedule.expression
  schedule_expression_timezone = var.schedule.timezone
  state                        = var.schedule.enabled ? "ENABLED" : "DISABLED"
  kms_key_arn                  = var.kms_key_arn

  flexible_time_window {
    mode = "OFF"
  }

  # The service's own call as the target: targets made for state machines and tasks take no name and no token of ours.
  target {
    arn      = "arn:${local.partition}:scheduler:::aws-sdk:${var.call}"
    role_arn = aws_iam_role.this.arn
    # jsonencode writes < and > as escapes, and Scheduler looks for its keywords as they are.
    input = replace(replace(var.input, "\\u003c", "<"), "\\u003e", ">")

    dead_letter_config {
      arn = aws_sqs_queue.missed.arn
    }

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 10
    }
  }

  depends_on = [aws_iam_role_policy.this]
}
