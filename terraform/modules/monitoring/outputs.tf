output "topic_arn" {
  description = "Topic of alarms and budget, for further subscribers."
  value       = aws_sns_topic.alarms.arn
}

output "alarm_names" {
  description = "Every alarm by its short name."
  value = merge(
    { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.alarm_name },
    { for name, alarm in aws_cloudwatch_metric_alarm.errors : "${name}-errors" => alarm.alarm_name },
  )
}
