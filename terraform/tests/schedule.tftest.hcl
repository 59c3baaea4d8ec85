mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "recsys-test-daily"
  description = "Reports of yesterday"
  schedule    = { expression = "cron(0 2 * * ? *)", timezone = "UTC", enabled = false }
  call        = "ecs:runTask"
  input       = "{\"ClientToken\":\"\\u003caws.scheduler.execution-id\\u003e\"}"
  grants      = { ecs_run = ["arn:aws:ecs:eu-central-1:123456789012:task-definition/recsys-test-run:*"] }
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/k"
}

run "a_call_and_its_role" {
  command = apply

  module {
    source = "./modules/schedule"
  }

  assert {
    condition     = one(aws_scheduler_schedule.this.target).input == "{\"ClientToken\":\"<aws.scheduler.execution-id>\"}"
    error_message = "Scheduler finds its keywords as they are written, without escapes."
  }

  assert {
    condition     = endswith(one(aws_scheduler_schedule.this.target).arn, ":scheduler:::aws-sdk:ecs:runTask") && aws_scheduler_schedule.this.state == "DISABLED"
    error_message = "The call is the target, and a schedule that is off stays off."
  }

  assert {
    condition     = toset([for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Sid]) == toset(["EcsRun", "KmsWrite", "SqsSend"])
    error_message = "The role may make the call and keep what was missed."
  }

  assert {
    condition     = one(one(aws_scheduler_schedule.this.target).dead_letter_config).arn == aws_sqs_queue.missed.arn && output.alarms.missed.dimensions.QueueName == aws_sqs_queue.missed.name
    error_message = "A call that could not be delivered is kept, and an alarm says so."
  }
}

run "an_expression_scheduler_does_not_know_is_refused" {
  command = plan

  module {
    source = "./modules/schedule"
  }

  variables {
    schedule = { expression = "0 3 * * 1", timezone = "UTC", enabled = true }
  }

  expect_failures = [var.schedule]
}
