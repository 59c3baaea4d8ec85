# Alarms, the budget, and the roles of GitHub's jobs.
module "monitoring" {
  source = "../modules/monitoring"

  name                     = local.name
  kms_key_arn              = module.encryption.key_arn
  emails                   = var.operations.alarm_emails
  functions                = module.functions.functions
  api_id                   = module.api.api_id
  table_names              = module.registry.table_names
  event_stream_name        = module.streaming.event_stream_name
  full                     = var.operations.full_monitoring
  delivery_stream_name     = module.streaming.delivery_stream_name
  delivery_buffer_s        = module.streaming.delivery_buffer_s
  shadow_queue_name        = module.streaming.shadow_queue_name
  shadow_failed_queue_name = module.streaming.shadow_failed_queue_name
  alarms                   = merge(concat(module.dagster[*].alarms, module.training[*].alarms, [local.daily_alarms], module.rollout[*].alarms)...)
  latency_p99_ms           = var.operations.latency_p99_ms
  monthly_budget_usd       = var.operations.monthly_budget_usd
}

module "ci_access" {
  source = "../modules/ci-access"
  count  = var.ci_access == null ? 0 : 1

  name              = local.name
  environment       = var.environment
  repository        = var.ci_access.repository
  repository_ids    = var.ci_access.repository_ids
  provider_arn      = var.ci_access.provider_arn
  state             = var.ci_access.state
  tables            = local.tables
  models_bucket_arn = local.models
  lake_bucket_arn   = module.storage.bucket_arns["lake"]
  pipeline_access   = local.pipeline_access
  kms_key_arn       = module.encryption.key_arn
}
