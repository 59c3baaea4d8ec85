data "aws_caller_identity" "current" {}

locals {
  # Smallest memory that serverless endpoints have, and the steps they have it in.
  serverless_memory_mb = [1024, 2048, 3072, 4096, 5120, 6144]

  # A rollout keeps the champion's endpoint and one more of the same size; a shadow may stand beside both.
  endpoints_at_once = 2 + (var.shadow ? 1 : 0)
  concurrency       = var.endpoint.serverless == null ? 0 : local.endpoints_at_once * var.endpoint.serverless.max_concurrency
}

resource "aws_ecr_repository" "image" {
  for_each = toset(["inference", "training"])

  name                 = "${var.name}/${each.key}"
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

resource "aws_ecr_lifecycle_policy" "image" {
  for_each = aws_ecr_repository.image

  repository = each.value.name

  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep what a rollback could need"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = var.images_kept }
      action       = { type = "expire" }
    }]
  })
}

module "execution_access" {
  source = "../service-access"

  grants = {
    cloudwatch_metrics = ["*"]
    ecr_login          = ["*"]
    ecr_pull           = values(aws_ecr_repository.image)[*].arn
    kms_jobs           = [var.kms_key_arn]
    logs_create        = ["${var.log_group_arn_prefix}:log-group:/aws/sagemaker/*"]
    s3_deliver         = ["${var.models_bucket_arn}/bundles/*", "${var.models_bucket_arn}/training/*"]
    s3_deliver_bucket  = [var.models_bucket_arn]
    s3_list            = [var.lake_bucket_arn]
    s3_read            = ["${var.lake_bucket_arn}/lake/*", "${var.models_bucket_arn}/archives/*"]
  }
}

resource "aws_iam_role" "execution" {
  name = "${var.name}-sagemaker"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "sagemaker.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "execution" {
  name   = "access"
  role   = aws_iam_role.execution.id
  policy = module.execution_access.policy
}

resource "aws_sagemaker_model_package_group" "this" {
  model_package_group_name        = var.name
  model_package_group_description = "Registered versions of ${var.name}, mirrored from its registry"
}

# One endpoint per model version is made by a rollout, not here; these are its settings, and what AWS would refuse of them.
resource "terraform_data" "endpoint" {
  input = var.endpoint

  lifecycle {
    precondition {
      condition     = (var.endpoint.serverless == null) != (var.endpoint.realtime == null)
      error_message = "An endpoint is either serverless or real-time: give one of the two."
    }

    precondition {
      condition     = var.endpoint.serverless == null || var.endpoint.variants == 1
      error_message = "A serverless endpoint has exactly one production variant; put each version on an endpoint of its own and let the route split the traffic."
    }

    precondition {
      condition     = var.endpoint.serverless == null || !var.endpoint.data_capture
      error_message = "Serverless endpoints capture no data; the inference log does."
    }

    precondition {
      condition     = var.endpoint.serverless == null || length(var.endpoint.subnet_ids) == 0
      error_message = "Serverless endpoints take no VPC; choose a real-time one."
    }

    precondition {
      condition     = var.endpoint.serverless == null ? true : contains(local.serverless_memory_mb, var.endpoint.serverless.memory_mb)
      error_message = "Serverless endpoints have 1024, 2048, 3072, 4096, 5120 or 6144 MB."
    }

    precondition {
      condition     = var.endpoint.serverless == null ? true : var.endpoint.serverless.provisioned_concurrency <= var.endpoint.serverless.max_concurrency
      error_message = "More provisioned than greatest concurrency."
    }

    precondition {
      condition     = local.concurrency <= var.serverless_concurrency_quota
      error_message = "During a rollout ${local.endpoints_at_once} endpoints ask for ${local.concurrency} concurrent runs, the account has ${var.serverless_concurrency_quota}: lower max_concurrency, or ask for a higher quota and say so in serverless_concurrency_quota."
    }

    precondition {
      condition     = var.endpoint.realtime == null ? true : var.endpoint.realtime.min_instances >= 1 && var.endpoint.realtime.min_instances <= var.endpoint.realtime.max_instances
      error_message = "min_instances is 1 or more, and max_instances no less."
    }
  }
}

# Jobs are started by the asset graph; these are its settings, and what SageMaker would refuse of them.
resource "terraform_data" "jobs" {
  input = var.jobs

  lifecycle {
    precondition {
      condition     = alltrue([for type in compact([try(var.jobs.instance_type, ""), var.batch_instance_type]) : startswith(type, "ml.")])
      error_message = "Instance types of SageMaker start with ml., such as ml.m5.xlarge."
    }

    precondition {
      condition     = var.jobs == null ? true : !var.jobs.spot || var.jobs.max_wait_s >= var.jobs.max_runtime_s
      error_message = "max_wait_s counts running and waiting for spot capacity: it is no less than max_runtime_s."
    }

    precondition {
      condition     = var.jobs == null ? true : var.jobs.max_runtime_s >= 60 && max(var.jobs.max_runtime_s, var.jobs.max_wait_s) <= 2419200
      error_message = "A job runs from a minute to 28 days."
    }

    precondition {
      condition     = var.jobs == null ? true : var.jobs.volume_gb >= 1 && var.jobs.volume_gb <= 16384
      error_message = "A job's disk has 1 to 16384 GB."
    }
  }
}
