data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name
  name      = "${var.name}-${var.machine}"

  definition = templatefile(var.definition, var.substitutions)
  states     = jsondecode(local.definition).States

  # Every service integration the definition calls, those inside a Map or Parallel too.
  called = distinct(regexall("arn:aws:states:::[A-Za-z0-9:.-]+", local.definition))

  # Lines of service-access that the integrations in use need => names of resources.
  lines = { for pair in flatten([
    for integration in local.called : [
      for line, names in lookup(var.services, integration, {}) : { line = line, names = names }
    ]
  ]) : pair.line => pair.names... }
  grants = { for line, names in local.lines : line => distinct(flatten([for name in distinct(flatten(names)) : lookup(var.resources, name, [])])) }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/vendedlogs/states/${local.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

module "access" {
  source = "../service-access"

  grants = merge(local.grants, {
    logs_deliver = ["*"]
    xray_trace   = ["*"]
  })
}

resource "aws_iam_role" "machine" {
  name = local.name

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "states.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:states:${local.region}:${local.account}:stateMachine:${local.name}" }
      }
    }]
  })
}

resource "aws_iam_role_policy" "machine" {
  name   = "access"
  role   = aws_iam_role.machine.id
  policy = module.access.policy
}

resource "aws_sfn_state_machine" "this" {
  name       = local.name
  type       = "STANDARD"
  role_arn   = aws_iam_role.machine.arn
  definition = local.definition

  logging_configuration {
    level                  = "ALL"
    include_execution_data = true
    log_destination        = "${aws_cloudwatch_log_group.this.arn}:*"
  }

  tracing_configuration {
    enabled = true
  }

  lifecycle {
    precondition {
      condition     = length(setsubtract(local.called, keys(var.services))) == 0
      error_message = "The machine calls what its table of services does not name: ${join(", ", setsubtract(local.called, keys(var.services)))}. Add the lines it needs."
    }

    precondition {
      condition     = length(setsubtract(flatten(values(local.lines)), keys(var.resources))) == 0
      error_message = "The table of services names resources nobody gave: ${join(", ", setsubtract(flatten(values(local.lines)), keys(var.resources)))}."
    }

    precondition {
      condition     = alltrue([for name, state in local.states : can(state.TimeoutSeconds) || can(state.TimeoutSecondsPath) if state.Type == "Task"])
      error_message = "A task without TimeoutSeconds may wait for a year."
    }

    precondition {
      condition     = length(local.definition) <= 1048576
      error_message = "Step Functions takes definitions of 1 MB."
    }
  }

  # A machine that may not yet do what it says fails its first execution.
  depends_on = [aws_iam_role_policy.machine]
}

module "schedule" {
  source = "../schedule"
  count  = var.schedule == null ? 0 : 1

  name        = local.name
  description = "Starts ${local.name}"
  schedule    = var.schedule
  call        = "sfn:startExecution"
  grants      = { states_start = [aws_sfn_state_machine.this.arn] }
  kms_key_arn = var.kms_key_arn

  input = jsonencode({
    StateMachineArn = aws_sfn_state_machine.this.arn
    Name            = "scheduled-<aws.scheduler.execution-id>"
    Input           = "{}"
  })
}
