mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name              = "recsys-test"
  machine_folder    = "../recsys_deploy/rollout"
  api_function_name = "recsys-test-api"
  topic_arn         = "arn:aws:sns:eu-central-1:123456789012:topic"
  kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/k"
  log_days          = 14

  function = {
    function_name = "recsys-test-judge"
    alias         = "live"
    arn           = "arn:aws:lambda:eu-central-1:123456789012:function:recsys-test-judge:live"
  }
}

run "machine_alarms_and_notices" {
  command = apply

  module {
    source = "./modules/rollout"
  }

  assert {
    condition     = toset(output.trigger_alarms) == toset([for name in ["champion-errors", "champion-latency", "champion-failures", "challenger-errors", "challenger-latency", "challenger-failures", "throttled"] : "recsys-test-rollback-${name}"])
    error_message = "Every trigger is an alarm, for both variants, under the prefix that the judge asks for."
  }

  assert {
    condition     = length([for name in keys(output.alarms) : name if startswith(name, "rollback-")]) == 0
    error_message = "Alarms about the machine itself are no triggers, or one rollback would cause the next."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.metrics["rollback-challenger-failures"].period == 60 && aws_cloudwatch_metric_alarm.metrics["rollback-challenger-failures"].threshold == 10 && aws_cloudwatch_metric_alarm.metrics["rollback-challenger-latency"].threshold == 1000
    error_message = "Ten failures a minute, and a second on average over five."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.this["ended"].event_pattern).detail.status == ["ABORTED", "FAILED", "TIMED_OUT"]
    error_message = "An execution that was stopped from outside is taken back."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.this["alarmed"].event_pattern).detail.alarmName == [{ prefix = "recsys-test-rollback-" }]
    error_message = "A trigger alarm does not wait for the next look."
  }

  assert {
    condition     = alltrue([for permission in values(aws_lambda_permission.this) : permission.qualifier == "live" && permission.principal == "events.amazonaws.com"])
    error_message = "EventBridge invokes the alias alone."
  }
}

run "a_function_that_changes_under_a_rollout_is_refused" {
  command = plan

  module {
    source = "./modules/rollout"
  }

  variables {
    function = {
      function_name = "recsys-test-judge"
      alias         = "live"
      arn           = "arn:aws:lambda:eu-central-1:123456789012:function:recsys-test-judge"
    }
  }

  expect_failures = [var.function]
}
