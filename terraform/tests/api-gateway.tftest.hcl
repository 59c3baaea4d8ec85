mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name             = "recsys-test"
  kms_key_arn      = "arn:aws:kms:eu-central-1:123456789012:key/k"
  default_throttle = { rate = 50, burst = 100 }
  routes = [
    { method = "POST", path = "/recommend", scope = "shop" },
    { method = "GET", path = "/metrics", scope = "operations" },
    { method = "GET", path = "/health", scope = null },
  ]
  handler = {
    function_name = "recsys-test-api"
    alias         = "live"
    invoke_arn    = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/api/invocations"
    timeout_s     = 10
  }
  authorizer = {
    function_name = "recsys-test-authorizer"
    alias         = "live"
    invoke_arn    = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/authorizer/invocations"
  }
}

run "a_domain_closes_the_default_address" {
  command = apply

  module {
    source = "./modules/api-gateway"
  }

  variables {
    domain = { name = "api.example.com", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/c" }
  }

  assert {
    condition     = aws_apigatewayv2_api.this.disable_execute_api_endpoint && output.url == "https://api.example.com"
    error_message = "With a domain the API is asked there, and its default address answers nobody."
  }

  assert {
    condition     = aws_apigatewayv2_api_mapping.this[0].stage == aws_apigatewayv2_stage.default.id && one(aws_apigatewayv2_domain_name.this[0].domain_name_configuration).security_policy == "TLS_1_2"
    error_message = "The domain leads to the API's stage, over TLS 1.2 or later."
  }
}

run "routes_and_authorizer" {
  command = apply

  module {
    source = "./modules/api-gateway"
  }

  assert {
    condition     = output.route_keys == { "POST /recommend" = "CUSTOM", "GET /metrics" = "CUSTOM", "GET /health" = "NONE" }
    error_message = "A route without a scope is open, every other one asks the authorizer, and there is no $default route."
  }

  assert {
    condition     = alltrue([for route in values(aws_apigatewayv2_route.this) : (route.authorization_type == "CUSTOM") == (route.authorizer_id == aws_apigatewayv2_authorizer.key.id)])
    error_message = "Protected routes name the authorizer."
  }

  assert {
    condition = (
      aws_apigatewayv2_authorizer.key.authorizer_type == "REQUEST"
      && aws_apigatewayv2_authorizer.key.enable_simple_responses
      && aws_apigatewayv2_authorizer.key.authorizer_payload_format_version == "2.0"
      && aws_apigatewayv2_authorizer.key.authorizer_result_ttl_in_seconds <= 30
      && aws_apigatewayv2_authorizer.key.identity_sources == toset(["$request.header.x-api-key", "$context.routeKey"])
    )
    error_message = "Answers of the authorizer are kept for 30 s at most, by key and route."
  }

  assert {
    condition     = aws_apigatewayv2_integration.api.payload_format_version == "2.0" && aws_apigatewayv2_integration.api.timeout_milliseconds == 10000
    error_message = "The handler reads payloads 2.0, and the gateway waits as long as it may take."
  }

  assert {
    condition     = one(aws_apigatewayv2_stage.default.default_route_settings).throttling_rate_limit == 50 && one(aws_apigatewayv2_stage.default.default_route_settings).throttling_burst_limit == 100
    error_message = "Routes are throttled."
  }

  assert {
    condition     = !strcontains(one(aws_apigatewayv2_stage.default.access_log_settings).format, "x-api-key") && !strcontains(one(aws_apigatewayv2_stage.default.access_log_settings).format, "sourceIp") && strcontains(one(aws_apigatewayv2_stage.default.access_log_settings).format, "$context.requestId")
    error_message = "The access log tells requests apart, and nothing personal."
  }

  assert {
    condition     = length(aws_apigatewayv2_api.this.cors_configuration) == 0
    error_message = "No origin may call from a browser unless it is named."
  }

  assert {
    condition     = aws_lambda_permission.handler.qualifier == "live" && aws_lambda_permission.authorizer.qualifier == "live" && startswith(aws_lambda_permission.authorizer.source_arn, "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3/authorizers/")
    error_message = "This API may call the aliases, the authorizer as its authorizer only."
  }
}

run "named_origins" {
  command = plan

  module {
    source = "./modules/api-gateway"
  }

  variables {
    cors_origins = ["https://shop.example.com"]
    throttles    = { "GET /metrics" = { rate = 1, burst = 5 } }
  }

  assert {
    condition     = one(aws_apigatewayv2_api.this.cors_configuration).allow_origins == toset(["https://shop.example.com"]) && one(aws_apigatewayv2_api.this.cors_configuration).allow_headers == toset(["content-type", "x-api-key"])
    error_message = "Named origins may send the headers the API reads."
  }

  assert {
    condition     = one(aws_apigatewayv2_stage.default.route_settings).route_key == "GET /metrics" && one(aws_apigatewayv2_stage.default.route_settings).throttling_rate_limit == 1
    error_message = "A route may have limits of its own."
  }
}

run "any_origin_and_a_long_cache_are_refused" {
  command = plan

  module {
    source = "./modules/api-gateway"
  }

  variables {
    cors_origins     = ["*"]
    authorizer_ttl_s = 300
  }

  expect_failures = [var.cors_origins, var.authorizer_ttl_s]
}

run "a_function_slower_than_the_gateway_waits_is_refused" {
  command = plan

  module {
    source = "./modules/api-gateway"
  }

  variables {
    handler = {
      function_name = "recsys-test-api"
      alias         = "live"
      invoke_arn    = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/api/invocations"
      timeout_s     = 60
    }
  }

  expect_failures = [aws_apigatewayv2_integration.api]
}

run "a_limit_on_no_route_is_refused" {
  command = plan

  module {
    source = "./modules/api-gateway"
  }

  variables {
    throttles = { "GET /nothing" = { rate = 1, burst = 1 } }
  }

  expect_failures = [aws_apigatewayv2_stage.default]
}

run "an_unknown_scope_is_refused" {
  command = plan

  module {
    source = "./modules/api-gateway"
  }

  variables {
    routes = [{ method = "GET", path = "/metrics", scope = "operator" }]
  }

  expect_failures = [var.routes]
}
