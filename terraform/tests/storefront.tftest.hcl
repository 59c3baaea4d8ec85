mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name = "recsys-test"
  routes = [
    { method = "POST", path = "/recommend", scope = "shop" },
    { method = "GET", path = "/similar/{product_id}", scope = "shop" },
    { method = "GET", path = "/metrics", scope = "operations" },
    { method = "GET", path = "/health", scope = null },
  ]
}

run "page_and_api" {
  command = apply

  module {
    source = "./modules/storefront"
  }

  variables {
    api_url = "https://a1b2c3.execute-api.eu-central-1.amazonaws.com"
    api_key = "rk_0123456789abcdef_0123456789012345678901234567890123456789012"
  }

  assert {
    condition     = [for behaviour in aws_cloudfront_distribution.this.ordered_cache_behavior : behaviour.path_pattern] == ["/recommend", "/similar/*"]
    error_message = "The routes of scope shop pass, no others."
  }

  assert {
    condition     = alltrue([for behaviour in aws_cloudfront_distribution.this.ordered_cache_behavior : behaviour.viewer_protocol_policy == "https-only" && behaviour.target_origin_id == "api" && behaviour.cache_policy_id == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"])
    error_message = "Answers are not cached: they are one shopper's own."
  }

  assert {
    condition     = one(flatten([for origin in aws_cloudfront_distribution.this.origin : [for header in origin.custom_header : nonsensitive(header.value)] if origin.origin_id == "api"])) == nonsensitive(var.api_key)
    error_message = "CloudFront adds the key."
  }

  assert {
    condition     = aws_cloudfront_origin_access_control.page.signing_behavior == "always" && jsondecode(aws_s3_bucket_policy.page.policy).Statement[0].Condition.StringEquals["aws:SourceArn"] == aws_cloudfront_distribution.this.arn
    error_message = "The bucket is read by this distribution alone."
  }

  assert {
    condition     = strcontains(one(one(aws_cloudfront_response_headers_policy.page.security_headers_config).content_security_policy).content_security_policy, "default-src 'none'")
    error_message = "The page may load nothing but itself."
  }
}

run "page_alone" {
  command = plan

  module {
    source = "./modules/storefront"
  }

  assert {
    condition     = length(aws_cloudfront_distribution.this.ordered_cache_behavior) == 0 && length(aws_cloudfront_distribution.this.origin) == 1
    error_message = "Without a key there is no way to the API."
  }
}

run "an_api_without_a_key_is_refused" {
  command = plan

  module {
    source = "./modules/storefront"
  }

  variables {
    api_url = "https://a1b2c3.execute-api.eu-central-1.amazonaws.com"
  }

  expect_failures = [var.api_key]
}

run "what_cloudfront_refuses_is_refused" {
  command = plan

  module {
    source = "./modules/storefront"
  }

  variables {
    api_url = "http://a1b2c3.execute-api.eu-central-1.amazonaws.com"
    api_key = "rk_0123456789abcdef_0123456789012345678901234567890123456789012"
    domain  = { name = "shop.example.com", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/c" }
  }

  expect_failures = [var.api_url, var.domain]
}
