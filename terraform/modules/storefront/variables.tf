variable "name" {
  description = "Project and environment, the prefix of every name."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,42}$", var.name))
    error_message = "The bucket's name is made of it: 2 to 43 lower-case letters, digits and hyphens."
  }
}

variable "routes" {
  description = "The table in lambda_api/handlers/routes.json; the page is let through to the routes of scope shop."
  type = list(object({
    method = string
    path   = string
    scope  = string
  }))
}

variable "api_url" {
  description = "Address of the API that the page asks. Null: the page alone, until there is a key."
  type        = string
  default     = null

  validation {
    condition     = var.api_url == null ? true : startswith(var.api_url, "https://")
    error_message = "The API is asked over TLS only: https://<host>."
  }
}

variable "api_key" {
  description = "API key of scope shop that CloudFront adds to the page's requests; needed with api_url."
  type        = string
  default     = ""
  sensitive   = true

  validation {
    condition     = var.api_url == null ? true : can(regex("^rk_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$", var.api_key))
    error_message = "That is no API key; make one of scope shop with `recsys keys create`."
  }
}

variable "domain" {
  description = "Own name of the page and its ACM certificate, which has to lie in us-east-1. Null: CloudFront's."
  type = object({
    name            = string
    certificate_arn = string
  })
  default = null

  validation {
    condition     = var.domain == null ? true : can(regex("^arn:[a-z-]+:acm:us-east-1:", var.domain.certificate_arn))
    error_message = "CloudFront takes certificates from us-east-1 only."
  }
}

variable "price_class" {
  description = "Where in the world CloudFront answers."
  type        = string
  default     = "PriceClass_100"

  validation {
    condition     = contains(["PriceClass_100", "PriceClass_200", "PriceClass_All"], var.price_class)
    error_message = "PriceClass_100, PriceClass_200 or PriceClass_All."
  }
}

variable "web_acl_arn" {
  description = "AWS WAF web ACL (scope CLOUDFRONT) in front, e.g. one that limits requests per address. Null: none."
  type        = string
  default     = null
}
