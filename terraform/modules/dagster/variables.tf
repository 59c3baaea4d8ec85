variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "network" {
  description = "Where it runs: outputs of modules/network."
  type = object({
    vpc_id                 = string
    subnet_ids             = list(string)
    public_subnet_ids      = list(string)
    task_security_group_id = string
  })
}

variable "runs" {
  description = "What its runs are started as: outputs of modules/runs."
  type = object({
    cluster_arn                = string
    task_definition_arn        = string
    task_definition_family_arn = string
    role_arns                  = list(string)
    image                      = string
    repository_arn             = string
    log_group                  = object({ name = string, arn = string })
  })
}

variable "environment" {
  description = "RECSYS_* settings of the code locations."
  type        = map(string)
}

variable "access" {
  description = "What the code locations may do: grants of service-access."
  type        = map(list(string))
}

variable "log_bucket" {
  description = "Bucket that takes what steps print, below dagster/."
  type        = object({ name = string, arn = string })
}

variable "access_log_bucket" {
  description = "Bucket that takes the load balancer's access log, below alb/."
  type        = string
}

variable "size" {
  description = "CPU units and memory of each of the four services."
  type        = object({ cpu = number, memory_mb = number })
}

variable "architecture" {
  description = "Processor the image was made for."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "X86_64 or ARM64."
  }
}

variable "web" {
  description = "Load balancer of the web server: internal or on the internet, ACM certificate or null (then plain HTTP, internal only), address ranges that may reach it."
  type = object({
    internal        = bool
    certificate_arn = string
    allowed_cidrs   = list(string)
  })

  validation {
    condition     = length(var.web.allowed_cidrs) > 0 && alltrue([for range in var.web.allowed_cidrs : can(cidrnetmask(range))])
    error_message = "allowed_cidrs holds IPv4 ranges, one at least; without any nobody could reach it."
  }
}

variable "database" {
  description = "Postgres: major version, instance class, disk in GiB, second zone, days of backups."
  type = object({
    version        = string
    instance_class = string
    storage_gib    = number
    multi_az       = bool
    backup_days    = number
  })

  validation {
    condition     = var.database.backup_days >= 1 && var.database.backup_days <= 35
    error_message = "RDS keeps backups for 1 to 35 days; without any there is no way back to a point in time."
  }

  validation {
    condition     = can(regex("^(14|15|16|17)$", var.database.version))
    error_message = "A major version of Postgres, 14 to 17; RDS chooses and raises the minor one."
  }

  validation {
    condition     = var.database.storage_gib >= 20
    error_message = "gp3 begins at 20 GiB."
  }
}

variable "disposable" {
  description = "Whether history may be destroyed with the environment, without a last snapshot."
  type        = bool
  default     = false
}

variable "kms_key_arn" {
  description = "Key of database, password, logs."
  type        = string
}

variable "log_days" {
  description = "Days for which logs are kept."
  type        = number
  default     = 30
}
