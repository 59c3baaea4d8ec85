data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  name   = "${var.name}-features"
  folder = "glue/${var.package.hash}"

  # Command line of every run; what a run adds (what to compute, Pipes) comes from whoever starts it.
  arguments = {
    "--job-language"                     = "python"
    "--extra-py-files"                   = "s3://${var.code_bucket_name}/${aws_s3_object.package.key}"
    "--additional-python-modules"        = join(",", var.python_modules)
    "--enable-metrics"                   = "true"
    "--enable-observability-metrics"     = "true"
    "--enable-continuous-cloudwatch-log" = "true"
    "--custom-logGroup-prefix"           = trimsuffix(aws_cloudwatch_log_group.this["logs-v2"].name, "/logs-v2")
    "--TempDir"                          = "s3://${var.code_bucket_name}/glue/temporary/"
    "--enable-glue-datacatalog"          = "false"
  }

  log_prefix = "/aws-glue/jobs/${local.name}"

  # With a security configuration Glue adds its name, or the role's, to names of groups, and makes those that are missing.
  log_groups = "arn:${data.aws_partition.current.partition}:logs:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:log-group:/aws-glue/jobs/*${local.name}*"
}

resource "aws_s3_object" "entry" {
  bucket      = var.code_bucket_name
  key         = "${local.folder}/${basename(var.entry_path)}"
  source      = var.entry_path
  source_hash = var.package.hash
  kms_key_id  = var.kms_key_arn
}

resource "aws_s3_object" "package" {
  bucket      = var.code_bucket_name
  key         = "${local.folder}/${basename(var.package.path)}"
  source      = var.package.path
  source_hash = var.package.hash
  kms_key_id  = var.kms_key_arn
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = toset(["error", "logs-v2", "output"])

  name              = "${local.log_prefix}/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_glue_security_configuration" "this" {
  name = local.name

  encryption_configuration {
    cloudwatch_encryption {
      cloudwatch_encryption_mode = "SSE-KMS"
      kms_key_arn                = var.kms_key_arn
    }

    job_bookmarks_encryption {
      job_bookmarks_encryption_mode = "CSE-KMS"
      kms_key_arn                   = var.kms_key_arn
    }

    s3_encryption {
      s3_encryption_mode = "SSE-KMS"
      kms_key_arn        = var.kms_key_arn
    }
  }
}

module "access" {
  source = "../service-access"

  grants = {
    cloudwatch_metrics    = ["*"]
    kms_write             = [var.kms_key_arn]
    logs_create_encrypted = [local.log_groups]
    s3_list               = [var.lake_bucket_arn, var.code_bucket_arn]
    s3_read               = ["${var.code_bucket_arn}/glue/*", "${var.lake_bucket_arn}/lake/*"]
    s3_write = [
      "${var.code_bucket_arn}/glue/temporary/*",
      "${var.code_bucket_arn}/pipes/*",
      "${var.lake_bucket_arn}/lake/*_features/*",
      "${var.lake_bucket_arn}/lake/*_features_$folder$", # how Spark marks a folder on S3
    ]
  }
}

resource "aws_iam_role" "job" {
  name = local.name

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "glue.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "job" {
  name   = "access"
  role   = aws_iam_role.job.id
  policy = module.access.policy
}

# Nothing starts it but the asset graph.
resource "aws_glue_job" "this" {
  name                   = local.name
  description            = "Feature tables of the lake, computed on Spark"
  role_arn               = aws_iam_role.job.arn
  glue_version           = var.glue_version
  worker_type            = var.worker_type
  number_of_workers      = var.workers
  timeout                = var.timeout_minutes
  max_retries            = 0
  security_configuration = aws_glue_security_configuration.this.name
  default_arguments      = local.arguments

  command {
    name            = "glueetl"
    script_location = "s3://${var.code_bucket_name}/${aws_s3_object.entry.key}"
    python_version  = "3"
  }

  # The three tables may be computed side by side.
  execution_property {
    max_concurrent_runs = 3
  }

  lifecycle {
    precondition {
      condition     = contains(["5.0", "5.1"], var.glue_version)
      error_message = "The code needs Python 3.11 and Spark 3.5 at least: Glue 5.0 or 5.1."
    }

    precondition {
      condition     = contains(["G.1X", "G.2X", "G.4X", "G.8X", "R.1X", "R.2X", "R.4X", "R.8X"], var.worker_type)
      error_message = "Glue has no such worker for Spark jobs of this version; G.1X is the smallest."
    }

    precondition {
      condition     = var.workers >= 2
      error_message = "One worker is the driver: a job has two at least."
    }

    precondition {
      condition     = alltrue([for module in var.python_modules : can(regex("^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$", module))])
      error_message = "Modules are pinned, name==version: Glue installs them at every start."
    }
  }

  depends_on = [aws_iam_role_policy.job]
}
