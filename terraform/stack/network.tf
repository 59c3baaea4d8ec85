# The network of containers, and the task that runs the asset graph.
locals {
  # Access of the asset graph: lake, bundles, catalogue, all tables, and jobs.
  pipeline_access = {
    dynamodb_read          = values(local.tables)
    dynamodb_write         = values(local.tables)
    kinesis_write          = module.streaming.event_stream_arns
    firehose_write         = module.streaming.direct_delivery_arns
    glue_runs              = local.training_access.glue_runs
    s3_list                = concat([module.storage.bucket_arns["lake"], local.models], local.training_access.s3_list)
    s3_read                = local.training_access.s3_read
    states_start           = compact([local.rollout_machine_arn])
    s3_write               = ["${module.storage.bucket_arns["lake"]}/*", "${local.models}/*"]
    sagemaker_invoke       = [local.endpoints]
    sagemaker_jobs         = [for kind in ["training-job", "processing-job", "transform-job", "hyper-parameter-tuning-job"] : "arn:${local.partition}:sagemaker:${local.region}:${local.account}:${kind}/recsys-*"]
    sagemaker_models       = ["arn:${local.partition}:sagemaker:${local.region}:${local.account}:model/${local.name}-*"]
    pass_role_to_sagemaker = ["arn:${local.partition}:iam::${local.account}:role/${local.name}-sagemaker"]
  }

  # A run's command carries Dagster's instance, which names these variables.
  run_environment = var.dagster == null ? {} : module.dagster[0].run_environment
  run_secrets     = var.dagster == null ? {} : module.dagster[0].run_secrets
}

module "network" {
  source = "../modules/network"
  count  = var.network == null ? 0 : 1

  name                = local.name
  cidr                = var.network.cidr
  zones               = var.network.zones
  nat                 = var.network.nat
  interface_endpoints = var.network.interface_endpoints
  kms_key_arn         = module.encryption.key_arn
  log_days            = var.operations.log_days
}

module "runs" {
  source = "../modules/runs"
  count  = var.runs == null ? 0 : 1

  name          = local.name
  image_tag     = var.image_tag
  environment   = merge(local.pipeline_settings, local.daily_settings, local.run_environment)
  secrets       = local.run_secrets
  access        = merge(local.pipeline_access, local.daily_access)
  cpu           = var.runs.cpu
  memory_mb     = var.runs.memory_mb
  disk_gib      = var.runs.disk_gib
  architecture  = var.runs.architecture
  kms_key_arn   = module.encryption.key_arn
  log_days      = var.operations.log_days
  force_destroy = var.disposable
}
