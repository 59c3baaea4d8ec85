data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  # "Configuring OpenID Connect in Amazon Web Services", GitHub Docs.
  issuer   = "token.actions.githubusercontent.com"
  provider = var.provider_arn == null ? one(aws_iam_openid_connect_provider.github[*].arn) : var.provider_arn

  # Subject of a job's token: repositories created since summer 2026, and those that opted in, send the immutable form with
  # ids ("Immutable subject claims", GitHub changelog, April 2026). IAM compares with StringEquals, so one form is trusted.
  owner   = split("/", var.repository)[0]
  project = split("/", var.repository)[1]
  subject = var.repository_ids == null ? "repo:${var.repository}" : "repo:${local.owner}@${var.repository_ids.owner}/${local.project}@${var.repository_ids.repository}"

  # Roles, the GitHub environments whose jobs may assume them, the longest session in seconds, and access besides
  # Terraform's. Credentials of a job cannot be refreshed, so the session must outlast the job. A job without an
  # environment, or of a fork, can assume no role.
  roles = {
    plan     = { session_s = 3600, environments = ["plan-${var.environment}"], access = { s3_read = [local.state.object], s3_list = [local.state.bucket], kms_read = [var.kms_key_arn] } }
    deploy   = { session_s = 7200, environments = [var.environment], access = local.deploy_access }
    release  = { session_s = 3600, environments = [var.environment, "${var.environment}-unattended"], access = merge(local.reads, local.endpoint_access, { dynamodb_write = [var.tables["serving"], var.tables["registry"]] }) }
    monitor  = { session_s = 21600, environments = ["${var.environment}-unattended"], access = merge(local.reads, { s3_list = [var.lake_bucket_arn, var.models_bucket_arn] }) }
    training = { session_s = 21600, environments = ["training"], access = merge(var.pipeline_access, { kms_write = [var.kms_key_arn] }) }
  }

  state = {
    bucket = "${local.arn}:s3:::${var.state.bucket}"
    object = "${local.arn}:s3:::${var.state.bucket}/${var.state.key}"
  }

  reads = {
    cloudwatch_alarms = ["*"]
    dynamodb_read     = values(var.tables)
    kms_write         = [var.kms_key_arn]
    s3_list           = [var.models_bucket_arn]
    s3_read           = ["${var.models_bucket_arn}/bundles/*", "${var.models_bucket_arn}/catalogue/*"]
  }

  # One endpoint per model version, made and removed by rollouts (`recsys endpoints`).
  endpoint_access = {
    s3_write               = ["${var.models_bucket_arn}/archives/*"]
    sagemaker_models       = ["${local.arn}:sagemaker:${local.here}:model/${local.named}"]
    sagemaker_endpoints    = ["${local.arn}:sagemaker:${local.here}:endpoint/${local.named}", "${local.arn}:sagemaker:${local.here}:endpoint-config/${local.named}"]
    sagemaker_lists        = ["*"]
    sagemaker_looks        = ["${local.arn}:sagemaker:${local.here}:endpoint/*", "${local.arn}:sagemaker:${local.here}:endpoint-config/*"]
    endpoint_scaling       = ["${local.arn}:application-autoscaling:${local.here}:scalable-target/*"]
    endpoint_alarms        = ["${local.arn}:cloudwatch:${local.here}:alarm:TargetTracking-endpoint/${local.named}"]
    endpoint_scaling_role  = ["${local.arn}:iam::${local.account}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/*"]
    pass_role_to_sagemaker = ["${local.arn}:iam::${local.account}:role/${var.name}-sagemaker"]
  }

  # Terraform's state and its lock, and what `recsys deploy` publishes: bundle, catalogue, records, keys, and the digests of
  # published histories. Its calls to functions, page and parameters are among Terraform's permissions.
  deploy_access = {
    dynamodb_read  = values(var.tables)
    dynamodb_write = values(var.tables)
    kms_hand_over  = [var.kms_key_arn]
    kms_write      = [var.kms_key_arn]
    s3_list        = [local.state.bucket, var.lake_bucket_arn, var.models_bucket_arn]
    s3_write = concat(
      [local.state.object, "${local.state.object}.tflock"],
      ["${var.models_bucket_arn}/bundles/*", "${var.models_bucket_arn}/catalogue/*"],
      # Arrow writes an empty object for each folder above a file.
      ["${var.lake_bucket_arn}/lake/", "${var.lake_bucket_arn}/lake/published_histories/*"],
    )
    pass_role = ["${local.arn}:iam::${local.account}:role/${local.named}"]
  }

  # All actions of the services in the table, and the listed actions of IAM.
  ceiling = concat(
    ["application-autoscaling:*"],
    sort(distinct([for name, service in local.services : "${try(service.service, name)}:*" if try(service.service, name) != "iam"])),
    [for action in concat(local.services.iam.read, local.services.iam.write, local.services.iam_for_backup.write, local.services.iam_for_ci.read, ["CreateServiceLinkedRole", "PassRole"]) : "iam:${action}"],
  )

  # Terraform's permissions, one managed policy per group and kind. A role has one policy per group: IAM attaches at most ten
  # to a role, of 6,144 characters each.
  attached = merge(
    { for group in keys(local.statements.read) : "plan-${group}" => { role = "plan", kind = "read", group = group } },
    { for group in keys(local.statements.change) : "deploy-${group}" => { role = "deploy", kind = "change", group = group } },
  )

  policies = merge([
    for kind in ["read", "change"] : {
      for group, statements in local.statements[kind] : "${kind}-${group}" => jsonencode({ Version = "2012-10-17", Statement = statements })
    }
  ]...)
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.provider_arn == null ? 1 : 0

  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  name                 = "${var.name}-ci-${each.key}"
  description          = "GitHub jobs of ${var.repository} in ${join(", ", each.value.environments)}"
  permissions_boundary = aws_iam_policy.boundary.arn
  max_session_duration = each.value.session_s

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = local.provider }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = [for name in each.value.environments : "${local.subject}:environment:${name}"]
        }
      }
    }]
  })
}

module "access" {
  source   = "../service-access"
  for_each = local.roles

  grants = each.value.access
}

resource "aws_iam_role_policy" "this" {
  for_each = local.roles

  name   = "access"
  role   = aws_iam_role.this[each.key].id
  policy = module.access[each.key].policy
}

resource "aws_iam_policy" "terraform" {
  for_each = local.policies

  name        = "${var.name}-ci-${each.key}"
  description = "What Terraform needs to ${startswith(each.key, "read") ? "see" : "change"} ${var.name}"
  policy      = each.value

  lifecycle {
    precondition {
      condition     = length(each.value) <= 6144
      error_message = "A managed policy has at most 6144 characters: split the group of ${each.key} in actions.tf."
    }
  }
}

resource "aws_iam_role_policy_attachment" "terraform" {
  for_each = local.attached

  role       = aws_iam_role.this[each.value.role].name
  policy_arn = aws_iam_policy.terraform["${each.value.kind}-${each.value.group}"].arn
}

# Permissions boundary: it grants nothing, and excludes other services and regions, users, access keys, identity providers
# and changes to these roles themselves.
resource "aws_iam_policy" "boundary" {
  name        = "${var.name}-ci-boundary"
  description = "Permissions boundary of the GitHub roles of ${var.name}"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Here"
        Effect    = "Allow"
        Action    = local.ceiling
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = [local.region, "us-east-1"] } } # us-east-1: IAM, CloudFront, budgets
      },
      {
        Sid      = "NotItself"
        Effect   = "Deny"
        Action   = [for action in concat(local.services.iam.write, ["PassRole"]) : "iam:${action}"]
        Resource = ["${local.arn}:iam::${local.account}:role/${var.name}-ci-*"]
      },
    ]
  })
}
