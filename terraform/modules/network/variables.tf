variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string
}

variable "cidr" {
  description = "Addresses of the VPC. A private subnet gets an eighth of them."
  type        = string

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 21, false)
    error_message = "An IPv4 range between /16 and /21: AWS takes no VPC above and no subnet below what is cut from it."
  }
}

variable "zones" {
  description = "Availability zones used, two or three, such as eu-central-1a. Changing them later moves subnets."
  type        = set(string)

  validation {
    condition     = contains([2, 3], length(var.zones)) && alltrue([for zone in var.zones : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$", zone))])
    error_message = "Two or three zones by name: a database and a load balancer need two. Local zones have no Fargate."
  }
}

variable "nat" {
  description = "Way to the internet: none, one (a zone that fails takes it along) or per_zone."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["none", "one", "per_zone"], var.nat)
    error_message = "none, one or per_zone."
  }

  validation {
    condition     = var.nat != "none" || length(setsubtract(local.needed_without_nat, var.interface_endpoints)) == 0
    error_message = "Without NAT tasks cannot even start unless interface_endpoints holds ${join(", ", local.needed_without_nat)}."
  }
}

variable "interface_endpoints" {
  description = "AWS services reached without the internet, as in com.amazonaws.<region>.<service>. Each costs per zone and hour; with NAT the set may be empty."
  type        = set(string)
  default = [
    "ec2", "ecr.api", "ecr.dkr", "ecs", "glue", "kinesis-streams", "kms", "logs", "monitoring", "sagemaker.api",
    "sagemaker.runtime", "secretsmanager", "sns", "sqs", "states", "sts",
  ]

  validation {
    condition     = length(setintersection(var.interface_endpoints, ["s3", "dynamodb"])) == 0
    error_message = "S3 and DynamoDB have gateway endpoints here, which cost nothing."
  }
}

variable "kms_key_arn" {
  description = "Key of the flow log."
  type        = string
}

variable "log_days" {
  description = "Days for which refused connections are kept."
  type        = number
  default     = 30
}

locals {
  # Image, log and secret of a Fargate task ("VPC endpoints", Amazon ECS Developer Guide).
  needed_without_nat = ["ecr.api", "ecr.dkr", "logs", "secretsmanager"]
}
