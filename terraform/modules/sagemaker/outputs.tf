output "execution_role_arn" {
  description = "Role of training jobs and endpoints."
  value       = aws_iam_role.execution.arn

  depends_on = [aws_iam_role_policy.execution]
}

output "repository_urls" {
  description = "Repositories of the images: inference, training."
  value       = { for name, repository in aws_ecr_repository.image : name => repository.repository_url }
}

output "model_package_group" {
  description = "Group that mirrors the registry's versions."
  value       = aws_sagemaker_model_package_group.this.model_package_group_name
}

output "endpoint" {
  description = "Settings of an endpoint, checked against what AWS refuses."
  value       = terraform_data.endpoint.output
}

output "settings" {
  description = "RECSYS_* settings (lambda_api/settings.py) of whoever starts jobs and endpoints."
  value = merge(
    {
      RECSYS_ENDPOINT_PREFIX         = var.name
      RECSYS_INFERENCE_IMAGE         = "${aws_ecr_repository.image["inference"].repository_url}:${var.image_tag}"
      RECSYS_INFERENCE_INSTANCE_TYPE = var.batch_instance_type
      RECSYS_TRAINING_ROLE_ARN       = aws_iam_role.execution.arn
      RECSYS_TRAINING_URI            = "s3://${var.models_bucket_name}/training"
      RECSYS_TRAINING_KMS_KEY        = var.kms_key_arn
      RECSYS_TRAINING_TAGS           = "Project=recsys,Environment=${var.name}"
    },
    var.jobs == null ? {} : {
      RECSYS_TRAINING_IMAGE         = "${aws_ecr_repository.image["training"].repository_url}:${var.image_tag}"
      RECSYS_TRAINING_INSTANCE_TYPE = terraform_data.jobs.output.instance_type
      RECSYS_TRAINING_SPOT          = tostring(terraform_data.jobs.output.spot)
      RECSYS_TRAINING_VOLUME_GB     = tostring(terraform_data.jobs.output.volume_gb)
      RECSYS_TRAINING_MAX_RUNTIME_S = tostring(terraform_data.jobs.output.max_runtime_s)
      RECSYS_TRAINING_MAX_WAIT_S    = tostring(terraform_data.jobs.output.max_wait_s)
    },
  )

  depends_on = [aws_iam_role_policy.execution]
}
