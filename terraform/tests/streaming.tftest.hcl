mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name             = "recsys-test"
  kms_key_arn      = "arn:aws:kms:eu-central-1:123456789012:key/k"
  lake_bucket_arn  = "arn:aws:s3:::lake"
  shadow_timeout_s = 30
}

run "streams_and_queues" {
  command = apply

  module {
    source = "./modules/streaming"
  }

  assert {
    condition     = length(aws_kinesis_stream.events) == 0 && output.event_stream_name == "" && output.direct_delivery_name == "recsys-test-events" && one(aws_kinesis_firehose_delivery_stream.events.server_side_encryption).key_arn == var.kms_key_arn
    error_message = "Without a stream records are written to Firehose directly, and encrypted."
  }

  assert {
    condition     = startswith(one(aws_kinesis_firehose_delivery_stream.events.extended_s3_configuration).prefix, "events/!{partitionKeyFromQuery:kind}/date=!{timestamp:yyyy-MM-dd}/") && one(aws_kinesis_firehose_delivery_stream.events.extended_s3_configuration).buffering_size >= 64
    error_message = "Events are delivered by kind and day, in batches that dynamic partitioning takes."
  }

  assert {
    condition     = toset(flatten([for statement in jsondecode(aws_iam_role_policy.delivery.policy).Statement : statement.Resource if statement.Sid == "S3Deliver"])) == toset(["arn:aws:s3:::lake/events/*", "arn:aws:s3:::lake/events_refused/*"])
    error_message = "Delivery writes below events/ and nowhere else in the lake."
  }

  assert {
    condition     = aws_sqs_queue.shadow.message_retention_seconds == 3600 && aws_sqs_queue.shadow.visibility_timeout_seconds == 180 && jsondecode(aws_sqs_queue.shadow.redrive_policy).maxReceiveCount == 3
    error_message = "A question lives an hour, is hidden for six time limits and delivered three times (lambda_api/state/shadow_queue.py)."
  }

  assert {
    condition     = [for queue in [aws_sqs_queue.shadow, aws_sqs_queue.shadow_failed] : jsondecode(queue.policy).Statement[0].Effect] == ["Deny", "Deny"]
    error_message = "Both queues refuse plain HTTP."
  }
}

run "shards_when_given" {
  command = plan

  module {
    source = "./modules/streaming"
  }

  variables {
    stream = { shards = 2 }
  }

  assert {
    condition     = one(aws_kinesis_stream.events[0].stream_mode_details).stream_mode == "PROVISIONED" && aws_kinesis_stream.events[0].shard_count == 2 && aws_kinesis_stream.events[0].kms_key_id == var.kms_key_arn
    error_message = "Shards make a provisioned stream, which is encrypted."
  }

  assert {
    condition     = output.event_stream_name == "recsys-test-events" && output.direct_delivery_name == "" && length(aws_kinesis_firehose_delivery_stream.events.kinesis_source_configuration) == 1 && length(aws_kinesis_firehose_delivery_stream.events.server_side_encryption) == 0
    error_message = "Firehose reads the stream, which encrypts its records itself."
  }
}

run "on_demand_without_shards" {
  command = plan

  module {
    source = "./modules/streaming"
  }

  variables {
    stream = {}
  }

  assert {
    condition     = one(aws_kinesis_stream.events[0].stream_mode_details).stream_mode == "ON_DEMAND"
    error_message = "A stream without shards is on demand."
  }
}

run "a_function_too_slow_for_the_queue_is_refused" {
  command = plan

  module {
    source = "./modules/streaming"
  }

  variables {
    shadow_timeout_s = 300
  }

  expect_failures = [aws_sqs_queue.shadow]
}

run "limits_of_aws_are_refused" {
  command = plan

  module {
    source = "./modules/streaming"
  }

  variables {
    buffer_s = 30
    stream   = { shards = 0, retention_hours = 12 }
  }

  expect_failures = [var.buffer_s, var.stream]
}
