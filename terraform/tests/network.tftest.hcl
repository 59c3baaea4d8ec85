mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "recsys-test"
  cidr        = "10.0.0.0/16"
  zones       = ["eu-central-1a", "eu-central-1b"]
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/k"
}

run "private_by_default" {
  command = apply

  module {
    source = "./modules/network"
  }

  assert {
    condition     = [for zone in ["eu-central-1a", "eu-central-1b"] : aws_subnet.private[zone].cidr_block] == ["10.0.0.0/19", "10.0.32.0/19"]
    error_message = "A private subnet per zone, an eighth of the addresses each."
  }

  assert {
    condition     = length(aws_nat_gateway.this) + length(aws_internet_gateway.this) + length(aws_subnet.public) + length(aws_route.nat) + length(aws_vpc_security_group_egress_rule.internet) == 0
    error_message = "Nothing leads to the internet."
  }

  assert {
    condition     = toset(keys(aws_vpc_endpoint.gateway)) == toset(["s3", "dynamodb"]) && alltrue([for endpoint in values(aws_vpc_endpoint.gateway) : length(endpoint.route_table_ids) > 0])
    error_message = "S3 and DynamoDB are reached through gateway endpoints."
  }

  assert {
    condition     = length(setsubtract(["ecr.api", "ecr.dkr", "logs", "sts", "sagemaker.api", "sagemaker.runtime", "states", "kinesis-streams", "secretsmanager", "kms", "ecs"], keys(aws_vpc_endpoint.interface))) == 0
    error_message = "What tasks and jobs ask has an endpoint."
  }

  assert {
    condition = alltrue(flatten([
      for endpoint in concat(values(aws_vpc_endpoint.gateway), values(aws_vpc_endpoint.interface)) : [
        for statement in jsondecode(endpoint.policy).Statement :
        try(statement.Condition.StringEquals["aws:PrincipalAccount"] == "123456789012" && statement.Condition.StringEqualsIfExists["aws:ResourceAccount"] == "123456789012", statement.Action == ["s3:GetObject"])
      ]
    ]))
    error_message = "Endpoints let nobody else's principals and resources through, but for layers of images."
  }

  assert {
    condition     = length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "The default security group is closed."
  }

  assert {
    condition     = aws_flow_log.this.log_destination == aws_cloudwatch_log_group.flow.arn && aws_cloudwatch_log_group.flow.kms_key_id == var.kms_key_arn
    error_message = "Refused connections are in an encrypted log."
  }
}

run "one_way_out" {
  command = apply

  module {
    source = "./modules/network"
  }

  variables {
    zones               = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    nat                 = "one"
    interface_endpoints = []
  }

  assert {
    condition     = keys(aws_nat_gateway.this) == ["eu-central-1a"] && length(aws_route.nat) == 3 && length(output.public_subnet_ids) == 3
    error_message = "Three zones share one gateway."
  }

  assert {
    condition     = alltrue([for subnet in values(aws_subnet.public) : !subnet.map_public_ip_on_launch]) && length(distinct(concat(values(aws_subnet.public)[*].cidr_block, values(aws_subnet.private)[*].cidr_block))) == 6
    error_message = "Nothing gets a public address by itself, and no two subnets the same range."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.internet[0].from_port == 443 && aws_vpc_security_group_egress_rule.internet[0].to_port == 443
    error_message = "TLS alone leaves."
  }
}

run "one_gateway_per_zone" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    nat = "per_zone"
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 2
    error_message = "A zone that fails takes no other along."
  }
}

run "what_aws_would_refuse_or_leave_without_a_way_is_refused" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    cidr                = "10.0.0.0/24"
    zones               = ["eu-central-1a"]
    interface_endpoints = ["s3"]
  }

  expect_failures = [var.cidr, var.zones, var.interface_endpoints]
}

run "tasks_that_could_not_start_are_refused" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    interface_endpoints = ["logs"]
  }

  expect_failures = [var.nat]
}
