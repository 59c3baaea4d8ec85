output "functions" {
  description = "By short name: function_name, alias, invoke_arn and arn of the alias, timeout_s, dead_letter_queue_name, version last published."
  value = {
    for name, function in aws_lambda_function.this : name => {
      function_name          = function.function_name
      alias                  = aws_lambda_alias.live[name].name
      arn                    = aws_lambda_alias.live[name].arn
      invoke_arn             = aws_lambda_alias.live[name].invoke_arn
      timeout_s              = function.timeout
      dead_letter_queue_name = aws_sqs_queue.dead_letters[name].name
      published_version      = function.version
    }
  }
}
