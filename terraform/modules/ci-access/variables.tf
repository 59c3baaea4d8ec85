variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "environment" {
  description = "GitHub environment whose jobs deploy; <environment>-unattended is the one of jobs that wait for nobody, plan-<environment> the one of pull requests."
  type        = string
}

variable "repository" {
  description = "GitHub repository, owner/name."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.repository))
    error_message = "owner/name, without wildcards: every repository that matches could take the roles."
  }
}

variable "provider_arn" {
  description = "GitHub's OIDC provider of the account, where another environment has made it; an account has one. Null: it is made here."
  type        = string
  default     = null
}

variable "state" {
  description = "Where Terraform's state lies: bucket and key, as in backend.hcl."
  type        = object({ bucket = string, key = string })
}

variable "tables" {
  description = "Tables by the name the code opens them under: ARN."
  type        = map(string)
}

variable "models_bucket_arn" {
  description = "Bucket of bundles and catalogues."
  type        = string
}

variable "lake_bucket_arn" {
  description = "Bucket of the lake."
  type        = string
}

variable "pipeline_access" {
  description = "What the asset graph may do, for the training job: grants of service-access."
  type        = map(list(string))
}

variable "kms_key_arn" {
  description = "Key of the data."
  type        = string
}
