# The way to the web server. Dagster asks nobody who they are, so who may come is said here.
locals {
  secured = var.web.certificate_arn != null
  port    = local.secured ? 443 : 80
}

resource "aws_security_group" "web" {
  name        = "${var.name}-dagster-web"
  description = "Load balancer of Dagster's web server"
  vpc_id      = var.network.vpc_id

  tags = { Name = "${var.name}-dagster-web" }
}

resource "aws_vpc_security_group_ingress_rule" "web" {
  for_each = toset(var.web.allowed_cidrs)

  security_group_id = aws_security_group.web.id
  cidr_ipv4         = each.value
  description       = "People who may use Dagster"
  ip_protocol       = "tcp"
  from_port         = local.port
  to_port           = local.port
}

resource "aws_vpc_security_group_egress_rule" "web_to_tasks" {
  security_group_id            = aws_security_group.web.id
  referenced_security_group_id = var.network.task_security_group_id
  description                  = "The web server"
  ip_protocol                  = "tcp"
  from_port                    = local.web_port
  to_port                      = local.web_port
}

resource "aws_vpc_security_group_ingress_rule" "web_from_balancer" {
  security_group_id            = var.network.task_security_group_id
  referenced_security_group_id = aws_security_group.web.id
  description                  = "Load balancer to the web server"
  ip_protocol                  = "tcp"
  from_port                    = local.web_port
  to_port                      = local.web_port
}

resource "aws_vpc_security_group_ingress_rule" "locations" {
  security_group_id            = var.network.task_security_group_id
  referenced_security_group_id = var.network.task_security_group_id
  description                  = "Web server and daemon to code locations"
  ip_protocol                  = "tcp"
  from_port                    = local.code_port
  to_port                      = local.code_port
}

resource "aws_vpc_security_group_egress_rule" "locations" {
  security_group_id            = var.network.task_security_group_id
  referenced_security_group_id = var.network.task_security_group_id
  description                  = "Web server and daemon to code locations"
  ip_protocol                  = "tcp"
  from_port                    = local.code_port
  to_port                      = local.code_port
}

resource "aws_lb" "web" {
  #checkov:skip=CKV_AWS_150:On unless the environment is disposable, which prod cannot be
  name                       = "${var.name}-dagster"
  load_balancer_type         = "application"
  internal                   = var.web.internal
  subnets                    = var.web.internal ? var.network.subnet_ids : var.network.public_subnet_ids
  security_groups            = [aws_security_group.web.id]
  drop_invalid_header_fields = true
  enable_deletion_protection = !var.disposable

  access_logs {
    enabled = true
    bucket  = var.access_log_bucket
    prefix  = "alb"
  }

  lifecycle {
    precondition {
      condition     = var.web.internal || local.secured
      error_message = "A load balancer on the internet needs a certificate: set web.certificate_arn, or web.internal = true."
    }

    precondition {
      condition     = var.web.internal || !contains(var.web.allowed_cidrs, "0.0.0.0/0")
      error_message = "Dagster's web server asks nobody who they are: on the internet, name the addresses that may reach it in web.allowed_cidrs."
    }

    precondition {
      condition     = var.web.internal || length(var.network.public_subnet_ids) >= 2
      error_message = "A load balancer on the internet needs public subnets in two zones, which the network has with nat = \"one\" or \"per_zone\"."
    }

    precondition {
      condition     = length("${var.name}-dagster") <= 32
      error_message = "Load balancers take names of 32 characters: ${var.name}-dagster is longer."
    }
  }
}

resource "aws_lb_target_group" "web" {
  name                 = "${var.name}-dagster"
  target_type          = "ip"
  vpc_id               = var.network.vpc_id
  port                 = local.web_port
  protocol             = "HTTP"
  deregistration_delay = 30

  health_check {
    path    = "/server_info"
    matcher = "200"
  }
}

resource "aws_lb_listener" "web" {
  load_balancer_arn = aws_lb.web.arn
  port              = local.port
  protocol          = local.secured ? "HTTPS" : "HTTP"
  ssl_policy        = local.secured ? "ELBSecurityPolicy-TLS13-1-2-2021-06" : null
  certificate_arn   = var.web.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.web.arn
  }
}
