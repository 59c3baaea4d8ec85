locals {
  routes = { for route in var.routes : "${route.method} ${route.path}" => route }

  # The longest time that an HTTP API waits for an answer.
  longest_wait_s = 30
}

resource "aws_apigatewayv2_api" "this" {
  name                         = var.name
  description                  = "Recommendations: ${var.name}"
  protocol_type                = "HTTP"
  disable_execute_api_endpoint = var.domain != null

  dynamic "cors_configuration" {
    for_each = length(var.cors_origins) > 0 ? [var.cors_origins] : []

    content {
      allow_origins     = cors_configuration.value
      allow_methods     = ["GET", "POST"]
      allow_headers     = ["content-type", "x-api-key"]
      expose_headers    = ["x-request-id"]
      allow_credentials = false
      max_age           = 3600
    }
  }
}

resource "aws_apigatewayv2_integration" "api" {
  api_id                 = aws_apigatewayv2_api.this.id
  integration_type       = "AWS_PROXY"
  integration_method     = "POST"
  integration_uri        = var.handler.invoke_arn
  payload_format_version = "2.0"
  timeout_milliseconds   = min(1000 * var.handler.timeout_s, 1000 * local.longest_wait_s)

  lifecycle {
    precondition {
      condition     = var.handler.timeout_s <= local.longest_wait_s
      error_message = "An HTTP API waits at most 30 seconds: the function's time limit must not exceed that."
    }
  }
}

resource "aws_apigatewayv2_authorizer" "key" {
  api_id                            = aws_apigatewayv2_api.this.id
  name                              = "api-key"
  authorizer_type                   = "REQUEST"
  authorizer_uri                    = var.authorizer.invoke_arn
  authorizer_payload_format_version = "2.0"
  enable_simple_responses           = true
  authorizer_result_ttl_in_seconds  = var.authorizer_ttl_s

  # The route is part of the cache key; otherwise one cached answer would open every route.
  identity_sources = ["$request.header.x-api-key", "$context.routeKey"]
}

# There is no $default route: the gateway answers other paths with 404 itself, which invokes no function.
resource "aws_apigatewayv2_route" "this" {
  for_each = local.routes

  api_id             = aws_apigatewayv2_api.this.id
  route_key          = each.key
  target             = "integrations/${aws_apigatewayv2_integration.api.id}"
  authorization_type = each.value.scope == null ? "NONE" : "CUSTOM"
  authorizer_id      = each.value.scope == null ? null : aws_apigatewayv2_authorizer.key.id
}

resource "aws_cloudwatch_log_group" "access" {
  name              = "/aws/vendedlogs/apigateway/${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_apigatewayv2_stage" "default" {
  api_id      = aws_apigatewayv2_api.this.id
  name        = "$default"
  auto_deploy = true

  default_route_settings {
    detailed_metrics_enabled = true
    throttling_rate_limit    = var.default_throttle.rate
    throttling_burst_limit   = var.default_throttle.burst
  }

  dynamic "route_settings" {
    for_each = var.throttles

    content {
      route_key                = route_settings.key
      detailed_metrics_enabled = true
      throttling_rate_limit    = route_settings.value.rate
      throttling_burst_limit   = route_settings.value.burst
    }
  }

  # Neither API key nor address: a request is identified by its id, its sender by the id of the key.
  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access.arn
    format = jsonencode({
      requestId         = "$context.requestId"
      requestTime       = "$context.requestTime"
      routeKey          = "$context.routeKey"
      method            = "$context.httpMethod"
      status            = "$context.status"
      responseLength    = "$context.responseLength"
      responseLatency   = "$context.responseLatency"
      integrationStatus = "$context.integration.status"
      integrationError  = "$context.integrationErrorMessage"
      authorizerError   = "$context.authorizer.error"
      keyId             = "$context.authorizer.key_id"
    })
  }

  depends_on = [aws_apigatewayv2_route.this]

  lifecycle {
    precondition {
      condition     = length(setsubtract(keys(var.throttles), keys(local.routes))) == 0
      error_message = "throttles names a route that does not exist; write it as in routes.json, e.g. \"POST /recommend\"."
    }
  }
}

resource "aws_apigatewayv2_domain_name" "this" {
  count = var.domain == null ? 0 : 1

  domain_name = var.domain.name

  domain_name_configuration {
    certificate_arn = var.domain.certificate_arn
    endpoint_type   = "REGIONAL"
    security_policy = "TLS_1_2"
  }
}

resource "aws_apigatewayv2_api_mapping" "this" {
  count = var.domain == null ? 0 : 1

  api_id      = aws_apigatewayv2_api.this.id
  domain_name = aws_apigatewayv2_domain_name.this[0].id
  stage       = aws_apigatewayv2_stage.default.id
}

resource "aws_lambda_permission" "handler" {
  statement_id  = "HttpApi"
  action        = "lambda:InvokeFunction"
  function_name = var.handler.function_name
  qualifier     = var.handler.alias
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this.execution_arn}/*/*"
}

resource "aws_lambda_permission" "authorizer" {
  statement_id  = "HttpApiAuthorizer"
  action        = "lambda:InvokeFunction"
  function_name = var.authorizer.function_name
  qualifier     = var.authorizer.alias
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this.execution_arn}/authorizers/${aws_apigatewayv2_authorizer.key.id}"
}
