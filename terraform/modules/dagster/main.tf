data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  instance  = "/opt/dagster-aws"
  workspace = "${local.instance}/workspace.yaml"
  web_port  = 3000
  code_port = 4000

  # The processes of docker/README.md. `daemon` is the one that must never run twice.
  services = {
    web = {
      command  = ["dagster_webserver", "-h", "0.0.0.0", "-p", tostring(local.web_port), "-w", local.workspace]
      alive    = ["CMD", "python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:${local.web_port}/server_info', timeout=4)"]
      port     = local.web_port
      launches = true
    }
    daemon = {
      command  = ["dagster._daemon", "run", "-w", local.workspace]
      alive    = ["CMD", "python", "-m", "dagster._daemon", "liveness-check"]
      port     = null
      launches = true
    }
    assets = {
      command  = ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", tostring(local.code_port), "-m", "recsys_assets.definitions"]
      alive    = ["CMD", "python", "-m", "dagster", "api", "grpc-health-check", "-p", tostring(local.code_port)]
      port     = local.code_port
      launches = false
    }
    deploy = {
      command  = ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", tostring(local.code_port), "-m", "recsys_deploy.definitions"]
      alive    = ["CMD", "python", "-m", "dagster", "api", "grpc-health-check", "-p", tostring(local.code_port)]
      port     = local.code_port
      launches = false
    }
  }

  locations = toset([for name, service in local.services : name if service.port == local.code_port])

  # What docker/dagster-aws/*.yaml names; runs need it as well, because a run's command carries the instance along.
  instance_environment = {
    DAGSTER_DB_HOST    = aws_db_instance.history.address
    DAGSTER_DB_USER    = local.database_user
    DAGSTER_DB_NAME    = local.database_name
    DAGSTER_LOG_BUCKET = var.log_bucket.name
  }
  instance_secrets = { DAGSTER_DB_PASSWORD = "${local.database_secret}:password::" }

  environment = merge(var.environment, local.instance_environment, {
    HOME                        = "/tmp"
    DAGSTER_HOME                = local.instance
    DAGSTER_RUN_TASK_DEFINITION = var.runs.task_definition_arn
    DAGSTER_ASSETS_HOST         = "assets.${aws_service_discovery_private_dns_namespace.this.name}"
    DAGSTER_DEPLOY_HOST         = "deploy.${aws_service_discovery_private_dns_namespace.this.name}"
  })

  tasks_of_cluster = "${replace(var.runs.cluster_arn, ":cluster/", ":task/")}/*"

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

resource "aws_cloudwatch_log_group" "services" {
  name              = "/recsys/${var.name}/dagster"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

module "execution_access" {
  source = "../service-access"

  grants = {
    ecr_login   = ["*"]
    ecr_pull    = [var.runs.repository_arn]
    kms_read    = [var.kms_key_arn]
    logs_write  = ["${aws_cloudwatch_log_group.services.arn}:*"]
    secret_read = [local.database_secret]
  }
}

# Web server and daemon start runs and read their logs; they touch none of the shop's data.
module "control_access" {
  source = "../service-access"

  grants = {
    ec2_interfaces   = ["*"]
    ecs_definitions  = ["*"]
    ecs_run          = [var.runs.task_definition_family_arn]
    ecs_tag_new      = [local.tasks_of_cluster]
    ecs_tasks        = [local.tasks_of_cluster]
    kms_write        = [var.kms_key_arn]
    logs_read        = ["${var.runs.log_group.arn}:*"]
    pass_role_to_ecs = var.runs.role_arns
    s3_list          = [var.log_bucket.arn]
    s3_write         = ["${var.log_bucket.arn}/dagster/*"]
  }
}

# Code locations evaluate sensors and schedules, for which they look at what the asset graph looks at.
module "location_access" {
  source = "../service-access"

  grants = merge(var.access, { kms_write = [var.kms_key_arn] })
}

resource "aws_iam_role" "execution" {
  name               = "${var.name}-dagster-start"
  assume_role_policy = local.trust
}

resource "aws_iam_role_policy" "execution" {
  name   = "access"
  role   = aws_iam_role.execution.id
  policy = module.execution_access.policy
}

resource "aws_iam_role" "control" {
  name               = "${var.name}-dagster-control"
  assume_role_policy = local.trust
}

resource "aws_iam_role_policy" "control" {
  name   = "access"
  role   = aws_iam_role.control.id
  policy = module.control_access.policy
}

resource "aws_iam_role" "location" {
  name               = "${var.name}-dagster-location"
  assume_role_policy = local.trust
}

resource "aws_iam_role_policy" "location" {
  name   = "access"
  role   = aws_iam_role.location.id
  policy = module.location_access.policy
}

resource "aws_ecs_task_definition" "service" {
  for_each = local.services

  family                   = "${var.name}-dagster-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.size.cpu
  memory                   = var.size.memory_mb
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = each.value.launches ? aws_iam_role.control.arn : aws_iam_role.location.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  volume {
    name = "tmp"
  }

  container_definitions = jsonencode([{
    name                   = each.key
    image                  = var.runs.image
    essential              = true
    readonlyRootFilesystem = true
    mountPoints            = [{ sourceVolume = "tmp", containerPath = "/tmp", readOnly = false }]
    volumesFrom            = []
    systemControls         = []
    command                = each.value.command
    environment            = [for name in sort(keys(local.environment)) : { name = name, value = local.environment[name] }]
    secrets                = [for name in sort(keys(local.instance_secrets)) : { name = name, valueFrom = local.instance_secrets[name] }]
    portMappings           = each.value.port == null ? [] : [{ containerPort = each.value.port, hostPort = each.value.port, protocol = "tcp" }]
    linuxParameters        = { initProcessEnabled = true }
    stopTimeout            = 60
    healthCheck            = { command = each.value.alive, interval = 30, timeout = 20, retries = 3, startPeriod = 180 }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.services.name
        awslogs-region        = data.aws_region.current.name
        awslogs-stream-prefix = each.key
      }
    }
  }])

  lifecycle {
    precondition {
      condition     = contains(keys(local.sizes), tostring(var.size.cpu)) && contains(lookup(local.sizes, tostring(var.size.cpu), []), var.size.memory_mb)
      error_message = "Fargate has no task of ${var.size.cpu} CPU units with ${var.size.memory_mb} MB (\"Fargate task CPU and memory\", Amazon ECS Developer Guide)."
    }
  }
}

resource "aws_ecs_service" "this" {
  for_each = local.services

  name             = "dagster-${each.key}"
  cluster          = var.runs.cluster_arn
  task_definition  = aws_ecs_task_definition.service[each.key].arn
  launch_type      = "FARGATE"
  platform_version = "LATEST"
  desired_count    = 1
  propagate_tags   = "SERVICE"

  # Two daemons would start every schedule twice: the old one ends before the new one begins.
  deployment_minimum_healthy_percent = each.key == "daemon" ? 0 : 100
  deployment_maximum_percent         = each.key == "daemon" ? 100 : 200
  health_check_grace_period_seconds  = each.key == "web" ? 300 : null

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.network.subnet_ids
    security_groups  = [var.network.task_security_group_id]
    assign_public_ip = false
  }

  dynamic "load_balancer" {
    for_each = each.key == "web" ? [aws_lb_target_group.web.arn] : []

    content {
      target_group_arn = load_balancer.value
      container_name   = each.key
      container_port   = local.web_port
    }
  }

  dynamic "service_registries" {
    for_each = contains(local.locations, each.key) ? [aws_service_discovery_service.location[each.key].arn] : []

    content {
      registry_arn = service_registries.value
    }
  }

  depends_on = [
    aws_iam_role_policy.control,
    aws_iam_role_policy.execution,
    aws_iam_role_policy.location,
    aws_lb_listener.web,
    aws_vpc_security_group_ingress_rule.database,
  ]
}

# Web server, daemon and runs find the code locations by name.
resource "aws_service_discovery_private_dns_namespace" "this" {
  name        = "${var.name}.internal"
  description = "Code locations of ${var.name}"
  vpc         = var.network.vpc_id
}

resource "aws_service_discovery_service" "location" {
  for_each = local.locations

  name          = each.key
  force_destroy = true

  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.this.id
    routing_policy = "MULTIVALUE"

    dns_records {
      type = "A"
      ttl  = 10
    }
  }
}

locals {
  # "Fargate task CPU and memory", Amazon ECS Developer Guide.
  sizes = {
    "512"  = [1024, 2048, 3072, 4096]
    "1024" = [2048, 3072, 4096, 5120, 6144, 7168, 8192]
    "2048" = [4096, 5120, 6144, 7168, 8192, 12288, 16384]
  }
}
