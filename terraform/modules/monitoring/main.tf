data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  # Of lambda_api/handlers/observe.py.
  namespace = "Recsys"
  service   = "recommend-api"

  # One alarm each: statistic (a percentile begins with p) of a metric over five minutes above the threshold, in two of three
  # periods, so that a single error does not stop a release. Missing data are no breach: without shoppers there are none.
  function_alarms = merge([
    for name, function in var.functions : {
      "${name}-throttles" = {
        metric      = ["AWS/Lambda", "Throttles", "Sum"]
        dimensions  = { FunctionName = function.function_name }
        threshold   = 0
        description = "Lambda throttles ${name}: its concurrency is used up. Raise the reservation or the account's quota, or find the client that floods the API."
      }
      "${name}-slow" = {
        metric      = ["AWS/Lambda", "Duration", "p99"]
        dimensions  = { FunctionName = function.function_name }
        threshold   = 0.8 * 1000 * function.timeout_s
        description = "One in a hundred invocations of ${name} takes over 80 % of its time limit. Its traces show the slow part."
      }
      "${name}-dead-letters" = {
        metric      = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum"]
        dimensions  = { QueueName = function.dead_letter_queue_name }
        threshold   = 0
        description = "Invocations of ${name} failed for good. Read the messages in the queue, correct the cause, send them again."
      }
    }
  ]...)

  table_alarms = merge([
    for name, table in var.table_names : {
      for kind in ["Read", "Write"] : "${name}-table-${lower(kind)}-throttles" => {
        metric      = ["AWS/DynamoDB", "${kind}ThrottleEvents", "Sum"]
        dimensions  = { TableName = table }
        threshold   = 0
        description = "DynamoDB throttles ${lower(kind)}s of ${table}: a hot partition, or its limit of request units is reached."
      }
    }
  ]...)

  own_alarms = {
    # The average of 5xx is the share of requests that were answered so.
    "api-5xx" = {
      metric      = ["AWS/ApiGateway", "5xx", "Average"]
      dimensions  = { ApiId = var.api_id }
      threshold   = var.error_share
      description = "More than ${100 * var.error_share} % of requests end in a server error, which the handler never returns: find integrationError and authorizerError in the access log."
    }
    "api-latency" = {
      metric      = ["AWS/ApiGateway", "Latency", "p99"]
      dimensions  = { ApiId = var.api_id }
      threshold   = var.latency_p99_ms
      description = "One request in a hundred takes longer than agreed. Compare the function's duration with its cold starts."
    }
    "fallback-share" = {
      metric      = [local.namespace, "Fallback", "Average"]
      dimensions  = { service = local.service, route = "/recommend" }
      threshold   = var.fallback_share
      description = "Shoppers get popular products instead of personal ones. FallbackByCause names the cause: model, history, endpoint or time."
    }
    "feedback-lost" = {
      metric      = [local.namespace, "FeedbackToRetry", "Sum"]
      dimensions  = { service = local.service, route = "/feedback" }
      threshold   = 0
      description = "Feedback could not be stored, and shops were asked to send it again. Check tables and stream."
    }
    "events-refused" = {
      metric      = var.event_stream_name == "" ? ["AWS/Firehose", "ThrottledRecords", "Sum"] : ["AWS/Kinesis", "WriteProvisionedThroughputExceeded", "Sum"]
      dimensions  = var.event_stream_name == "" ? { DeliveryStreamName = var.delivery_stream_name } : { StreamName = var.event_stream_name }
      threshold   = 0
      description = "Events arrive faster than the stream accepts them: add shards, switch it to on demand, or raise Firehose's quota."
    }
    "events-late" = {
      metric      = ["AWS/Firehose", "DeliveryToS3.DataFreshness", "Maximum"]
      dimensions  = { DeliveryStreamName = var.delivery_stream_name }
      threshold   = var.delivery_buffer_s + 900
      description = "Events reach the lake too late, and are lost when the retention ends (24 hours in Firehose). Read the delivery's log."
    }
    "shadow-late" = {
      metric      = ["AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum"]
      dimensions  = { QueueName = var.shadow_queue_name }
      threshold   = 1800
      description = "Messages wait half an hour for the shadow model and will expire: its function is too slow or fails."
    }
    "shadow-failed" = {
      metric      = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum"]
      dimensions  = { QueueName = var.shadow_failed_queue_name }
      threshold   = 0
      description = "The shadow model failed three times on some messages. Read them in the queue, and the function's log."
    }
  }

  every_alarm = merge(local.function_alarms, local.own_alarms, local.table_alarms, var.alarms)

  # The three that cover the others' consequences for shoppers, for environments that should cost nothing when idle.
  essential = ["api-5xx", "fallback-share", "events-late"]
  alarms    = { for name, alarm in local.every_alarm : name => alarm if var.full || contains(local.essential, name) }
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Publish"
        Effect    = "Allow"
        Principal = { Service = ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"] }
        Action    = ["sns:Publish"]
        Resource  = aws_sns_topic.alarms.arn
        Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = ["sns:Publish"]
        Resource  = aws_sns_topic.alarms.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_sns_topic_subscription" "email" {
  for_each = toset(var.emails)

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.metric[0]
  metric_name         = each.value.metric[1]
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.metric[2], "p") ? null : each.value.metric[2]
  extended_statistic  = startswith(each.value.metric[2], "p") ? each.value.metric[2] : null
  comparison_operator = try(each.value.below, false) ? "LessThanThreshold" : "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = try(each.value.period_s, 300)
  evaluation_periods  = try(each.value.periods, 3)
  datapoints_to_alarm = try(each.value.breaches, 2)
  treat_missing_data  = try(each.value.missing, "notBreaching")
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  # A percentile of a few invocations means nothing.
  evaluate_low_sample_count_percentiles = startswith(each.value.metric[2], "p") ? "ignore" : null
}

# A share and not a count: a few errors in a million requests are normal, a few in ten are an outage.
resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = var.full ? var.functions : {}

  alarm_name          = "${var.name}-${each.key}-errors"
  alarm_description   = "More than ${100 * var.error_share} % of the invocations of ${each.key} fail. Its log has the traceback; roll back if it began with a new version."
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.error_share
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "share"
    expression  = "IF(runs > 0, errors / runs, 0)"
    label       = "Share of runs that fail"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { errors = "Errors", runs = "Invocations" }

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/Lambda"
        metric_name = metric_query.value
        dimensions  = { FunctionName = each.value.function_name }
        stat        = "Sum"
        period      = 300
      }
    }
  }
}

# What a new version can break. `recsys monitor` watches this one alarm while a version is being released, so that a late
# delivery or a full queue takes no model back.
resource "aws_cloudwatch_composite_alarm" "release" {
  count = var.full ? 1 : 0

  alarm_name        = "${var.name}-release"
  alarm_description = "Shoppers are answered wrongly, late or without their model: a release in progress is taken back."

  alarm_rule = join(" OR ", [
    for alarm in concat(
      [for name in ["api-5xx", "api-latency", "fallback-share"] : aws_cloudwatch_metric_alarm.this[name].alarm_name],
      [for name in ["api", "authorizer"] : aws_cloudwatch_metric_alarm.errors[name].alarm_name if contains(keys(var.functions), name)],
    ) : "ALARM(\"${alarm}\")"
  ])
}

resource "aws_cloudwatch_dashboard" "this" {
  count = var.full ? 1 : 0

  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [
      for index, widget in local.widgets : {
        type   = "metric"
        x      = 12 * (index % 2)
        y      = 6 * floor(index / 2)
        width  = 12
        height = 6
        properties = {
          title   = widget.title
          region  = data.aws_region.current.name
          view    = "timeSeries"
          stacked = false
          period  = 60
          metrics = [for metric in widget.metrics : jsondecode(metric)]
        }
      }
    ]
  })
}

locals {
  # Metrics are JSON text, because their arrays mix strings and objects, which a list in Terraform cannot.
  widgets = [
    {
      title = "Requests and errors"
      metrics = [
        for metric in ["Count", "4xx", "5xx"] : jsonencode(["AWS/ApiGateway", metric, "ApiId", var.api_id, { stat = "Sum" }])
      ]
    },
    {
      title = "Latency (ms)"
      metrics = [
        for stat in ["p50", "p95", "p99"] : jsonencode(["AWS/ApiGateway", "Latency", "ApiId", var.api_id, { stat = stat, label = stat }])
      ]
    },
    {
      title = "Fallback to popular products (share), cold starts (count)"
      metrics = [
        jsonencode([local.namespace, "Fallback", "service", local.service, "route", "/recommend", { stat = "Average" }]),
        jsonencode([local.namespace, "ColdStart", "service", local.service, "route", "/recommend", { stat = "Sum", yAxis = "right" }]),
      ]
    },
    {
      title   = "Functions: concurrent executions"
      metrics = [for name, function in var.functions : jsonencode(["AWS/Lambda", "ConcurrentExecutions", "FunctionName", function.function_name, { stat = "Maximum", label = name }])]
    },
    {
      title   = "Functions: errors"
      metrics = [for name, function in var.functions : jsonencode(["AWS/Lambda", "Errors", "FunctionName", function.function_name, { stat = "Sum", label = name }])]
    },
    {
      title = "Feedback"
      metrics = [
        for metric in ["FeedbackAccepted", "FeedbackToRetry"] : jsonencode([local.namespace, metric, "service", local.service, "route", "/feedback", { stat = "Sum" }])
      ]
    },
    {
      title = "Age of events not yet in the lake (s)"
      metrics = [
        jsonencode(["AWS/Firehose", "DeliveryToS3.DataFreshness", "DeliveryStreamName", var.delivery_stream_name, { stat = "Maximum" }]),
      ]
    },
    {
      title = "Variants: share of failed answers, latency (ms, right)"
      metrics = flatten([
        for variant in ["champion", "challenger"] : [
          jsonencode([local.namespace, "VersionFailed", "service", local.service, "variant", variant, { stat = "Average", label = "${variant}, failed" }]),
          jsonencode([local.namespace, "VariantLatency", "service", local.service, "variant", variant, { stat = "p95", label = "${variant}, p95", yAxis = "right" }]),
        ]
      ])
    },
    {
      title = "Rollout: % of shoppers; lift of conversions and its interval, % (right)"
      metrics = concat(
        [jsonencode([local.namespace, "RolloutShare", "service", "rollout", { stat = "Maximum" }])],
        [for name in ["Lift", "LiftLow", "LiftHigh"] : jsonencode([local.namespace, name, "service", "rollout", { stat = "Average", yAxis = "right" }])],
      )
    },
    {
      title = "Daily reports: drift, closed gates, age of data and stream (days); hit rate (right)"
      metrics = concat(
        [for name in ["DriftFamilies", "GatesClosed", "DataAge", "StreamAge"] : jsonencode([local.namespace, name, "service", "daily", { stat = "Maximum" }])],
        [jsonencode([local.namespace, "HitRate", "service", "daily", { stat = "Average", yAxis = "right" }])],
      )
    },
    {
      title = "Shadow queue: waiting and failed"
      metrics = [
        for queue in [var.shadow_queue_name, var.shadow_failed_queue_name] : jsonencode(["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue, { stat = "Maximum" }])
      ]
    },
  ]
}

resource "aws_budgets_budget" "monthly" {
  account_id   = data.aws_caller_identity.current.account_id
  name         = "${var.name}-monthly"
  budget_type  = "COST"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  # Works once the tag is activated as a cost allocation tag in the account's billing settings.
  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:Environment$%s", var.name)]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }

    content {
      comparison_operator       = "GREATER_THAN"
      notification_type         = notification.key
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      subscriber_sns_topic_arns = [aws_sns_topic.alarms.arn]
    }
  }

  depends_on = [aws_sns_topic_policy.alarms]
}
