output "api_url" {
  description = "Address of the API, without a slash at the end."
  value       = module.api.url
}

output "api_domain_target" {
  description = "Name to which the DNS record of the API's own domain points (CNAME or alias); null without one."
  value       = module.api.domain_target
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
  description = "CloudFront distribution of the page, invalidated when its data changes; null where there is none."
  value       = one(module.storefront[*].distribution_id)
}

output "settings" {
  description = "RECSYS_* variables for code outside the environment: pipeline and command line."
  value       = local.pipeline_settings
}

output "functions" {
  description = "Functions with their aliases and last published versions."
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
  description = "Cluster, task definition, container, subnets and security group for starting a run by hand, and the repository of its image; null where there are none."
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
  description = "Roles of GitHub's jobs by purpose; null where there are none."
  value       = one(module.ci_access[*].role_arns)
}

output "training_machine_arn" {
  description = "State machine that runs the asset graph; null where there is none."
  value       = one(module.training[*].machine_arn)
}

output "rollout_machine_arn" {
  description = "State machine of rollouts; null where there is none."
  value       = local.rollout_machine_arn
}

output "endpoint" {
  description = "Settings of a model version's endpoint; null where the functions score themselves."
  value       = one(module.sagemaker[*].endpoint)
}
