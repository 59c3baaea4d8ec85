# Training: settings and access of the asset graph, and the state machine that runs it.
locals {
  # Settings of the asset graph and of commands outside the environment. Functions get only local.settings.
  pipeline_settings = merge(
    local.settings,
    var.shop == null ? {} : {
      RECSYS_DATA   = var.shop.data
      RECSYS_SOURCE = var.shop.source
    },
    try(var.shop.first_day, null) == null ? {} : { RECSYS_FIRST_DAY = var.shop.first_day },
    local.rollout_settings,
    var.sagemaker == null ? {} : module.sagemaker[0].settings,
    var.feature_job == null ? {} : { RECSYS_FEATURES_GLUE_JOB = module.feature_job[0].job_name },
  )

  shop_bucket = var.shop == null ? null : "arn:${local.partition}:s3:::${split("/", var.shop.data)[2]}"

  # Access besides pipeline_access: the shop's data and the feature job.
  training_access = {
    s3_read   = var.shop == null ? [] : ["${local.shop_bucket}/${join("/", slice(split("/", var.shop.data), 3, length(split("/", var.shop.data))))}/*"]
    s3_list   = var.shop == null ? [] : [local.shop_bucket]
    glue_runs = module.feature_job[*].job_arn
  }

  training_machine = "${local.repository}/recsys_deploy/training_machine"
}

module "sagemaker" {
  source = "../modules/sagemaker"
  count  = var.sagemaker == null ? 0 : 1

  name                         = local.name
  jobs                         = var.sagemaker.jobs
  batch_instance_type          = var.sagemaker.batch_instance_type
  endpoint                     = merge(var.sagemaker.endpoint, { subnet_ids = [] })
  serverless_concurrency_quota = var.sagemaker.serverless_concurrency_quota
  image_tag                    = var.image_tag
  lake_bucket_arn              = module.storage.bucket_arns["lake"]
  models_bucket_arn            = local.models
  models_bucket_name           = module.storage.bucket_names["models"]
  log_group_arn_prefix         = "arn:${local.partition}:logs:${local.region}:${local.account}"
  kms_key_arn                  = module.encryption.key_arn
  force_destroy                = var.disposable
}

module "feature_job" {
  source = "../modules/glue"
  count  = var.feature_job == null ? 0 : 1

  name             = local.name
  entry_path       = var.feature_package.entry
  package          = { path = var.feature_package.path, hash = var.feature_package.hash }
  python_modules   = var.feature_package.python_modules
  worker_type      = var.feature_job.worker_type
  workers          = var.feature_job.workers
  timeout_minutes  = var.feature_job.timeout_minutes
  lake_bucket_arn  = module.storage.bucket_arns["lake"]
  code_bucket_name = module.storage.bucket_names["models"]
  code_bucket_arn  = local.models
  kms_key_arn      = module.encryption.key_arn
  log_days         = var.operations.log_days
}

module "training" {
  source = "../modules/ml-pipeline"
  count  = var.training == null ? 0 : 1

  name        = local.name
  machine     = "training"
  definition  = "${local.training_machine}/training.asl.json"
  services    = jsondecode(file("${local.training_machine}/services.json"))
  schedule    = var.training.schedule
  kms_key_arn = module.encryption.key_arn
  log_days    = var.operations.log_days

  substitutions = {
    name                = local.name
    cluster_arn         = module.runs[0].cluster_arn
    task_definition_arn = module.runs[0].task_definition_arn
    container_name      = module.runs[0].container_name
    log_group           = module.runs[0].log_group.name
    subnet_ids          = join(",", module.network[0].subnet_ids)
    security_group_ids  = module.network[0].task_security_group_id
    registry_table      = module.registry.table_names["registry"]
    topic_arn           = module.monitoring.topic_arn
    rollout_machine_arn = local.rollout_machine_arn == null ? "" : local.rollout_machine_arn
  }

  resources = {
    task_definition = [module.runs[0].task_definition_family_arn]
    tasks           = ["arn:${local.partition}:ecs:${local.region}:${local.account}:task/${module.runs[0].cluster_name}/*"]
    task_roles      = module.runs[0].role_arns
    ecs_rule        = ["arn:${local.partition}:events:${local.region}:${local.account}:rule/StepFunctionsGetEventsForECSTaskRule"]
    registry_table  = [local.tables["registry"]]
    rollout_machine = compact([local.rollout_machine_arn])
    topic           = [module.monitoring.topic_arn]
    key             = [module.encryption.key_arn]
  }
}
