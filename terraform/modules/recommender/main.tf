data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  name         = "recsys-${var.environment}"
  table_prefix = "${local.name}-"
  repository   = "${path.module}/../../.."

  # The one table of routes: the local server, the authorizer and the gateway read the same file.
  routes = jsondecode(file("${local.repository}/lambda_api/handlers/routes.json"))

  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  # Whether there is a key is no secret.
  has_storefront_key = nonsensitive(var.storefront_key != "")

  # One endpoint per model version, named by the environment; which there are is known to the registry alone.
  endpoints = "arn:${local.partition}:sagemaker:${local.region}:${local.account}:endpoint/${local.name}-*"

  tables = module.registry.table_arns
  models = module.storage.bucket_arns["models"]

  # RECSYS_* settings (lambda_api/settings.py), the same for every function.
  settings = {
    RECSYS_TARGET            = "aws"
    RECSYS_HOME              = "/tmp/recsys"
    RECSYS_TABLE_PREFIX      = local.table_prefix
    RECSYS_LAKE_URI          = "s3://${module.storage.bucket_names["lake"]}/lake"
    RECSYS_MODELS_URI        = "s3://${module.storage.bucket_names["models"]}/bundles"
    RECSYS_CATALOGUE_URI     = "s3://${module.storage.bucket_names["models"]}/catalogue"
    RECSYS_EVENT_STREAM      = module.streaming.event_stream_name
    RECSYS_SHADOW_QUEUE_URL  = module.streaming.shadow_queue_url
    RECSYS_EXPLORATION_SHARE = tostring(var.exploration_share)
  }

  # Asking a model: its bundle and catalogue, an endpoint, and where what was shown is written.
  scoring = {
    s3_read          = ["${local.models}/bundles/*", "${local.models}/catalogue/*"]
    s3_list          = [local.models]
    sagemaker_invoke = [local.endpoints]
    kinesis_write    = [module.streaming.event_stream_arn]
  }

  functions = {
    api = merge(var.api_function, {
      description  = "Answers shoppers"
      handler      = "lambda_api.handlers.api.handler"
      package_path = var.packages.api.path
      package_hash = var.packages.api.hash
      access = merge(local.scoring, {
        dynamodb_read  = [local.tables["serving"], local.tables["history"], local.tables["exposures"]]
        dynamodb_write = [local.tables["history"], local.tables["exposures"]]
        sqs_send       = [module.streaming.shadow_queue_arn]
        sqs_count      = [module.streaming.shadow_queue_arn]
      })
      queue = null
    })
    authorizer = merge(var.authorizer_function, {
      description  = "Says who may call which route"
      handler      = "lambda_api.handlers.authorizer.handler"
      package_path = var.packages.authorizer.path
      package_hash = var.packages.authorizer.hash
      access = {
        dynamodb_read = [local.tables["api_keys"]]
      }
      queue = null
    })
    shadow = merge(var.shadow_function, {
      description  = "Asks the model in the shadow what shoppers were asked"
      handler      = "lambda_api.handlers.shadow.handler"
      package_path = var.packages.shadow.path
      package_hash = var.packages.shadow.hash
      access = merge(local.scoring, {
        dynamodb_read  = [local.tables["serving"], local.tables["exposures"]]
        dynamodb_write = [local.tables["exposures"]]
        sqs_consume    = [module.streaming.shadow_queue_arn]
      })
      queue = {
        arn                 = module.streaming.shadow_queue_arn
        maximum_concurrency = coalesce(var.shadow_function.reserved_concurrency, 2)
      }
    })
  }
}

module "encryption" {
  source = "../encryption"

  name = local.name
}

module "storage" {
  source = "../s3-storage"

  name          = local.name
  kms_key_arn   = module.encryption.key_arn
  force_destroy = var.disposable
}

module "registry" {
  source = "../model-registry"

  table_prefix        = local.table_prefix
  kms_key_arn         = module.encryption.key_arn
  deletion_protection = !var.disposable
}

module "streaming" {
  source = "../streaming"

  name             = local.name
  kms_key_arn      = module.encryption.key_arn
  lake_bucket_arn  = module.storage.bucket_arns["lake"]
  shards           = var.event_shards
  retention_hours  = var.event_retention_hours
  shadow_timeout_s = var.shadow_function.timeout_s
  log_days         = var.log_days
}

module "functions" {
  source = "../lambda-inference"

  name                = local.name
  functions           = local.functions
  environment         = local.settings
  package_bucket      = module.storage.bucket_names["models"]
  kms_key_arn         = module.encryption.key_arn
  weighted_rollouts   = var.weighted_rollouts
  account_concurrency = var.account_concurrency
  log_days            = var.log_days
}

module "api" {
  source = "../api-gateway"

  name             = local.name
  routes           = local.routes
  handler          = module.functions.functions["api"]
  authorizer       = module.functions.functions["authorizer"]
  default_throttle = var.throttle
  cors_origins     = var.cors_origins
  kms_key_arn      = module.encryption.key_arn
  log_days         = var.log_days

  # Operators' figures are asked for by a monitor, not by crowds.
  throttles = { "GET /metrics" = { rate = 1, burst = 5 } }
}

module "monitoring" {
  source = "../monitoring"

  name                     = local.name
  kms_key_arn              = module.encryption.key_arn
  emails                   = var.alarm_emails
  functions                = module.functions.functions
  api_id                   = module.api.api_id
  table_names              = module.registry.table_names
  event_stream_name        = module.streaming.event_stream_name
  delivery_stream_name     = module.streaming.delivery_stream_name
  delivery_buffer_s        = module.streaming.delivery_buffer_s
  shadow_queue_name        = module.streaming.shadow_queue_name
  shadow_failed_queue_name = module.streaming.shadow_failed_queue_name
  latency_p99_ms           = var.latency_p99_ms
  monthly_budget_usd       = var.monthly_budget_usd
}

module "storefront" {
  source = "../storefront"
  count  = var.storefront ? 1 : 0

  name        = local.name
  page_folder = "${local.repository}/storefront"
  routes      = local.routes
  api_url     = local.has_storefront_key ? module.api.url : null
  api_key     = var.storefront_key
  web_acl_arn = var.storefront_web_acl_arn
}
