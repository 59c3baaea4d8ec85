locals {
  machine_folder = var.machine_folder

  # Trigger alarms are called rollback-... (recsys_deploy/rollout/evidence.py): the judge takes back a version while one of
  # them is in alarm. Alarms of the machine and its function have other names, or one rollback would cause the next. The
  # next word is the variant that an alarm is about.
  variants = ["champion", "challenger"]

  share_alarms = {
    for variant in local.variants : "rollback-${variant}-errors" => {
      description = "More than 5 % of the ${variant}'s answers failed in its model, bundle or endpoint within five minutes. A rollout of it is taken back."
      threshold   = 0.05
      expression  = "IF(answers >= 20, failed / answers, 0)"
      queries = {
        failed  = ["Recsys", "VersionFailed", "Sum", jsonencode({ service = "recommend-api", variant = variant })]
        answers = ["Recsys", "VersionFailed", "SampleCount", jsonencode({ service = "recommend-api", variant = variant })]
      }
    }
  }

  throttled = {
    "rollback-throttled" = {
      description = "Lambda throttles more than 10 % of the API's invocations within five minutes. A rollout that runs is taken back."
      threshold   = 0.1
      expression  = "IF(runs + refused >= 20, refused / (runs + refused), 0)"
      queries = {
        refused = ["AWS/Lambda", "Throttles", "Sum", jsonencode({ FunctionName = var.api_function_name })]
        runs    = ["AWS/Lambda", "Invocations", "Sum", jsonencode({ FunctionName = var.api_function_name })]
      }
    }
  }

  metric_alarms = merge([
    for variant in local.variants : {
      "rollback-${variant}-latency" = {
        metric      = "VariantLatency"
        variant     = variant
        statistic   = "Average"
        period      = 300
        threshold   = 1000
        description = "The ${variant}'s answers took more than 1,000 ms on average over five minutes. A rollout of it is taken back."
      }
      "rollback-${variant}-failures" = {
        metric      = "VersionFailed"
        variant     = variant
        statistic   = "Sum"
        period      = 60
        threshold   = 10
        description = "More than 10 answers of the ${variant} failed in its model, bundle or endpoint within a minute. A rollout of it is taken back."
      }
    }
  ]...)
}

module "machine" {
  source = "../ml-pipeline"

  name          = var.name
  machine       = "rollout"
  definition    = "${local.machine_folder}/rollout.asl.json"
  services      = jsondecode(file("${local.machine_folder}/services.json"))
  substitutions = { function_arn = var.function.arn }
  resources     = { function = [var.function.arn] }
  kms_key_arn   = var.kms_key_arn
  log_days      = var.log_days
}

# What the function takes a version back for, without waiting for the next look.
locals {
  notices = {
    # An execution that was aborted, timed out or failed runs no state any more.
    ended = {
      description = "Executions of ${module.machine.machine_name} that ended without success"
      pattern = jsonencode({
        source        = ["aws.states"]
        "detail-type" = ["Step Functions Execution Status Change"]
        detail = {
          status          = ["ABORTED", "FAILED", "TIMED_OUT"]
          stateMachineArn = [module.machine.machine_arn]
        }
      })
    }
    alarmed = {
      description = "Alarms that end a rollout"
      pattern = jsonencode({
        source        = ["aws.cloudwatch"]
        "detail-type" = ["CloudWatch Alarm State Change"]
        detail = {
          alarmName = [{ prefix = "${var.name}-rollback-" }]
          state     = { value = ["ALARM"] }
        }
      })
    }
  }
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each = local.notices

  name          = "${var.name}-rollout-${each.key}"
  description   = each.value.description
  event_pattern = each.value.pattern
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = local.notices

  rule      = aws_cloudwatch_event_rule.this[each.key].name
  target_id = "judge"
  arn       = var.function.arn

  retry_policy {
    maximum_event_age_in_seconds = 6 * 3600
    maximum_retry_attempts       = 100
  }

  depends_on = [aws_lambda_permission.this]
}

resource "aws_lambda_permission" "this" {
  for_each = local.notices

  statement_id  = "Rollout${title(each.key)}"
  action        = "lambda:InvokeFunction"
  function_name = var.function.function_name
  qualifier     = var.function.alias
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.this[each.key].arn
}

resource "aws_cloudwatch_metric_alarm" "shares" {
  for_each = merge(local.share_alarms, local.throttled)

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]

  metric_query {
    id          = "share"
    expression  = each.value.expression
    label       = "Share"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = each.value.queries

    content {
      id = metric_query.key

      metric {
        namespace   = metric_query.value[0]
        metric_name = metric_query.value[1]
        stat        = metric_query.value[2]
        dimensions  = jsondecode(metric_query.value[3])
        period      = 300
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "metrics" {
  for_each = local.metric_alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = "Recsys"
  metric_name         = each.value.metric
  dimensions          = { service = "recommend-api", variant = each.value.variant }
  statistic           = each.value.statistic
  period              = each.value.period
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanThreshold"
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
}
