# The bucket is the account's own, made before this.
bucket       = "recsys-dev-terraform-state"
key          = "recsys/terraform.tfstate"
region       = "eu-central-1"
encrypt      = true
use_lockfile = true
