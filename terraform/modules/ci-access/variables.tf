variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "environment" {
  description = "GitHub environment of deployments. <environment>-unattended is for jobs without a reviewer, plan-<environment> for pull requests."
  type        = string
}

variable "repository" {
  description = "GitHub repository, owner/name."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.repository))
    error_message = "Write owner/name without wildcards: every repository that matches could assume the roles."
  }
}

variable "repository_ids" {
  description = "Numbers of owner and repository, for a repository whose OIDC subject has the immutable form repo:owner@id/name@id (created since summer 2026, or switched over); `gh api repos/OWNER/NAME --jq '.owner.id, .id'` prints them. Null: the older form repo:owner/name."
  type        = object({ owner = string, repository = string })
  default     = null

  validation {
    condition     = var.repository_ids == null ? true : can(regex("^[0-9]+$", var.repository_ids.owner)) && can(regex("^[0-9]+$", var.repository_ids.repository))
    error_message = "Ids are numbers."
  }
}

variable "provider_arn" {
  description = "ARN of the account's OIDC provider for GitHub, if another environment created it; an account can have only one. Null: create it."
  type        = string
  default     = null
}

variable "state" {
  description = "Bucket and key of Terraform's state, as in backend.hcl."
  type        = object({ bucket = string, key = string })
}

variable "tables" {
  description = "ARN of each table, by its name in the code."
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
  description = "Access of the asset graph, for the training job: grants of service-access."
  type        = map(list(string))
}

variable "kms_key_arn" {
  description = "ARN of the KMS key of the data."
  type        = string
}
