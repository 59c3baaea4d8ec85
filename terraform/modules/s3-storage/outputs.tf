output "bucket_names" {
  description = "Bucket name by purpose: lake, models, logs."
  value       = { for purpose, bucket in aws_s3_bucket.this : purpose => bucket.bucket }

  # What is written before encryption and lifecycle stand would miss both.
  depends_on = [
    aws_s3_bucket_policy.this,
    aws_s3_bucket_server_side_encryption_configuration.this,
    aws_s3_bucket_versioning.this,
  ]
}

output "bucket_arns" {
  description = "Bucket ARN by purpose: lake, models, logs."
  value       = { for purpose, bucket in aws_s3_bucket.this : purpose => bucket.arn }
}
