# History of runs, schedules and assets.
locals {
  database_name   = "dagster"
  database_user   = "dagster"
  database_port   = 5432
  database_secret = aws_db_instance.history.master_user_secret[0].secret_arn
  log_exports     = toset(["postgresql", "upgrade"])
}

resource "aws_db_subnet_group" "history" {
  name       = "${var.name}-dagster"
  subnet_ids = var.network.subnet_ids
}

resource "aws_db_parameter_group" "history" {
  name   = "${var.name}-dagster-postgres${var.database.version}"
  family = "postgres${var.database.version}"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  parameter {
    name  = "log_statement"
    value = "ddl"
  }

  # Milliseconds.
  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }

  lifecycle {
    create_before_destroy = true
  }
}

# Made here, because RDS would make them without an end and without the key.
resource "aws_cloudwatch_log_group" "history" {
  for_each = local.log_exports

  name              = "/aws/rds/instance/${var.name}-dagster/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_db_instance" "history" {
  #checkov:skip=CKV_AWS_293:On unless the environment is disposable, which prod cannot be
  #checkov:skip=CKV_AWS_118:Performance Insights and CloudWatch show what one small database needs; enhanced monitoring writes a log group without an end
  #checkov:skip=CKV_AWS_161:Dagster signs in with a password that RDS makes and changes every month
  identifier     = "${var.name}-dagster"
  engine         = "postgres"
  engine_version = var.database.version
  instance_class = var.database.instance_class
  db_name        = local.database_name
  username       = local.database_user
  port           = local.database_port

  # RDS makes the password and keeps it in Secrets Manager; Terraform never sees it.
  manage_master_user_password   = true
  master_user_secret_kms_key_id = var.kms_key_arn

  storage_type          = "gp3"
  allocated_storage     = var.database.storage_gib
  max_allocated_storage = 4 * var.database.storage_gib
  storage_encrypted     = true
  kms_key_id            = var.kms_key_arn

  multi_az               = var.database.multi_az
  db_subnet_group_name   = aws_db_subnet_group.history.name
  vpc_security_group_ids = [aws_security_group.database.id]
  publicly_accessible    = false
  parameter_group_name   = aws_db_parameter_group.history.name

  backup_retention_period    = var.database.backup_days
  backup_window              = "01:00-02:00"
  maintenance_window         = "sun:02:00-sun:03:00"
  auto_minor_version_upgrade = true
  copy_tags_to_snapshot      = true
  deletion_protection        = !var.disposable
  skip_final_snapshot        = var.disposable
  final_snapshot_identifier  = var.disposable ? null : "${var.name}-dagster-final"

  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key_arn
  enabled_cloudwatch_logs_exports = local.log_exports

  depends_on = [aws_cloudwatch_log_group.history]
}

resource "aws_security_group" "database" {
  name        = "${var.name}-dagster-database"
  description = "Postgres of Dagster"
  vpc_id      = var.network.vpc_id

  tags = { Name = "${var.name}-dagster-database" }
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  referenced_security_group_id = var.network.task_security_group_id
  description                  = "Dagster and its runs"
  ip_protocol                  = "tcp"
  from_port                    = local.database_port
  to_port                      = local.database_port
}

resource "aws_vpc_security_group_egress_rule" "to_database" {
  security_group_id            = var.network.task_security_group_id
  referenced_security_group_id = aws_security_group.database.id
  description                  = "Dagster's history"
  ip_protocol                  = "tcp"
  from_port                    = local.database_port
  to_port                      = local.database_port
}

# A task reads the password when it starts. So the password changes at a known hour, and the services start anew after it;
# RDS alone would choose a moment every seven days and leave them with the old one.
resource "aws_secretsmanager_secret_rotation" "password" {
  secret_id          = local.database_secret
  rotate_immediately = false

  rotation_rules {
    schedule_expression = "cron(0 3 ? * 1#1 *)" # first Sunday of a month, UTC
    duration            = "1h"
  }
}

module "restart_access" {
  source = "../service-access"

  grants = {
    ecs_restart = [for service in aws_ecs_service.this : service.id]
    kms_read    = [var.kms_key_arn]
  }
}

resource "aws_iam_role" "restart" {
  name = "${var.name}-dagster-restart"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "restart" {
  name   = "access"
  role   = aws_iam_role.restart.id
  policy = module.restart_access.policy
}

resource "aws_scheduler_schedule" "restart" {
  for_each = local.services

  name                         = "${var.name}-dagster-restart-${each.key}"
  description                  = "Reads the database's new password"
  schedule_expression          = "cron(5 4 ? * 1#1 *)"
  schedule_expression_timezone = "UTC"
  kms_key_arn                  = var.kms_key_arn

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = "arn:${data.aws_partition.current.partition}:scheduler:::aws-sdk:ecs:updateService"
    role_arn = aws_iam_role.restart.arn
    input    = jsonencode({ Cluster = var.runs.cluster_arn, Service = aws_ecs_service.this[each.key].name, ForceNewDeployment = true })

    retry_policy {
      maximum_retry_attempts = 5
    }
  }
}
