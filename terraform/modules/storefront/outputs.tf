output "url" {
  description = "Address of the page."
  value       = "https://${var.domain == null ? aws_cloudfront_distribution.this.domain_name : var.domain.name}"
}

output "bucket_name" {
  description = "Bucket of the page; `recsys deploy` uploads its files, and data/ from the lake."
  value       = aws_s3_bucket.page.bucket

  depends_on = [aws_s3_bucket_policy.page]
}

output "distribution_id" {
  description = "To be invalidated when data/ has been published."
  value       = aws_cloudfront_distribution.this.id
}
