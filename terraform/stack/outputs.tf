output "api_url" {
  description = "Address of the API, without a slash at the end."
  value       = module.api.url
}

output "storefront_url" {
  description = "Address of the shop page; null where there is none."
  value       = one(module.storefront[*].url)
}

output "storefront_bucket" {
  description = "Bucket into which the page's data is published; null where there is none."
  value       = one(module.storefront[*].bucket_name)
}

output "storefront_distribution_id" {
  description = "CloudFront distribution of the page, to be invalidated when its data changed; null where there is none."
  value       = one(module.storefront[*].distribution_id)
}

output "settings" {
  description = "RECSYS_* variables for everything that works on this environment from outside: pipeline and command line."
  value       = local.pipeline_settings
}

output "functions" {
  description = "Functions with their aliases and the version last published."
  value       = module.functions.functions
}

output "route_keys" {
  description = "Every route of the API and how it is authorised."
  value       = module.api.route_keys
}

output "alarm_topic_arn" {
  description = "Topic of alarms and budget."
  value       = module.monitoring.topic_arn
}

output "dagster_url" {
  description = "Address of Dagster's web server; null where there is none."
  value       = one(module.dagster[*].url)
}

output "runs" {
  description = "How a run of the asset graph is started by hand: cluster, task definition, container, subnets, security group, where its image is pushed to; null where there are none."
  value = var.runs == null ? null : {
    cluster_arn         = module.runs[0].cluster_arn
    task_definition_arn = module.runs[0].task_definition_arn
    container_name      = module.runs[0].container_name
    repository_url      = module.runs[0].repository_url
    subnet_ids          = module.network[0].subnet_ids
    security_group_id   = module.network[0].task_security_group_id
  }
}

output "ci_role_arns" {
  description = "Roles of GitHub's jobs, by what they are for; null where there are none."
  value       = one(module.ci_access[*].role_arns)
}

output "training_machine_arn" {
  description = "State machine that runs the asset graph; null where there is none."
  value       = one(module.training[*].machine_arn)
}

output "endpoint" {
  description = "How a model version's endpoint is made; null where functions score themselves."
  value       = one(module.sagemaker[*].endpoint)
}
