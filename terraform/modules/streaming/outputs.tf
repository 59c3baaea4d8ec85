output "event_stream_name" {
  description = "Kinesis stream, RECSYS_EVENT_STREAM; empty where there is none."
  value       = join("", aws_kinesis_stream.events[*].name)
}

output "event_stream_arns" {
  description = "ARN of the stream; an empty list where there is none."
  value       = aws_kinesis_stream.events[*].arn
}

output "delivery_stream_name" {
  description = "Firehose that writes events to the lake."
  value       = aws_kinesis_firehose_delivery_stream.events.name
}

output "direct_delivery_name" {
  description = "The Firehose where records are written to it directly, RECSYS_EVENT_DELIVERY; empty behind a stream."
  value       = var.stream == null ? aws_kinesis_firehose_delivery_stream.events.name : ""
}

output "direct_delivery_arns" {
  description = "Its ARN; an empty list behind a stream."
  value       = var.stream == null ? [aws_kinesis_firehose_delivery_stream.events.arn] : []
}

output "shadow_queue_url" {
  description = "URL of the shadow queue, RECSYS_SHADOW_QUEUE_URL."
  value       = aws_sqs_queue.shadow.url
}

output "shadow_queue_arn" {
  description = "ARN of the shadow queue."
  value       = aws_sqs_queue.shadow.arn
}

output "shadow_queue_name" {
  description = "Name of the shadow queue, for CloudWatch."
  value       = aws_sqs_queue.shadow.name
}

output "shadow_failed_queue_name" {
  description = "Queue of messages that failed three times."
  value       = aws_sqs_queue.shadow_failed.name
}

output "delivery_buffer_s" {
  description = "Seconds for which Firehose collects a batch."
  value       = var.buffer_s
}
