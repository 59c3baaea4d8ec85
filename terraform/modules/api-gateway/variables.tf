variable "name" {
  description = "Project and environment, the name of the API."
  type        = string
}

variable "routes" {
  description = "The table in lambda_api/handlers/routes.json: method, path and the scope that a key needs (null: no key)."
  type = list(object({
    method = string
    path   = string
    scope  = string
  }))

  validation {
    condition     = alltrue([for route in var.routes : route.scope == null ? true : contains(["shop", "operations"], route.scope)])
    error_message = "Scopes are shop and operations; null is for open routes."
  }

  validation {
    condition     = alltrue([for route in var.routes : contains(["GET", "POST"], route.method) && startswith(route.path, "/")])
    error_message = "A route is GET or POST and a path that begins with a slash."
  }

  validation {
    condition     = length(var.routes) <= 299
    error_message = "An HTTP API has at most 300 routes."
  }
}

variable "handler" {
  description = "The function that answers: name, alias, invoke_arn of the alias, time limit in seconds."
  type = object({
    function_name = string
    alias         = string
    invoke_arn    = string
    timeout_s     = number
  })
}

variable "authorizer" {
  description = "The function that checks API keys: name, alias, invoke_arn of the alias."
  type = object({
    function_name = string
    alias         = string
    invoke_arn    = string
  })
}

variable "authorizer_ttl_s" {
  description = "Seconds for which the gateway caches an answer of the authorizer; a revoked key keeps working for this time."
  type        = number
  default     = 30

  validation {
    condition     = var.authorizer_ttl_s >= 0 && var.authorizer_ttl_s <= 30
    error_message = "At most 30 s: with the authorizer's own cache of 30 s a revoked key is refused within a minute."
  }
}

variable "default_throttle" {
  description = "Requests per second and burst of each route. Beyond them the gateway answers 429."
  type = object({
    rate  = number
    burst = number
  })
}

variable "throttles" {
  description = "Other limits, by route key such as \"GET /metrics\"."
  type = map(object({
    rate  = number
    burst = number
  }))
  default = {}
}

variable "cors_origins" {
  description = "Origins of shop pages that call the API from a browser, with scheme and without a path. Empty: none."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for origin in var.cors_origins : can(regex("^(https://[a-z0-9.-]+(:[0-9]+)?|http://localhost(:[0-9]+)?)$", origin))])
    error_message = "An origin is https://<host>, without path, slash at the end or *; http only for localhost."
  }
}

variable "domain" {
  description = "Own name of the API, and its ACM certificate in this region. The gateway's default address is then closed. Null: that address."
  type = object({
    name            = string
    certificate_arn = string
  })
  default = null
}

variable "kms_key_arn" {
  description = "Key of the access log."
  type        = string
}

variable "log_days" {
  description = "Days for which the access log is kept."
  type        = number
  default     = 30
}
