mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                     = "recsys-test"
  kms_key_arn              = "arn:aws:kms:eu-central-1:123456789012:key/k"
  emails                   = ["somebody@example.com"]
  functions                = { api = { function_name = "recsys-test-api", timeout_s = 10, dead_letter_queue_name = "recsys-test-api-dead-letters" } }
  api_id                   = "a1b2c3"
  table_names              = { serving = "recsys-test-serving" }
  event_stream_name        = "recsys-test-events"
  delivery_stream_name     = "recsys-test-events"
  delivery_buffer_s        = 300
  shadow_queue_name        = "recsys-test-shadow"
  shadow_failed_queue_name = "recsys-test-shadow-failed"
  monthly_budget_usd       = 100
}

run "alarms" {
  command = apply

  module {
    source = "./modules/monitoring"
  }

  assert {
    condition = toset(keys(output.alarm_names)) == toset([
      "api-errors", "api-throttles", "api-slow", "api-dead-letters",
      "api-5xx", "api-latency", "fallback-share", "feedback-lost",
      "serving-table-read-throttles", "serving-table-write-throttles",
      "events-refused", "events-late", "shadow-late", "shadow-failed",
    ])
    error_message = "The alarms of one function, one table, the API and the streams."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["api-slow"].threshold == 8000 && aws_cloudwatch_metric_alarm.this["api-slow"].extended_statistic == "p99"
    error_message = "A function is slow at four fifths of its time limit, at the 99th percentile."
  }

  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), values(aws_cloudwatch_metric_alarm.errors)) : alarm.alarm_actions == toset([aws_sns_topic.alarms.arn]) && alarm.treat_missing_data == "notBreaching" && length(alarm.alarm_description) > 40])
    error_message = "Every alarm notifies the topic and says what to do."
  }

  assert {
    condition     = aws_cloudwatch_composite_alarm.release[0].alarm_rule == "ALARM(\"recsys-test-api-5xx\") OR ALARM(\"recsys-test-api-latency\") OR ALARM(\"recsys-test-fallback-share\") OR ALARM(\"recsys-test-api-errors\")"
    error_message = "A release is judged by what it can break."
  }

  assert {
    condition     = alltrue([for widget in jsondecode(aws_cloudwatch_dashboard.this[0].dashboard_body).widgets : length(widget.properties.metrics) > 0 && widget.x + widget.width <= 24])
    error_message = "Every widget shows something, within the 24 columns of a dashboard."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_dashboard.this[0].dashboard_body).widgets[0].properties.metrics[0] == ["AWS/ApiGateway", "Count", "ApiId", "a1b2c3", { stat = "Sum" }]
    error_message = "Metrics are written as CloudWatch reads them."
  }

  assert {
    condition     = toset([for notification in aws_budgets_budget.monthly.notification : "${notification.notification_type}:${notification.threshold}"]) == toset(["ACTUAL:80", "FORECASTED:100"])
    error_message = "The budget tells before it is spent."
  }
}

run "one_bad_period_is_no_alarm" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.this), values(aws_cloudwatch_metric_alarm.errors)) : alarm.evaluation_periods == 3 && alarm.datapoints_to_alarm == 2])
    error_message = "Two of three periods: a release is rolled back while an alarm fires."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["api-5xx"].statistic == "Average" && aws_cloudwatch_metric_alarm.this["api-5xx"].threshold > 0
    error_message = "Server errors are counted as a share of requests."
  }
}

run "what_is_measured_once_a_day_keeps_its_state" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    alarms = {
      "drift-found" = {
        metric      = ["Recsys", "DriftFamilies", "Maximum"]
        dimensions  = { service = "daily" }
        threshold   = 0
        period_s    = 3600
        periods     = 1
        breaches    = 1
        missing     = "ignore"
        description = "A report found drift; the topic has a message for each family, with its figures."
      }
    }
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["drift-found"].period == 3600 && aws_cloudwatch_metric_alarm.this["drift-found"].datapoints_to_alarm == 1 && aws_cloudwatch_metric_alarm.this["drift-found"].evaluation_periods == 1 && aws_cloudwatch_metric_alarm.this["drift-found"].treat_missing_data == "ignore"
    error_message = "One figure a day is judged once, and its state stays until the next."
  }
}

run "an_idle_environment_has_three_alarms" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    full              = false
    event_stream_name = ""
  }

  assert {
    condition     = toset(keys(output.alarm_names)) == toset(["api-5xx", "fallback-share", "events-late"]) && length(aws_cloudwatch_dashboard.this) == 0
    error_message = "Three alarms and no dashboard."
  }
}

run "alarms_that_reach_nobody_are_refused" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    emails         = []
    fallback_share = 1
  }

  expect_failures = [var.emails, var.fallback_share]
}
