output "table_names" {
  description = "Table name by the name the code opens it under."
  value       = { for name, table in aws_dynamodb_table.this : name => table.name }
}

output "table_arns" {
  description = "Table ARN by the name the code opens it under."
  value       = { for name, table in aws_dynamodb_table.this : name => table.arn }
}
