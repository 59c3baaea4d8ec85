data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  container_name = "run"

  # Libraries keep caches at home, and /tmp is the only folder there is to write to.
  environment = merge({ HOME = "/tmp" }, var.environment)

  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_ecr_repository" "dagster" {
  name                 = "${var.name}/dagster"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = var.force_destroy

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.kms_key_arn
  }

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecr_lifecycle_policy" "dagster" {
  repository = aws_ecr_repository.dagster.name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep what a rollback could need"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 20 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "runs" {
  name              = "/recsys/${var.name}/runs"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

module "execution_access" {
  source = "../service-access"

  grants = {
    ecr_login   = ["*"]
    ecr_pull    = [aws_ecr_repository.dagster.arn]
    kms_read    = [var.kms_key_arn]
    logs_write  = ["${aws_cloudwatch_log_group.runs.arn}:*"]
    secret_read = [for secret in values(var.secrets) : regex("^arn:[^:]+:secretsmanager:[^:]+:[^:]+:secret:[^:]+", secret)]
  }
}

module "task_access" {
  source = "../service-access"

  grants = merge(var.access, { kms_write = [var.kms_key_arn] })
}

# Starts containers: image, log, secrets.
resource "aws_iam_role" "execution" {
  name               = "${var.name}-run-start"
  assume_role_policy = local.trust
}

resource "aws_iam_role_policy" "execution" {
  name   = "access"
  role   = aws_iam_role.execution.id
  policy = module.execution_access.policy
}

# What the asset graph may do.
resource "aws_iam_role" "task" {
  name               = "${var.name}-run"
  assume_role_policy = local.trust
}

resource "aws_iam_role_policy" "task" {
  name   = "access"
  role   = aws_iam_role.task.id
  policy = module.task_access.policy
}

resource "aws_ecs_task_definition" "run" {
  family                   = "${var.name}-run"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory_mb
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  ephemeral_storage {
    size_in_gib = var.disk_gib
  }

  # The only folder a run may write to.
  volume {
    name = "tmp"
  }

  container_definitions = jsonencode([{
    name                   = local.container_name
    image                  = "${aws_ecr_repository.dagster.repository_url}:${var.image_tag}"
    essential              = true
    readonlyRootFilesystem = true
    mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
    portMappings           = []
    volumesFrom            = []
    systemControls         = []
    # Whatever starts a run gives its command; without one the container says how and stops.
    command     = ["recsys_deploy.cli", "--help"]
    environment = [for name in sort(keys(local.environment)) : { name = name, value = local.environment[name] }]
    secrets     = [for name in sort(keys(var.secrets)) : { name = name, valueFrom = var.secrets[name] }]
    # A first process without a handler ignores SIGTERM; the grace is for a run to note that it was stopped.
    linuxParameters = { initProcessEnabled = true }
    stopTimeout     = 120
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.runs.name
        awslogs-region        = data.aws_region.current.name
        awslogs-stream-prefix = "run"
      }
    }
  }])

  lifecycle {
    precondition {
      condition     = contains(local.sizes[var.cpu], var.memory_mb)
      error_message = "Fargate has no task of ${var.cpu} CPU units with ${var.memory_mb} MB; with these units it has ${join(", ", local.sizes[var.cpu])}."
    }
  }
}

locals {
  # "Fargate task CPU and memory", Amazon ECS Developer Guide.
  sizes = {
    1024  = range(2048, 8193, 1024)
    2048  = range(4096, 16385, 1024)
    4096  = range(8192, 30721, 1024)
    8192  = range(16384, 61441, 4096)
    16384 = range(32768, 122881, 8192)
  }
}
