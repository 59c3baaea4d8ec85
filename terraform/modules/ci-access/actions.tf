# Actions that Terraform and `recsys deploy` need to read and to change the stack, by service, on resources with the name of
# this environment. `everywhere` is the reason where "*" is needed. A test compares the actions with AWS's own list.
locals {
  arn   = "arn:${local.partition}"
  here  = "${local.region}:${local.account}"
  named = "${var.name}-*"

  services = {
    apigateway = {
      group     = "serving"
      resources = ["${local.arn}:apigateway:${local.region}::/apis", "${local.arn}:apigateway:${local.region}::/apis/*", "${local.arn}:apigateway:${local.region}::/domainnames", "${local.arn}:apigateway:${local.region}::/domainnames/*", "${local.arn}:apigateway:${local.region}::/tags/*"]
      read      = ["GET"]
      write     = ["DELETE", "PATCH", "POST", "PUT", "TagResource", "UntagResource"]
    }
    backup = {
      group      = "access"
      resources  = ["*"]
      everywhere = "Plans have ids of AWS Backup's own"
      read       = ["DescribeBackupVault", "GetBackupPlan", "GetBackupSelection", "ListTags"]
      write      = ["CreateBackupPlan", "CreateBackupSelection", "CreateBackupVault", "DeleteBackupPlan", "DeleteBackupSelection", "DeleteBackupVault", "TagResource", "UntagResource", "UpdateBackupPlan"]
    }
    budgets = {
      group     = "operations"
      resources = ["${local.arn}:budgets::${local.account}:budget/${local.named}"]
      read      = ["ListTagsForResource", "ViewBudget"]
      write     = ["ModifyBudget", "TagResource", "UntagResource"]
    }
    cloudfront = {
      group      = "serving"
      resources  = ["*"]
      everywhere = "Ids are CloudFront's own, and most Create actions take no resource"
      read       = ["GetDistribution", "GetOriginAccessControl", "GetResponseHeadersPolicy", "ListTagsForResource"]
      write      = ["CreateDistribution", "CreateInvalidation", "CreateOriginAccessControl", "CreateResponseHeadersPolicy", "DeleteDistribution", "DeleteOriginAccessControl", "DeleteResponseHeadersPolicy", "TagResource", "UntagResource", "UpdateDistribution", "UpdateOriginAccessControl", "UpdateResponseHeadersPolicy"]
    }
    cloudwatch = {
      group     = "operations"
      resources = ["${local.arn}:cloudwatch:${local.here}:alarm:${local.named}", "${local.arn}:cloudwatch::${local.account}:dashboard/${var.name}"]
      read      = ["GetDashboard", "ListTagsForResource"]
      write     = ["DeleteAlarms", "DeleteDashboards", "PutCompositeAlarm", "PutDashboard", "PutMetricAlarm", "TagResource", "UntagResource"]
    }
    cloudwatch_described = {
      service    = "cloudwatch"
      group      = "operations"
      resources  = ["*"]
      everywhere = "DescribeAlarms lists alarms, and IAM checks the list against all alarms"
      read       = ["DescribeAlarms"]
      write      = []
    }
    dynamodb = {
      group     = "data"
      resources = ["${local.arn}:dynamodb:${local.here}:table/${local.named}"]
      read      = ["DescribeContinuousBackups", "DescribeTable", "DescribeTimeToLive", "ListTagsOfResource"]
      write     = ["CreateTable", "DeleteTable", "TagResource", "UntagResource", "UpdateContinuousBackups", "UpdateTable", "UpdateTimeToLive"]
    }
    ec2 = {
      group      = "network"
      resources  = ["*"]
      everywhere = "Describe actions know no resource, and what Create makes has an id of EC2's own"
      read       = ["DescribeAddresses", "DescribeAddressesAttribute", "DescribeAvailabilityZones", "DescribeFlowLogs", "DescribeInternetGateways", "DescribeNatGateways", "DescribeNetworkAcls", "DescribeNetworkInterfaces", "DescribePrefixLists", "DescribeRouteTables", "DescribeSecurityGroupRules", "DescribeSecurityGroups", "DescribeSubnets", "DescribeVpcAttribute", "DescribeVpcEndpoints", "DescribeVpcs"]
      write      = ["AllocateAddress", "AssociateRouteTable", "AttachInternetGateway", "AuthorizeSecurityGroupEgress", "AuthorizeSecurityGroupIngress", "CreateFlowLogs", "CreateInternetGateway", "CreateNatGateway", "CreateRoute", "CreateRouteTable", "CreateSecurityGroup", "CreateSubnet", "CreateTags", "CreateVpc", "CreateVpcEndpoint", "DeleteFlowLogs", "DeleteInternetGateway", "DeleteNatGateway", "DeleteRoute", "DeleteRouteTable", "DeleteSecurityGroup", "DeleteSubnet", "DeleteTags", "DeleteVpc", "DeleteVpcEndpoints", "DetachInternetGateway", "DisassociateAddress", "DisassociateRouteTable", "ModifySecurityGroupRules", "ModifySubnetAttribute", "ModifyVpcAttribute", "ModifyVpcEndpoint", "ReleaseAddress", "RevokeSecurityGroupEgress", "RevokeSecurityGroupIngress"]
    }
    ecr = {
      group     = "compute"
      resources = ["${local.arn}:ecr:${local.here}:repository/${var.name}/*"]
      read      = ["DescribeImageScanFindings", "DescribeImages", "DescribeRepositories", "GetLifecyclePolicy", "ListTagsForResource"]
      write     = ["CreateRepository", "DeleteLifecyclePolicy", "DeleteRepository", "PutImageScanningConfiguration", "PutImageTagMutability", "PutLifecyclePolicy", "TagResource", "UntagResource"]
    }
    ecs = {
      group     = "compute"
      resources = ["${local.arn}:ecs:${local.here}:cluster/${var.name}", "${local.arn}:ecs:${local.here}:service/${var.name}/*", "${local.arn}:ecs:${local.here}:task-definition/${local.named}:*"]
      read      = ["DescribeClusters", "DescribeServices", "ListTagsForResource"]
      write     = ["CreateService", "DeleteCluster", "DeleteService", "PutClusterCapacityProviders", "TagResource", "UntagResource", "UpdateCluster", "UpdateService"]
    }
    ecs_definitions = {
      service    = "ecs"
      group      = "compute"
      resources  = ["*"]
      everywhere = "ECS knows no resource for these (Service Authorization Reference, Amazon ECS)"
      read       = ["DescribeTaskDefinition"]
      write      = ["CreateCluster", "DeregisterTaskDefinition", "RegisterTaskDefinition"]
    }
    elasticloadbalancing = {
      group      = "network"
      resources  = ["*"]
      everywhere = "Describe actions know no resource, and what Create makes ends in an id of ELB's own"
      read       = ["DescribeListenerAttributes", "DescribeListeners", "DescribeLoadBalancerAttributes", "DescribeLoadBalancers", "DescribeTags", "DescribeTargetGroupAttributes", "DescribeTargetGroups", "DescribeTargetHealth"]
      write      = ["AddTags", "CreateListener", "CreateLoadBalancer", "CreateTargetGroup", "DeleteListener", "DeleteLoadBalancer", "DeleteTargetGroup", "ModifyListener", "ModifyListenerAttributes", "ModifyLoadBalancerAttributes", "ModifyTargetGroup", "ModifyTargetGroupAttributes", "RemoveTags", "SetSecurityGroups", "SetSubnets"]
    }
    events = {
      group     = "operations"
      resources = ["${local.arn}:events:${local.here}:rule/${local.named}"]
      read      = ["DescribeRule", "ListTagsForResource", "ListTargetsByRule"]
      write     = ["DeleteRule", "PutRule", "PutTargets", "RemoveTargets", "TagResource", "UntagResource"]
    }
    firehose = {
      group     = "data"
      resources = ["${local.arn}:firehose:${local.here}:deliverystream/${local.named}"]
      read      = ["DescribeDeliveryStream", "ListTagsForDeliveryStream"]
      write     = ["CreateDeliveryStream", "DeleteDeliveryStream", "TagDeliveryStream", "UntagDeliveryStream", "UpdateDestination"]
    }
    glue = {
      group     = "compute"
      resources = ["${local.arn}:glue:${local.here}:job/${local.named}"]
      read      = ["GetJob", "GetTags"]
      write     = ["CreateJob", "DeleteJob", "TagResource", "UntagResource", "UpdateJob"]
    }
    glue_security = {
      service    = "glue"
      group      = "compute"
      resources  = ["*"]
      everywhere = "Glue knows no resource for security configurations (Service Authorization Reference, AWS Glue)"
      read       = ["GetSecurityConfiguration"]
      write      = ["CreateSecurityConfiguration", "DeleteSecurityConfiguration"]
    }
    iam = {
      group     = "access"
      resources = ["${local.arn}:iam::${local.account}:role/${local.named}"]
      read      = ["GetRole", "GetRolePolicy", "ListAttachedRolePolicies", "ListInstanceProfilesForRole", "ListRolePolicies"]
      write     = ["CreateRole", "DeleteRole", "DeleteRolePolicy", "PutRolePolicy", "TagRole", "UntagRole", "UpdateAssumeRolePolicy", "UpdateRole", "UpdateRoleDescription"]
    }
    iam_for_backup = {
      service   = "iam"
      group     = "access"
      resources = ["${local.arn}:iam::${local.account}:role/${var.name}-backup"]
      read      = []
      write     = ["AttachRolePolicy", "DetachRolePolicy"]
    }
    iam_for_ci = {
      service   = "iam"
      group     = "access"
      resources = ["${local.arn}:iam::${local.account}:policy/${local.named}", "${local.arn}:iam::${local.account}:oidc-provider/${local.issuer}"]
      read      = ["GetOpenIDConnectProvider", "GetPolicy", "GetPolicyVersion", "ListPolicyVersions"]
      write     = []
    }
    kinesis = {
      group     = "data"
      resources = ["${local.arn}:kinesis:${local.here}:stream/${local.named}"]
      read      = ["DescribeStream", "DescribeStreamSummary", "ListTagsForStream"]
      write     = ["AddTagsToStream", "CreateStream", "DecreaseStreamRetentionPeriod", "DeleteStream", "IncreaseStreamRetentionPeriod", "RemoveTagsFromStream", "StartStreamEncryption", "StopStreamEncryption", "UpdateShardCount", "UpdateStreamMode"]
    }
    kms = {
      group      = "data"
      resources  = ["*"]
      everywhere = "A key has an id of KMS's own and CreateKey takes no resource; the key's policy names who may use it"
      read       = ["DescribeKey", "GetKeyPolicy", "GetKeyRotationStatus", "ListAliases", "ListResourceTags"]
      write      = ["CreateAlias", "CreateGrant", "CreateKey", "DeleteAlias", "EnableKeyRotation", "PutKeyPolicy", "ScheduleKeyDeletion", "TagResource", "UntagResource", "UpdateAlias", "UpdateKeyDescription"]
    }
    lambda = {
      group     = "serving"
      resources = ["${local.arn}:lambda:${local.here}:function:${local.named}"]
      read      = ["GetAlias", "GetFunction", "GetFunctionCodeSigningConfig", "GetFunctionConcurrency", "GetFunctionConfiguration", "GetFunctionEventInvokeConfig", "GetPolicy", "GetProvisionedConcurrencyConfig", "ListTags", "ListVersionsByFunction"]
      write     = ["AddPermission", "CreateAlias", "CreateFunction", "DeleteAlias", "DeleteFunction", "DeleteFunctionConcurrency", "DeleteFunctionEventInvokeConfig", "DeleteProvisionedConcurrencyConfig", "InvokeFunction", "PublishVersion", "PutFunctionConcurrency", "PutFunctionEventInvokeConfig", "PutProvisionedConcurrencyConfig", "RemovePermission", "TagResource", "UntagResource", "UpdateAlias", "UpdateFunctionCode", "UpdateFunctionConfiguration", "UpdateFunctionEventInvokeConfig"]
    }
    lambda_account = {
      service    = "lambda"
      group      = "serving"
      resources  = ["*"]
      everywhere = "The account's limits belong to no function"
      read       = ["GetAccountSettings"]
      write      = []
    }
    lambda_sources = {
      service    = "lambda"
      group      = "serving"
      resources  = ["*"]
      everywhere = "Event source mappings have ids of Lambda's own"
      read       = ["GetEventSourceMapping", "ListTags"]
      write      = ["CreateEventSourceMapping", "DeleteEventSourceMapping", "TagResource", "UntagResource", "UpdateEventSourceMapping"]
    }
    logs = {
      group     = "operations"
      resources = ["${local.arn}:logs:${local.here}:log-group:*${var.name}*"]
      read      = ["ListTagsForResource"]
      write     = ["AssociateKmsKey", "CreateLogGroup", "CreateLogStream", "DeleteLogGroup", "DeleteLogStream", "PutRetentionPolicy", "TagResource", "UntagResource"]
    }
    logs_described = {
      service    = "logs"
      group      = "operations"
      resources  = ["*"]
      everywhere = "DescribeLogGroups asks for all of them, and deliveries of vended logs have no resource"
      read       = ["DescribeLogGroups", "DescribeLogStreams", "DescribeResourcePolicies", "GetLogDelivery", "ListLogDeliveries"]
      write      = ["CreateLogDelivery", "DeleteLogDelivery", "PutResourcePolicy", "UpdateLogDelivery"]
    }
    rds = {
      group     = "data"
      resources = ["${local.arn}:rds:${local.here}:db:${local.named}", "${local.arn}:rds:${local.here}:pg:${local.named}", "${local.arn}:rds:${local.here}:subgrp:${local.named}", "${local.arn}:rds:${local.here}:snapshot:${local.named}"]
      read      = ["ListTagsForResource"]
      write     = ["AddTagsToResource", "CreateDBInstance", "CreateDBParameterGroup", "CreateDBSnapshot", "CreateDBSubnetGroup", "DeleteDBInstance", "DeleteDBParameterGroup", "DeleteDBSubnetGroup", "ModifyDBInstance", "ModifyDBParameterGroup", "ModifyDBSubnetGroup", "RemoveTagsFromResource", "ResetDBParameterGroup"]
    }
    rds_described = {
      service    = "rds"
      group      = "data"
      resources  = ["*"]
      everywhere = "The provider reads an instance by a filter, which IAM checks against all of them (terraform-provider-aws 35737)"
      read       = ["DescribeDBInstances", "DescribeDBParameterGroups", "DescribeDBParameters", "DescribeDBSubnetGroups"]
      write      = []
    }
    route53 = {
      group      = "network"
      resources  = ["*"]
      everywhere = "The private zone of Cloud Map has an id of Route 53's own"
      read       = ["GetHostedZone"]
      write      = ["ChangeTagsForResource", "CreateHostedZone", "DeleteHostedZone"]
    }
    s3 = {
      group     = "data"
      resources = ["${local.arn}:s3:::${local.named}"]
      read      = ["GetAccelerateConfiguration", "GetBucketAcl", "GetBucketCORS", "GetBucketLocation", "GetBucketLogging", "GetBucketObjectLockConfiguration", "GetBucketOwnershipControls", "GetBucketPolicy", "GetBucketPublicAccessBlock", "GetBucketRequestPayment", "GetBucketTagging", "GetBucketVersioning", "GetBucketWebsite", "GetEncryptionConfiguration", "GetLifecycleConfiguration", "GetReplicationConfiguration", "ListBucket"]
      write     = ["CreateBucket", "DeleteBucket", "DeleteBucketPolicy", "ListBucketVersions", "PutBucketLogging", "PutBucketOwnershipControls", "PutBucketPolicy", "PutBucketPublicAccessBlock", "PutBucketTagging", "PutBucketVersioning", "PutEncryptionConfiguration", "PutLifecycleConfiguration"]
    }
    # Packages of functions are resources of the stack, and the page is uploaded. A plan does not read the shop's data.
    s3_objects = {
      service   = "s3"
      group     = "data"
      resources = ["${local.arn}:s3:::${var.name}-models-${local.account}/packages/*", "${local.arn}:s3:::${var.name}-page-${local.account}/*"]
      read      = ["GetObject", "GetObjectTagging"]
      write     = ["DeleteObject", "DeleteObjectVersion", "PutObject", "PutObjectTagging"]
    }
    sagemaker = {
      group     = "compute"
      resources = ["${local.arn}:sagemaker:${local.here}:model-package-group/${var.name}"]
      read      = ["DescribeModelPackageGroup", "ListTags"]
      write     = ["AddTags", "CreateModelPackageGroup", "DeleteModelPackageGroup", "DeleteTags"]
    }
    scheduler = {
      group     = "operations"
      resources = ["${local.arn}:scheduler:${local.here}:schedule/default/${local.named}"]
      read      = ["GetSchedule"]
      write     = ["CreateSchedule", "DeleteSchedule", "UpdateSchedule"]
    }
    secretsmanager = {
      group     = "access"
      resources = ["${local.arn}:secretsmanager:${local.here}:secret:rds!*"]
      read      = ["DescribeSecret"]
      write     = ["CreateSecret", "RotateSecret", "TagResource"]
    }
    servicequotas = {
      group      = "operations"
      resources  = ["*"]
      everywhere = "Quotas are read for the whole account"
      read       = ["GetServiceQuota", "ListServiceQuotas"]
      write      = []
    }
    servicediscovery = {
      group      = "network"
      resources  = ["*"]
      everywhere = "Namespaces and services have ids of Cloud Map's own"
      read       = ["GetNamespace", "GetOperation", "GetService", "ListInstances", "ListTagsForResource"]
      write      = ["CreatePrivateDnsNamespace", "CreateService", "DeleteNamespace", "DeleteService", "DeregisterInstance", "TagResource", "UntagResource", "UpdateService"]
    }
    sns = {
      group     = "operations"
      resources = ["${local.arn}:sns:${local.here}:${local.named}"]
      read      = ["GetTopicAttributes", "ListTagsForResource"]
      write     = ["CreateTopic", "DeleteTopic", "SetTopicAttributes", "Subscribe", "TagResource", "UntagResource"]
    }
    sns_subscriptions = {
      service    = "sns"
      group      = "operations"
      resources  = ["*"]
      everywhere = "SNS has no resource type for subscriptions (Service Authorization Reference, Amazon SNS)"
      read       = ["GetSubscriptionAttributes"]
      write      = ["Unsubscribe"]
    }
    sqs = {
      group     = "data"
      resources = ["${local.arn}:sqs:${local.here}:${local.named}"]
      read      = ["GetQueueAttributes", "GetQueueUrl", "ListQueueTags"]
      write     = ["CreateQueue", "DeleteQueue", "SetQueueAttributes", "TagQueue", "UntagQueue"]
    }
    ssm = {
      group     = "access"
      resources = ["${local.arn}:ssm:${local.here}:parameter/${var.name}/*"]
      read      = []
      write     = ["DeleteParameter", "GetParameter", "PutParameter"]
    }
    states = {
      group     = "compute"
      resources = ["${local.arn}:states:${local.here}:stateMachine:${local.named}"]
      read      = ["DescribeStateMachine", "ListStateMachineVersions", "ListTagsForResource"]
      write     = ["CreateStateMachine", "DeleteStateMachine", "PublishStateMachineVersion", "TagResource", "UntagResource", "UpdateStateMachine"]
    }
    states_validated = {
      service    = "states"
      group      = "compute"
      resources  = ["*"]
      everywhere = "A definition that is validated is no resource yet"
      read       = ["ValidateStateMachineDefinition"]
      write      = []
    }
  }

  # A plan reads; a deployment reads and changes.
  statements = {
    for kind in ["read", "change"] : kind => {
      for group in distinct(values(local.services)[*].group) : group => [
        for name, service in local.services : {
          Sid      = replace(title(replace(name, "_", " ")), " ", "")
          Effect   = "Allow"
          Action   = [for action in concat(service.read, kind == "read" ? [] : service.write) : "${try(service.service, name)}:${action}"]
          Resource = service.resources
        } if service.group == group && length(concat(service.read, kind == "read" ? [] : service.write)) > 0
      ]
    }
  }
}
