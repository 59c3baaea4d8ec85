output "job_name" {
  description = "Name of the job, value of RECSYS_FEATURES_GLUE_JOB."
  value       = aws_glue_job.this.name
}

output "job_arn" {
  description = "Its ARN, for whoever starts runs."
  value       = aws_glue_job.this.arn
}
