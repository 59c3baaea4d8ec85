mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "recsys-test"
  machine     = "training"
  definition  = "../recsys_deploy/training_machine/training.asl.json"
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/k"
  log_days    = 14
  schedule    = { expression = "cron(0 3 ? * MON *)", timezone = "UTC" }

  substitutions = {
    name                = "recsys-test"
    cluster_arn         = "arn:aws:ecs:eu-central-1:123456789012:cluster/recsys-test"
    task_definition_arn = "arn:aws:ecs:eu-central-1:123456789012:task-definition/recsys-test-run:1"
    container_name      = "run"
    log_group           = "/recsys/recsys-test/runs"
    subnet_ids          = "subnet-1,subnet-2"
    security_group_ids  = "sg-1"
    registry_table      = "recsys-test-registry"
    topic_arn           = "arn:aws:sns:eu-central-1:123456789012:topic"
    rollout_machine_arn = ""
  }

  services = {
    "arn:aws:states:::ecs:runTask.sync"      = { ecs_run = ["task_definition"], pass_role_to_ecs = ["roles"] }
    "arn:aws:states:::dynamodb:getItem"      = { dynamodb_read = ["table"] }
    "arn:aws:states:::states:startExecution" = { states_start = ["rollout"] }
    "arn:aws:states:::sns:publish"           = { sns_publish = ["topic"] }
    "arn:aws:states:::lambda:invoke"         = { sqs_send = ["unused"] }
  }

  resources = {
    task_definition = ["arn:aws:ecs:eu-central-1:123456789012:task-definition/recsys-test-run:*"]
    roles           = ["arn:aws:iam::123456789012:role/run"]
    table           = ["arn:aws:dynamodb:eu-central-1:123456789012:table/recsys-test-registry"]
    rollout         = []
    topic           = ["arn:aws:sns:eu-central-1:123456789012:topic"]
  }
}

run "machine_and_schedule" {
  command = apply

  module {
    source = "./modules/ml-pipeline"
  }

  assert {
    condition     = !strcontains(aws_sfn_state_machine.this.definition, "$${") && jsondecode(aws_sfn_state_machine.this.definition).States.ReadOutcome.Parameters.TableName == "recsys-test-registry"
    error_message = "Every placeholder of the definition is filled in."
  }

  assert {
    condition = toset([for statement in jsondecode(aws_iam_role_policy.machine.policy).Statement : statement.Sid]) == toset([
      "DynamodbRead", "EcsRun", "LogsDeliver", "PassRoleToEcs", "SnsPublish", "XrayTrace",
    ])
    error_message = "The role may do what the machine calls, and nothing for resources that are not there or integrations it does not use."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_iam_role_policy.machine.policy).Statement : statement.Condition.StringEquals["iam:PassedToService"] == "ecs-tasks.amazonaws.com" if statement.Sid == "PassRoleToEcs"])
    error_message = "Roles are passed to ECS alone."
  }

  assert {
    condition     = toset(keys(output.alarms)) == toset(["training-failed", "training-timedout", "training-aborted", "training-missed"])
    error_message = "What went wrong is an alarm."
  }

  assert {
    condition     = alltrue([for name, alarm in output.alarms : try(alarm.periods, 3) == 1 && try(alarm.breaches, 2) == 1 if name != "training-missed"])
    error_message = "An execution ends once: one datapoint is enough."
  }
}

run "without_a_schedule" {
  command = apply

  module {
    source = "./modules/ml-pipeline"
  }

  variables {
    schedule = null
  }

  assert {
    condition     = length(module.schedule) == 0 && !contains(keys(output.alarms), "training-missed")
    error_message = "Without a schedule nothing of it is left."
  }
}

run "a_service_the_table_does_not_name_is_refused" {
  command = plan

  module {
    source = "./modules/ml-pipeline"
  }

  variables {
    services = {
      "arn:aws:states:::ecs:runTask.sync" = { ecs_run = ["task_definition"] }
    }
  }

  expect_failures = [aws_sfn_state_machine.this]
}

run "a_resource_nobody_gave_is_refused" {
  command = plan

  module {
    source = "./modules/ml-pipeline"
  }

  variables {
    resources = { topic = ["arn:aws:sns:eu-central-1:123456789012:topic"] }
  }

  expect_failures = [aws_sfn_state_machine.this]
}
