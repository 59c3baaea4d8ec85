# Storage, tables, streams and the key that encrypts them.
module "encryption" {
  source = "../modules/encryption"

  name = local.name
}

module "storage" {
  source = "../modules/s3-storage"

  name          = local.name
  kms_key_arn   = module.encryption.key_arn
  force_destroy = var.disposable
}

module "registry" {
  source = "../modules/model-registry"

  table_prefix        = local.table_prefix
  kms_key_arn         = module.encryption.key_arn
  deletion_protection = !var.disposable
}

module "streaming" {
  source = "../modules/streaming"

  name             = local.name
  kms_key_arn      = module.encryption.key_arn
  lake_bucket_arn  = module.storage.bucket_arns["lake"]
  stream           = var.events.stream
  shadow_timeout_s = var.functions.shadow.timeout_s
  log_days         = var.operations.log_days
}
