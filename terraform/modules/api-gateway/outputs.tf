output "api_id" {
  description = "Id of the HTTP API, as CloudWatch calls it."
  value       = aws_apigatewayv2_api.this.id
}

output "url" {
  description = "Address of the API, without a slash at the end."
  value       = var.domain == null ? aws_apigatewayv2_api.this.api_endpoint : "https://${var.domain.name}"

  depends_on = [
    aws_apigatewayv2_api_mapping.this,
    aws_apigatewayv2_stage.default,
    aws_lambda_permission.authorizer,
    aws_lambda_permission.handler,
  ]
}

output "domain_target" {
  description = "Name to which the DNS record of the domain points; null without a domain."
  value       = one([for domain in aws_apigatewayv2_domain_name.this : one(domain.domain_name_configuration).target_domain_name])
}

output "route_keys" {
  description = "Every route and how it is authorised: NONE or CUSTOM."
  value       = { for key, route in aws_apigatewayv2_route.this : key => route.authorization_type }
}
