# One environment, composed of the modules: which access each function has (`functions`), and which resource each setting
# names (`settings`). Values that differ between environments are in ../environments.
terraform {
  required_version = ">= 1.11, < 2.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  backend "s3" {}
}

provider "aws" {
  region              = var.region
  allowed_account_ids = var.allowed_account_ids

  default_tags {
    tags = {
      Project     = "recsys"
      Environment = local.name
      ManagedBy   = "terraform"
      Owner       = var.owner
    }
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  name         = "recsys-${var.environment}"
  table_prefix = "${local.name}-"
  repository   = "${path.module}/../.."

  # The local server, the authorizer and the gateway read the same table of routes.
  routes = jsondecode(file("${local.repository}/lambda_api/handlers/routes.json"))

  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  # RECSYS_* settings (lambda_api/settings.py), the same for all code of this environment.
  settings = merge(var.settings, {
    RECSYS_TARGET            = "aws"
    RECSYS_HOME              = "/tmp/recsys"
    RECSYS_TABLE_PREFIX      = local.table_prefix
    RECSYS_LAKE_URI          = "s3://${module.storage.bucket_names["lake"]}/lake"
    RECSYS_MODELS_URI        = "s3://${module.storage.bucket_names["models"]}/bundles"
    RECSYS_CATALOGUE_URI     = "s3://${module.storage.bucket_names["models"]}/catalogue"
    RECSYS_EVENT_STREAM      = module.streaming.event_stream_name
    RECSYS_EVENT_DELIVERY    = module.streaming.direct_delivery_name
    RECSYS_SHADOW_QUEUE_URL  = module.streaming.shadow_queue_url
    RECSYS_EXPLORATION_SHARE = tostring(var.serving.exploration_share)
  })
}
