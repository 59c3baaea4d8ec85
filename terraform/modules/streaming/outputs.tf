output "event_stream_name" {
  description = "RECSYS_EVENT_STREAM of the code."
  value       = aws_kinesis_stream.events.name
}

output "event_stream_arn" {
  description = "The stream of lists shown and feedback."
  value       = aws_kinesis_stream.events.arn
}

output "delivery_stream_name" {
  description = "The Firehose that writes the stream to the lake."
  value       = aws_kinesis_firehose_delivery_stream.events.name
}

output "shadow_queue_url" {
  description = "RECSYS_SHADOW_QUEUE_URL of the code."
  value       = aws_sqs_queue.shadow.url
}

output "shadow_queue_arn" {
  description = "The queue of questions for the model in the shadow."
  value       = aws_sqs_queue.shadow.arn
}

output "shadow_queue_name" {
  description = "Its name, as CloudWatch calls it."
  value       = aws_sqs_queue.shadow.name
}

output "shadow_failed_queue_name" {
  description = "Questions given up after three deliveries."
  value       = aws_sqs_queue.shadow_failed.name
}

output "delivery_buffer_s" {
  description = "Seconds for which the Firehose collects a batch."
  value       = var.buffer_s
}
