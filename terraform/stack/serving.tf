# Functions, API and shop page.
locals {
  # Whether a key exists is not secret.
  has_storefront_key = nonsensitive(var.storefront_key != "")

  # One endpoint per model version, named by the environment; only the registry knows which exist.
  endpoints = "arn:${local.partition}:sagemaker:${local.region}:${local.account}:endpoint/${local.name}-*"

  tables = module.registry.table_arns
  models = module.storage.bucket_arns["models"]

  # Access for scoring: bundle, catalogue, endpoint, and the stream of shown lists.
  scoring = {
    s3_read          = ["${local.models}/bundles/*", "${local.models}/catalogue/*"]
    s3_list          = [local.models]
    sagemaker_invoke = [local.endpoints]
    kinesis_write    = module.streaming.event_stream_arns
    firehose_write   = module.streaming.direct_delivery_arns
  }

  functions = {
    api = merge(var.functions.api, {
      description  = "Answers shoppers"
      handler      = "lambda_api.handlers.api.handler"
      package_path = var.packages.api.path
      package_hash = var.packages.api.hash
    })
    authorizer = merge(var.functions.authorizer, {
      description  = "Checks API keys"
      handler      = "lambda_api.handlers.authorizer.handler"
      package_path = var.packages.authorizer.path
      package_hash = var.packages.authorizer.hash
    })
    shadow = merge(var.functions.shadow, {
      description  = "Queries the shadow model"
      handler      = "lambda_api.handlers.shadow.handler"
      package_path = var.packages.shadow.path
      package_hash = var.packages.shadow.hash
    })
  }

  function_access = {
    api = merge(local.scoring, {
      dynamodb_read  = [local.tables["serving"], local.tables["history"], local.tables["exposures"]]
      dynamodb_write = [local.tables["history"], local.tables["exposures"]]
      sqs_send       = [module.streaming.shadow_queue_arn]
      sqs_count      = [module.streaming.shadow_queue_arn]
    })
    authorizer = {
      dynamodb_read = [local.tables["api_keys"]]
    }
    shadow = merge(local.scoring, {
      dynamodb_read  = [local.tables["serving"], local.tables["exposures"]]
      dynamodb_write = [local.tables["exposures"]]
      sqs_consume    = [module.streaming.shadow_queue_arn]
    })
  }
}

module "functions" {
  source = "../modules/lambda-inference"

  name                = local.name
  functions           = merge(local.functions, local.judge)
  access              = merge(local.function_access, local.judge_access)
  environment         = local.settings
  package_bucket      = module.storage.bucket_names["models"]
  kms_key_arn         = module.encryption.key_arn
  weighted_rollouts   = var.serving.weighted_rollouts
  account_concurrency = var.serving.account_concurrency
  log_days            = var.operations.log_days
  tracing             = var.operations.tracing

  queues = {
    shadow = {
      arn                 = module.streaming.shadow_queue_arn
      maximum_concurrency = coalesce(var.functions.shadow.reserved_concurrency, 2)
    }
  }
}

module "api" {
  source = "../modules/api-gateway"

  name             = local.name
  routes           = local.routes
  handler          = module.functions.functions["api"]
  authorizer       = module.functions.functions["authorizer"]
  default_throttle = var.serving.throttle
  cors_origins     = var.serving.cors_origins
  domain           = var.serving.domain
  kms_key_arn      = module.encryption.key_arn
  log_days         = var.operations.log_days

  # Only monitors read the metrics.
  throttles = { "GET /metrics" = { rate = 1, burst = 5 } }
}

module "storefront" {
  source = "../modules/storefront"
  count  = var.storefront == null ? 0 : 1

  name        = local.name
  routes      = local.routes
  api_url     = local.has_storefront_key ? module.api.url : null
  api_key     = var.storefront_key
  web_acl_arn = var.storefront.web_acl_arn
}
