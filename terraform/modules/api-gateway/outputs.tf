output "api_id" {
  description = "Id of the HTTP API, as CloudWatch calls it."
  value       = aws_apigatewayv2_api.this.id
}

output "url" {
  description = "Address of the API, without a slash at the end."
  value       = aws_apigatewayv2_api.this.api_endpoint

  depends_on = [
    aws_apigatewayv2_stage.default,
    aws_lambda_permission.authorizer,
    aws_lambda_permission.handler,
  ]
}

output "route_keys" {
  description = "Every route and how it is authorised: NONE or CUSTOM."
  value       = { for key, route in aws_apigatewayv2_route.this : key => route.authorization_type }
}
