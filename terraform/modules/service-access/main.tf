locals {
  # What a service needs to be used in one way. A grant names a line and the resources; nothing else becomes a policy.
  # `everywhere` holds the reason where AWS knows no resource for these actions, `condition` what confines a grant further.
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
    # What the lake and the bundles need of pyarrow and boto3.
    s3_write = {
      actions = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
    }
    kinesis_write = {
      actions = ["kinesis:PutRecords"]
    }
    firehose_write = {
      actions = ["firehose:PutRecordBatch"]
    }
    kinesis_read = {
      actions = ["kinesis:DescribeStream", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
    }
    sns_publish = {
      actions = ["sns:Publish"]
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
    ecs_run = {
      actions = ["ecs:RunTask"]
    }
    ecs_tasks = {
      actions = ["ecs:DescribeTasks", "ecs:StopTask"]
    }
    ecs_restart = {
      actions = ["ecs:UpdateService"]
    }
    ecs_tag_new = {
      actions   = ["ecs:TagResource"]
      condition = { StringEquals = { "ecs:CreateAction" = "RunTask" } }
    }
    ecs_definitions = {
      actions    = ["ecs:DescribeTaskDefinition"]
      everywhere = "ECS knows no resource for it (Service Authorization Reference, Amazon ECS)"
    }
    ec2_interfaces = {
      actions    = ["ec2:DescribeNetworkInterfaces"]
      everywhere = "EC2 knows no resource for Describe actions (Service Authorization Reference, Amazon EC2)"
    }
    # For deploying: every role of the environment, to the services that take one.
    pass_role = {
      actions = ["iam:PassRole"]
      condition = {
        StringEquals = {
          "iam:PassedToService" = [
            "backup.amazonaws.com", "ecs-tasks.amazonaws.com", "firehose.amazonaws.com", "glue.amazonaws.com", "lambda.amazonaws.com",
            "sagemaker.amazonaws.com", "scheduler.amazonaws.com", "states.amazonaws.com", "vpc-flow-logs.amazonaws.com",
          ]
        }
      }
    }
    pass_role_to_ecs = {
      actions   = ["iam:PassRole"]
      condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
    }
    pass_role_to_sagemaker = {
      actions   = ["iam:PassRole"]
      condition = { StringEquals = { "iam:PassedToService" = "sagemaker.amazonaws.com" } }
    }
    sagemaker_invoke = {
      actions = ["sagemaker:InvokeEndpoint"]
    }
    sagemaker_jobs = {
      actions = [
        "sagemaker:AddTags",
        "sagemaker:CreateHyperParameterTuningJob", "sagemaker:DescribeHyperParameterTuningJob", "sagemaker:StopHyperParameterTuningJob",
        "sagemaker:ListTrainingJobsForHyperParameterTuningJob",
        "sagemaker:CreateProcessingJob", "sagemaker:DescribeProcessingJob", "sagemaker:StopProcessingJob",
        "sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob",
        "sagemaker:CreateTransformJob", "sagemaker:DescribeTransformJob", "sagemaker:StopTransformJob",
        "sagemaker:ListTags",
      ]
    }
    sagemaker_models = {
      actions = ["sagemaker:AddTags", "sagemaker:CreateModel", "sagemaker:DeleteModel", "sagemaker:DescribeModel"]
    }
    sagemaker_endpoints = {
      actions = [
        "sagemaker:AddTags",
        "sagemaker:CreateEndpoint", "sagemaker:DeleteEndpoint", "sagemaker:DescribeEndpoint",
        "sagemaker:CreateEndpointConfig", "sagemaker:DeleteEndpointConfig", "sagemaker:DescribeEndpointConfig",
        "sagemaker:UpdateEndpointWeightsAndCapacities",
      ]
    }
    # The account's quota of serverless concurrency is shared by the endpoints of everybody in it.
    sagemaker_looks = {
      actions = ["sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig"]
    }
    sagemaker_lists = {
      actions    = ["sagemaker:ListEndpointConfigs", "sagemaker:ListEndpoints"]
      everywhere = "SageMaker knows no resource for lists (Service Authorization Reference, Amazon SageMaker)"
    }
    endpoint_scaling = {
      actions = [
        "application-autoscaling:DeregisterScalableTarget", "application-autoscaling:PutScalingPolicy",
        "application-autoscaling:RegisterScalableTarget",
      ]
      condition = { StringEquals = { "application-autoscaling:service-namespace" = "sagemaker" } }
    }
    # A scaling policy is carried out by alarms that Application Auto Scaling makes in the caller's name.
    endpoint_alarms = {
      actions = ["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"]
    }
    # The first endpoint of an account that scales makes the role that scales it.
    endpoint_scaling_role = {
      actions   = ["iam:CreateServiceLinkedRole"]
      condition = { StringEquals = { "iam:AWSServiceName" = "sagemaker.application-autoscaling.amazonaws.com" } }
    }
    secret_read = {
      actions = ["secretsmanager:GetSecretValue"]
    }
    lambda_invoke = {
      actions = ["lambda:InvokeFunction"]
    }
    states_start = {
      actions = ["states:StartExecution"]
    }
    states_list = {
      actions = ["states:ListExecutions"]
    }
    # Step Functions hears of a task's end through a rule it manages in the caller's name.
    events_managed_rule = {
      actions = ["events:DescribeRule", "events:PutRule", "events:PutTargets"]
    }
    glue_runs = {
      actions = ["glue:BatchStopJobRun", "glue:GetJobRun", "glue:StartJobRun"]
    }
    kms_read = {
      actions = ["kms:Decrypt"]
    }
    kms_write = {
      actions = ["kms:Decrypt", "kms:GenerateDataKey"]
    }
    # For disks and outputs of jobs ("How to use SageMaker AI execution roles", SageMaker Developer Guide).
    kms_jobs = {
      actions = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"]
    }
    # For who gives a key to services that encrypt with it: variables of functions, repositories of images.
    kms_hand_over = {
      actions = ["kms:Encrypt", "kms:RetireGrant"]
    }
    logs_write = {
      actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
    }
    logs_read = {
      actions = ["logs:GetLogEvents"]
    }
    # For services that make their log groups themselves.
    logs_create = {
      actions = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    }
    # Glue encrypts its log groups itself ("Setting up encryption in AWS Glue", AWS Glue Developer Guide).
    logs_create_encrypted = {
      actions = ["logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    }
    logs_groups = {
      actions    = ["logs:DescribeLogGroups"]
      everywhere = "It asks for all groups of the account"
    }
    # For services whose logs CloudWatch fetches: Step Functions.
    logs_deliver = {
      actions = [
        "logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies",
        "logs:GetLogDelivery", "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:UpdateLogDelivery",
      ]
      everywhere = "CloudWatch Logs knows no resource for log deliveries (Service Authorization Reference, Amazon CloudWatch Logs)"
    }
    cloudwatch_alarms = {
      actions    = ["cloudwatch:DescribeAlarms"]
      everywhere = "Alarms are asked for by a prefix of their names, which is no resource"
    }
    cloudwatch_metrics = {
      actions    = ["cloudwatch:PutMetricData"]
      everywhere = "CloudWatch knows no resource for it (Service Authorization Reference, Amazon CloudWatch)"
    }
    # For programs of this project, which store figures under its namespace.
    cloudwatch_figures = {
      actions    = ["cloudwatch:PutMetricData"]
      everywhere = "CloudWatch knows no resource for it (Service Authorization Reference, Amazon CloudWatch)"
      condition  = { StringEquals = { "cloudwatch:namespace" = "Recsys" } }
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
      for name, resources in local.granted : merge(
        {
          Sid      = replace(title(replace(name, "_", " ")), " ", "")
          Effect   = "Allow"
          Action   = local.service_integrations[name].actions
          Resource = resources
        },
        can(local.service_integrations[name].condition) ? { Condition = local.service_integrations[name].condition } : {},
      )
    ]
  })
}
