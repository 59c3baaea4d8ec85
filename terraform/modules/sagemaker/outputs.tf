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
