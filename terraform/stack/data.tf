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

# What exists once: keys, registry, events. The rest is made again from the repository and the shop's log.
module "backup" {
  source = "../modules/backup"
  count  = var.backup == null ? 0 : 1

  name          = local.name
  kms_key_arn   = module.encryption.key_arn
  force_destroy = var.disposable
  vault_arn     = var.backup.vault_arn
  days_there    = var.backup.days
  resources     = [local.tables["api_keys"], local.tables["registry"], module.storage.bucket_arns["lake"]]
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
