output "role_arns" {
  description = "Roles of GitHub jobs: plan, deploy, release, monitor, training; values of the variables <ROLE>_ROLE_ARN."
  value       = { for name, role in aws_iam_role.this : name => role.arn }

  depends_on = [aws_iam_role_policy.this, aws_iam_role_policy_attachment.terraform]
}

output "provider_arn" {
  description = "GitHub's OIDC provider."
  value       = local.provider
}
