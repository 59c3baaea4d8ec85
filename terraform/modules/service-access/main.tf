locals {
  # What a service needs to be used in one way. A grant names a line and the resources; nothing else becomes a policy.
  # `everywhere` holds the reason where AWS knows no resource for these actions.
  service_integrations = {
    dynamodb_read = {
      actions = ["dynamodb:GetItem", "dynamodb:Query"]
    }
    # Transactions need no action of their own: AWS checks those of their members.
    dynamodb_write = {
      actions = ["dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:PutItem"]
    }
    s3_read = {
      actions = ["s3:GetObject"]
    }
    # Without it a missing object is answered 403, which reads like a missing permission.
    s3_list = {
      actions = ["s3:ListBucket"]
    }
    s3_deliver = {
      actions = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"]
    }
    s3_deliver_bucket = {
      actions = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
    }
    kinesis_write = {
      actions = ["kinesis:PutRecords"]
    }
    kinesis_read = {
      actions = ["kinesis:DescribeStream", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
    }
    sqs_send = {
      actions = ["sqs:SendMessage"]
    }
    sqs_count = {
      actions = ["sqs:GetQueueAttributes"]
    }
    sqs_consume = {
      actions = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    }
    ecr_pull = {
      actions = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    }
    ecr_login = {
      actions    = ["ecr:GetAuthorizationToken"]
      everywhere = "A token is the registry's, not a repository's (Service Authorization Reference, Amazon ECR)"
    }
    sagemaker_invoke = {
      actions = ["sagemaker:InvokeEndpoint"]
    }
    kms_read = {
      actions = ["kms:Decrypt"]
    }
    kms_write = {
      actions = ["kms:Decrypt", "kms:GenerateDataKey"]
    }
    logs_write = {
      actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
    }
    # For services that make their log groups themselves.
    logs_create = {
      actions = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    }
    cloudwatch_metrics = {
      actions    = ["cloudwatch:PutMetricData"]
      everywhere = "CloudWatch knows no resource for it (Service Authorization Reference, Amazon CloudWatch)"
    }
    xray_trace = {
      actions = [
        "xray:GetSamplingRules",
        "xray:GetSamplingTargets",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
      ]
      everywhere = "X-Ray knows no resource for these actions (Service Authorization Reference, AWS X-Ray)"
    }
  }

  granted = { for name, resources in var.grants : name => resources if length(resources) > 0 }

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for name, resources in local.granted : {
        Sid      = replace(title(replace(name, "_", " ")), " ", "")
        Effect   = "Allow"
        Action   = local.service_integrations[name].actions
        Resource = resources
      }
    ]
  })
}
