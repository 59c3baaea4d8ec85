variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "image_tag" {
  description = "Tag of the Dagster image in the repository made here: the git revision `make images` gave it."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", var.image_tag)) && var.image_tag != "latest"
    error_message = "The tag of one image, not `latest`: the repository lets no tag move."
  }
}

variable "environment" {
  description = "Variables of a run: RECSYS_* settings and what the instance file of Dagster names."
  type        = map(string)
}

variable "secrets" {
  description = "Variables filled from Secrets Manager: name => ARN, with `:<json key>::` where one key of it is meant."
  type        = map(string)
  default     = {}
}

variable "access" {
  description = "What the asset graph may do: grants of service-access."
  type        = map(list(string))
}

variable "cpu" {
  description = "CPU units of a run, 1024 to a core."
  type        = number

  validation {
    condition     = contains([1024, 2048, 4096, 8192, 16384], var.cpu)
    error_message = "1024, 2048, 4096, 8192 or 16384."
  }
}

variable "memory_mb" {
  description = "Memory of a run. The asset graph at a million interactions and 50,000 products needs under 10 GB."
  type        = number
}

variable "disk_gib" {
  description = "Disk of a run, thrown away afterwards."
  type        = number
  default     = 40

  validation {
    condition     = var.disk_gib >= 21 && var.disk_gib <= 200
    error_message = "Fargate takes 21 to 200 GiB."
  }
}

variable "architecture" {
  description = "Processor the image was made for (IMAGE_PLATFORM of `make images`)."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "X86_64 or ARM64."
  }
}

variable "kms_key_arn" {
  description = "Key of images, logs, data."
  type        = string
}

variable "log_days" {
  description = "Days for which logs of runs are kept."
  type        = number
  default     = 30
}

variable "force_destroy" {
  description = "Whether destroying the environment deletes its images."
  type        = bool
  default     = false
}
