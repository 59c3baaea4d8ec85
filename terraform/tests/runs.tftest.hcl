mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "recsys-test"
  image_tag   = "0123456789ab"
  environment = { RECSYS_TARGET = "aws" }
  secrets     = { DAGSTER_DB_PASSWORD = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-a1b2c3-x:password::" }
  access      = { s3_write = ["arn:aws:s3:::lake/*"] }
  cpu         = 2048
  memory_mb   = 16384
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/k"
}

run "a_run" {
  command = apply

  module {
    source = "./modules/runs"
  }

  assert {
    condition = (
      jsondecode(aws_ecs_task_definition.run.container_definitions)[0].name == output.container_name
      && jsondecode(aws_ecs_task_definition.run.container_definitions)[0].readonlyRootFilesystem
      && jsondecode(aws_ecs_task_definition.run.container_definitions)[0].linuxParameters.initProcessEnabled
      && endswith(jsondecode(aws_ecs_task_definition.run.container_definitions)[0].image, ":0123456789ab")
      && aws_ecs_task_definition.run.network_mode == "awsvpc"
    )
    error_message = "A run is a container of the image, with an init process and a root file system nobody writes to."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.run.container_definitions)[0].secrets == [{ name = "DAGSTER_DB_PASSWORD", valueFrom = var.secrets.DAGSTER_DB_PASSWORD }]
    error_message = "Passwords come from Secrets Manager, one key of the secret."
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Resource if statement.Sid == "SecretRead"] == [["arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-a1b2c3-x"]]
    error_message = "The starting role reads this secret; a permission names it without the key."
  }

  assert {
    condition     = length([for statement in jsondecode(aws_iam_role_policy.task.policy).Statement : statement if contains(["SecretRead", "EcrLogin"], statement.Sid)]) == 0
    error_message = "The running role reads no secret and no image."
  }

  assert {
    condition     = aws_ecr_repository.dagster.image_tag_mutability == "IMMUTABLE" && aws_cloudwatch_log_group.runs.retention_in_days > 0
    error_message = "Tags do not move and logs end."
  }
}

run "what_fargate_does_not_have_is_refused" {
  command = plan

  module {
    source = "./modules/runs"
  }

  variables {
    cpu       = 1024
    memory_mb = 16384
  }

  expect_failures = [aws_ecs_task_definition.run]
}

run "a_tag_that_moves_is_refused" {
  command = plan

  module {
    source = "./modules/runs"
  }

  variables {
    image_tag    = "latest"
    disk_gib     = 500
    architecture = "arm64"
  }

  expect_failures = [var.image_tag, var.disk_gib, var.architecture]
}
