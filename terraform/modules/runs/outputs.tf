output "cluster_arn" {
  description = "ECS cluster of runs and of Dagster's own services."
  value       = aws_ecs_cluster.this.arn
}

output "cluster_name" {
  description = "Name of the cluster."
  value       = aws_ecs_cluster.this.name
}

output "task_definition_arn" {
  description = "Task definition of a run, with its revision."
  value       = aws_ecs_task_definition.run.arn

  depends_on = [aws_iam_role_policy.execution, aws_iam_role_policy.task]
}

output "task_definition_family_arn" {
  description = "Every revision of it, for permissions to start one."
  value       = "${aws_ecs_task_definition.run.arn_without_revision}:*"
}

output "container_name" {
  description = "Container whose command is given when a run starts."
  value       = local.container_name
}

output "role_arns" {
  description = "Roles that whoever starts a run has to pass on."
  value       = [aws_iam_role.execution.arn, aws_iam_role.task.arn]
}

output "image" {
  description = "Image of runs and services."
  value       = "${aws_ecr_repository.dagster.repository_url}:${var.image_tag}"
}

output "repository_arn" {
  description = "Repository of the image."
  value       = aws_ecr_repository.dagster.arn
}

output "repository_url" {
  description = "Where the image is pushed to."
  value       = aws_ecr_repository.dagster.repository_url
}

output "log_group" {
  description = "Log group of runs: name, arn."
  value       = { name = aws_cloudwatch_log_group.runs.name, arn = aws_cloudwatch_log_group.runs.arn }
}
