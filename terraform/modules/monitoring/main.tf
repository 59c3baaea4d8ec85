data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  # Of lambda_api/handlers/observe.py.
  namespace = "Recsys"
  service   = "recommend-api"

  # One alarm each: statistic (a percentile begins with p) of a metric over five minutes above the threshold. What is
  # missing is no breach, because nothing is written where nobody shops.
  function_alarms = merge([
    for name, function in var.functions : {
      "${name}-throttles" = {
        metric      = ["AWS/Lambda", "Throttles", "Sum"]
        dimensions  = { FunctionName = function.function_name }
        threshold   = 0
        description = "Lambda refused to start ${name}: its reserved concurrency is used up. Raise it, or find who floods the API."
      }
      "${name}-slow" = {
        metric      = ["AWS/Lambda", "Duration", "p99"]
        dimensions  = { FunctionName = function.function_name }
        threshold   = 0.8 * 1000 * function.timeout_s
        description = "One in a hundred runs of ${name} takes over four fifths of its time limit. See its traces for the slow part."
      }
      "${name}-dead-letters" = {
        metric      = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum"]
        dimensions  = { QueueName = function.dead_letter_queue_name }
        threshold   = 0
        description = "Runs of ${name} were given up. Read the messages, mend the cause, send them again."
      }
    }
  ]...)

  table_alarms = merge([
    for name, table in var.table_names : {
      for kind in ["Read", "Write"] : "${name}-table-${lower(kind)}-throttles" => {
        metric      = ["AWS/DynamoDB", "${kind}ThrottleEvents", "Sum"]
        dimensions  = { TableName = table }
        threshold   = 0
        description = "DynamoDB refuses to ${lower(kind)} ${table} at this rate: a hot partition, or its limit of request units is reached."
      }
    }
  ]...)

  own_alarms = {
    "api-5xx" = {
      metric      = ["AWS/ApiGateway", "5xx", "Sum"]
      dimensions  = { ApiId = var.api_id }
      threshold   = 0
      description = "The API answers with server errors, which its handler never does: look for integrationError and authorizerError in the access log."
    }
    "api-latency" = {
      metric      = ["AWS/ApiGateway", "Latency", "p99"]
      dimensions  = { ApiId = var.api_id }
      threshold   = var.latency_p99_ms
      description = "One shopper in a hundred waits longer than agreed. Compare the function's duration with its cold starts."
    }
    "fallback-share" = {
      metric      = [local.namespace, "Fallback", "Average"]
      dimensions  = { service = local.service, route = "/recommend" }
      threshold   = var.fallback_share
      description = "Shoppers see popular products in place of personal ones. FallbackByCause says why: model, history, endpoint or time."
    }
    "feedback-lost" = {
      metric      = [local.namespace, "FeedbackToRetry", "Sum"]
      dimensions  = { service = local.service, route = "/feedback" }
      threshold   = 0
      description = "Feedback could not be stored and was handed back to shops to be sent again. See tables and stream."
    }
    "events-refused" = {
      metric      = ["AWS/Kinesis", "WriteProvisionedThroughputExceeded", "Sum"]
      dimensions  = { StreamName = var.event_stream_name }
      threshold   = 0
      description = "The event stream takes no more at this rate: add shards, or switch it to on demand."
    }
    "events-late" = {
      metric      = ["AWS/Firehose", "DeliveryToS3.DataFreshness", "Maximum"]
      dimensions  = { DeliveryStreamName = var.delivery_stream_name }
      threshold   = var.delivery_buffer_s + 900
      description = "Events wait too long on their way into the lake, and are lost when the stream's retention ends. See the delivery's log."
    }
    "shadow-late" = {
      metric      = ["AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum"]
      dimensions  = { QueueName = var.shadow_queue_name }
      threshold   = 1800
      description = "Questions wait half an hour for the model in the shadow and will expire: its function is too slow or fails."
    }
    "shadow-failed" = {
      metric      = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum"]
      dimensions  = { QueueName = var.shadow_failed_queue_name }
      threshold   = 0
      description = "The model in the shadow could not answer questions in three deliveries. Read them in the queue, and the function's log."
    }
  }

  alarms = merge(local.function_alarms, local.own_alarms, local.table_alarms, var.alarms)
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
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  # A percentile of a handful of runs says nothing.
  evaluate_low_sample_count_percentiles = startswith(each.value.metric[2], "p") ? "ignore" : null
}

# A share, not a count: a few errors in a million are weather, a few in ten are an outage.
resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = var.functions

  alarm_name          = "${var.name}-${each.key}-errors"
  alarm_description   = "More than ${100 * var.error_share} % of the runs of ${each.key} fail. Its log holds the traceback; roll back if it began with a new version."
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.error_share
  evaluation_periods  = 1
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

resource "aws_cloudwatch_dashboard" "this" {
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
  # Metrics as JSON text: their arrays mix texts and objects, which a list of Terraform's cannot hold.
  widgets = [
    {
      title = "Requests and what went wrong"
      metrics = [
        for metric in ["Count", "4xx", "5xx"] : jsonencode(["AWS/ApiGateway", metric, "ApiId", var.api_id, { stat = "Sum" }])
      ]
    },
    {
      title = "How long shoppers wait (ms)"
      metrics = [
        for stat in ["p50", "p95", "p99"] : jsonencode(["AWS/ApiGateway", "Latency", "ApiId", var.api_id, { stat = stat, label = stat }])
      ]
    },
    {
      title = "Personal lists that fell back to popular ones (share), cold starts (count)"
      metrics = [
        jsonencode([local.namespace, "Fallback", "service", local.service, "route", "/recommend", { stat = "Average" }]),
        jsonencode([local.namespace, "ColdStart", "service", local.service, "route", "/recommend", { stat = "Sum", yAxis = "right" }]),
      ]
    },
    {
      title   = "Functions: runs at once"
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
      title = "Events on their way into the lake: age (s)"
      metrics = [
        jsonencode(["AWS/Firehose", "DeliveryToS3.DataFreshness", "DeliveryStreamName", var.delivery_stream_name, { stat = "Maximum" }]),
      ]
    },
    {
      title = "Shadow: waiting and given up"
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

  # Counts once the tag is activated as a cost allocation tag in the account's billing settings.
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
