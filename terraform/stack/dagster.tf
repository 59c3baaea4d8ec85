# Dagster on ECS, for shops whose runs are started by its daemon; otherwise the training machine starts them.
module "dagster" {
  source = "../modules/dagster"
  count  = var.dagster == null ? 0 : 1

  name              = local.name
  network           = module.network[0]
  runs              = module.runs[0]
  environment       = local.pipeline_settings
  access            = local.pipeline_access
  log_bucket        = { name = module.storage.bucket_names["lake"], arn = module.storage.bucket_arns["lake"] }
  access_log_bucket = module.storage.bucket_names["logs"]
  size              = var.dagster.size
  architecture      = var.runs.architecture
  web               = var.dagster.web
  database          = var.dagster.database
  disposable        = var.disposable
  kms_key_arn       = module.encryption.key_arn
  log_days          = var.operations.log_days
}
