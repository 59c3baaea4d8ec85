# The same in every environment; what differs stands in terraform.tfvars and backend.hcl.
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
  region = var.region

  default_tags {
    tags = {
      Project     = "recsys"
      Environment = "recsys-${var.environment}"
      ManagedBy   = "terraform"
      Owner       = var.owner
    }
  }
}

module "recommender" {
  source = "../../modules/recommender"

  environment            = var.environment
  packages               = var.packages
  api_function           = var.api_function
  authorizer_function    = var.authorizer_function
  shadow_function        = var.shadow_function
  weighted_rollouts      = var.weighted_rollouts
  account_concurrency    = var.account_concurrency
  exploration_share      = var.exploration_share
  throttle               = var.throttle
  cors_origins           = var.cors_origins
  event_shards           = var.event_shards
  event_retention_hours  = var.event_retention_hours
  storefront             = var.storefront
  storefront_key         = var.storefront_key
  storefront_web_acl_arn = var.storefront_web_acl_arn
  disposable             = var.disposable
  log_days               = var.log_days
  alarm_emails           = var.alarm_emails
  latency_p99_ms         = var.latency_p99_ms
  monthly_budget_usd     = var.monthly_budget_usd
}
