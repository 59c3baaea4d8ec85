data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id

  # Bucket names are global; the account's number makes them unique.
  names = { for purpose in ["lake", "models", "logs"] : purpose => "${var.name}-${purpose}-${local.account}" }
  data  = toset(["lake", "models"])

  # Weekly trainings read the whole lake again, so its objects move by their use (Intelligent-Tiering has no retrieval fee);
  # access logs are seldom read. Both classes answer in milliseconds.
  cold_class = "GLACIER_IR"

  deny_insecure = {
    for purpose, name in local.names : purpose => [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.this[purpose].arn, "${aws_s3_bucket.this[purpose].arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "Tls12"
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.this[purpose].arn, "${aws_s3_bucket.this[purpose].arn}/*"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
    ]
  }

  # Statements are JSON text, because concat needs lists of one type.
  statements = {
    for purpose, denied in local.deny_insecure : purpose => purpose != "logs" ? jsonencode(denied) : jsonencode(concat(
      [for statement in denied : jsondecode(jsonencode(statement))],
      [for source in local.data : jsondecode(jsonencode({
        Sid       = "AccessLogs${title(source)}"
        Effect    = "Allow"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Action    = ["s3:PutObject"]
        Resource  = "${aws_s3_bucket.this["logs"].arn}/s3/${source}/*"
        Condition = {
          ArnLike      = { "aws:SourceArn" = aws_s3_bucket.this[source].arn }
          StringEquals = { "aws:SourceAccount" = local.account }
        }
      }))],
      [jsondecode(jsonencode({
        Sid       = "LoadBalancerLogs"
        Effect    = "Allow"
        Principal = { Service = "logdelivery.elasticloadbalancing.amazonaws.com" }
        Action    = ["s3:PutObject"]
        Resource  = "${aws_s3_bucket.this["logs"].arn}/alb/AWSLogs/${local.account}/*"
        Condition = { ArnLike = { "aws:SourceArn" = "arn:${data.aws_partition.current.partition}:elasticloadbalancing:*:${local.account}:loadbalancer/*" } }
      }))],
    ))
  }
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV2_AWS_61:Every bucket has one, below: `data` and `logs`
  #checkov:skip=CKV2_AWS_62:Nothing waits for objects: the pipeline looks when it runs
  #checkov:skip=CKV_AWS_144:A second region is a decision of the shop; versions and point-in-time recovery guard against mistakes
  #checkov:skip=CKV_AWS_18:The data buckets are logged, below; the log bucket logging itself would never end
  for_each = local.names

  bucket        = each.value
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = local.names

  bucket                  = aws_s3_bucket.this[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.names

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.names

  bucket = aws_s3_bucket.this[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.names

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    # S3 cannot deliver access logs to a bucket whose default is a KMS key.
    bucket_key_enabled = contains(local.data, each.key)

    apply_server_side_encryption_by_default {
      sse_algorithm     = contains(local.data, each.key) ? "aws:kms" : "AES256"
      kms_master_key_id = contains(local.data, each.key) ? var.kms_key_arn : null
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  for_each = local.names

  bucket = aws_s3_bucket.this[each.key].id
  policy = "{\"Version\":\"2012-10-17\",\"Statement\":${local.statements[each.key]}}"

  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_logging" "this" {
  for_each = local.data

  bucket        = aws_s3_bucket.this[each.key].id
  target_bucket = aws_s3_bucket.this["logs"].id
  target_prefix = "s3/${each.key}/"

  depends_on = [aws_s3_bucket_policy.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "data" {
  for_each = local.data

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    id     = "cold"
    status = "Enabled"

    filter {}

    transition {
      days          = var.cold_after_days
      storage_class = "INTELLIGENT_TIERING"
    }
  }

  rule {
    id     = "old-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.old_version_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  bucket = aws_s3_bucket.this["logs"].id

  rule {
    id     = "expire"
    status = "Enabled"

    filter {}

    transition {
      days          = var.cold_after_days
      storage_class = local.cold_class
    }

    expiration {
      days = var.log_days
    }

    noncurrent_version_expiration {
      noncurrent_days = 7
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]

  lifecycle {
    precondition {
      condition     = var.log_days > var.cold_after_days
      error_message = "S3 refuses to expire objects before they are moved: log_days must exceed cold_after_days."
    }
  }
}
