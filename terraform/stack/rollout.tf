# Rollouts: the function that judges a version, and the state machine that lets shoppers meet it step by step.
locals {
  rollout_machine_arn = one(module.rollout[*].machine_arn)

  # For the asset graph and commands outside the environment.
  rollout_settings = var.rollout == null ? {} : {
    RECSYS_ROLLOUT                = var.rollout.strategy
    RECSYS_ROLLOUT_APPROVAL_HOURS = tostring(var.rollout.approval_hours)
    RECSYS_ROLLOUT_VERDICT        = var.rollout.verdict
    RECSYS_ROLLOUT_MACHINE_ARN    = module.rollout[0].machine_arn
  }

  judge = var.rollout == null ? {} : {
    judge = {
      description          = "Carries out and judges rollouts"
      handler              = "recsys_deploy.rollout.handler.handle"
      package_path         = var.packages.judge.path
      package_hash         = var.packages.judge.hash
      memory_mb            = var.rollout.function.memory_mb
      timeout_s            = var.rollout.function.timeout_s
      ephemeral_storage_mb = var.rollout.function.disk_mb

      environment = {
        RECSYS_ROLLOUT                = var.rollout.strategy
        RECSYS_ROLLOUT_APPROVAL_HOURS = tostring(var.rollout.approval_hours)
        RECSYS_ROLLOUT_VERDICT        = var.rollout.verdict
        RECSYS_TOPIC_ARN              = module.monitoring.topic_arn
      }
    }
  }

  judge_access = var.rollout == null ? {} : {
    judge = {
      dynamodb_read  = [local.tables["serving"], local.tables["registry"]]
      dynamodb_write = [local.tables["serving"], local.tables["registry"]]
      s3_read        = ["${local.models}/bundles/*", "${module.storage.bucket_arns["lake"]}/events/*"]
      s3_list        = [local.models, module.storage.bucket_arns["lake"]]
      # Tables that looks make of the event stream, and the mark of their folder that pyarrow writes.
      s3_write          = [for path in ["", "experiment_*"] : "${module.storage.bucket_arns["lake"]}/lake/${path}"]
      sns_publish       = [module.monitoring.topic_arn]
      cloudwatch_alarms = ["*"]
    }
  }
}

module "rollout" {
  source = "../modules/rollout"
  count  = var.rollout == null ? 0 : 1

  name              = local.name
  machine_folder    = "${local.repository}/recsys_deploy/rollout"
  function          = module.functions.functions["judge"]
  api_function_name = module.functions.functions["api"].function_name
  topic_arn         = module.monitoring.topic_arn
  kms_key_arn       = module.encryption.key_arn
  log_days          = var.operations.log_days
}
