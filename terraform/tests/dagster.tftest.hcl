mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name = "recsys-test"
  network = {
    vpc_id                 = "vpc-1"
    subnet_ids             = ["subnet-1", "subnet-2"]
    public_subnet_ids      = []
    task_security_group_id = "sg-tasks"
  }
  runs = {
    cluster_arn                = "arn:aws:ecs:eu-central-1:123456789012:cluster/recsys-test"
    task_definition_arn        = "arn:aws:ecs:eu-central-1:123456789012:task-definition/recsys-test-run:1"
    task_definition_family_arn = "arn:aws:ecs:eu-central-1:123456789012:task-definition/recsys-test-run:*"
    role_arns                  = ["arn:aws:iam::123456789012:role/recsys-test-run", "arn:aws:iam::123456789012:role/recsys-test-run-start"]
    image                      = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/recsys-test/dagster:0123456789ab"
    repository_arn             = "arn:aws:ecr:eu-central-1:123456789012:repository/recsys-test/dagster"
    log_group                  = { name = "/recsys/recsys-test/runs", arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/recsys/recsys-test/runs" }
  }
  environment       = { RECSYS_TARGET = "aws" }
  access            = { dynamodb_read = ["arn:aws:dynamodb:eu-central-1:123456789012:table/recsys-test-serving"] }
  log_bucket        = { name = "recsys-test-lake", arn = "arn:aws:s3:::recsys-test-lake" }
  access_log_bucket = "recsys-test-logs"
  size              = { cpu = 1024, memory_mb = 4096 }
  web               = { internal = true, certificate_arn = null, allowed_cidrs = ["10.0.0.0/16"] }
  database          = { version = "17", instance_class = "db.t4g.small", storage_gib = 20, multi_az = false, backup_days = 7 }
  kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/k"
}

run "services_database_and_balancer" {
  command = apply

  module {
    source = "./modules/dagster"
  }

  assert {
    condition     = toset(keys(output.service_names)) == toset(["web", "daemon", "assets", "deploy"]) && alltrue([for service in values(aws_ecs_service.this) : service.desired_count == 1 && !service.network_configuration[0].assign_public_ip])
    error_message = "Web server, daemon and two code locations, without public addresses."
  }

  assert {
    condition     = aws_ecs_service.this["daemon"].deployment_maximum_percent == 100 && aws_ecs_service.this["daemon"].deployment_minimum_healthy_percent == 0
    error_message = "Two daemons never run at once."
  }

  assert {
    condition = (
      aws_db_instance.history.storage_encrypted && aws_db_instance.history.manage_master_user_password && !aws_db_instance.history.publicly_accessible
      && aws_db_instance.history.deletion_protection && !aws_db_instance.history.skip_final_snapshot && aws_db_instance.history.backup_retention_period == 7
    )
    error_message = "History is encrypted, private, backed up and kept, and Terraform does not know its password."
  }

  assert {
    condition     = [for parameter in aws_db_parameter_group.history.parameter : parameter.value if parameter.name == "rds.force_ssl"] == ["1"]
    error_message = "Postgres takes TLS only."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.database.referenced_security_group_id == "sg-tasks"
    error_message = "Only tasks reach the database."
  }

  assert {
    condition     = aws_lb_listener.web.protocol == "HTTP" && startswith(output.url, "http://")
    error_message = "Without a certificate the internal balancer speaks plain HTTP."
  }

  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.control.policy).Statement : statement.Sid => statement.Resource
      if contains(["EcsRun", "PassRoleToEcs", "EcsTasks"], statement.Sid)
      } == {
      EcsRun        = ["arn:aws:ecs:eu-central-1:123456789012:task-definition/recsys-test-run:*"]
      PassRoleToEcs = ["arn:aws:iam::123456789012:role/recsys-test-run", "arn:aws:iam::123456789012:role/recsys-test-run-start"]
      EcsTasks      = ["arn:aws:ecs:eu-central-1:123456789012:task/recsys-test/*"]
    }
    error_message = "The run launcher starts runs of this environment with their roles, and no other task."
  }

  assert {
    condition     = [for statement in jsondecode(aws_iam_role_policy.control.policy).Statement : statement.Condition.StringEquals["iam:PassedToService"] if statement.Sid == "PassRoleToEcs"] == ["ecs-tasks.amazonaws.com"]
    error_message = "Roles are passed on to ECS alone."
  }

  assert {
    condition     = length([for statement in jsondecode(aws_iam_role_policy.control.policy).Statement : statement if startswith(statement.Sid, "Dynamodb")]) == 0
    error_message = "Web server and daemon touch no shop's data."
  }

  assert {
    condition     = toset([for schedule in values(aws_scheduler_schedule.restart) : jsondecode(schedule.target[0].input).Service]) == toset(values(output.service_names))
    error_message = "Every service reads the new password."
  }

  assert {
    condition     = toset(keys(output.alarms)) == toset(["dagster-web-unreachable", "dagster-database-full", "dagster-web-down", "dagster-daemon-down", "dagster-assets-down", "dagster-deploy-down"])
    error_message = "What stands still is noticed."
  }
}

run "with_a_certificate" {
  command = apply

  module {
    source = "./modules/dagster"
  }

  variables {
    web = { internal = true, certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/c", allowed_cidrs = ["10.0.0.0/16"] }
  }

  assert {
    condition     = aws_lb_listener.web.protocol == "HTTPS" && aws_lb_listener.web.port == 443 && startswith(output.url, "https://")
    error_message = "With a certificate there is TLS and nothing beside it."
  }
}

run "plain_http_on_the_internet_is_refused" {
  command = plan

  module {
    source = "./modules/dagster"
  }

  variables {
    web = { internal = false, certificate_arn = null, allowed_cidrs = ["203.0.113.0/24"] }
  }

  expect_failures = [aws_lb.web]
}

run "a_door_open_to_everybody_is_refused" {
  command = plan

  module {
    source = "./modules/dagster"
  }

  variables {
    web = { internal = false, certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/c", allowed_cidrs = ["0.0.0.0/0"] }
  }

  expect_failures = [aws_lb.web]
}

run "what_aws_does_not_have_is_refused" {
  command = plan

  module {
    source = "./modules/dagster"
  }

  variables {
    database     = { version = "9", instance_class = "db.t4g.small", storage_gib = 5, multi_az = false, backup_days = 0 }
    architecture = "arm64"
  }

  expect_failures = [var.database, var.architecture]
}
