run "lines_become_statements" {
  command = plan

  module {
    source = "./modules/service-access"
  }

  variables {
    grants = {
      dynamodb_read = ["arn:aws:dynamodb:eu-central-1:123456789012:table/a", "arn:aws:dynamodb:eu-central-1:123456789012:table/b"]
      kinesis_write = []
      xray_trace    = ["*"]
    }
  }

  assert {
    condition = jsondecode(output.policy) == {
      Version = "2012-10-17"
      Statement = [
        {
          Sid      = "DynamodbRead"
          Effect   = "Allow"
          Action   = ["dynamodb:GetItem", "dynamodb:Query"]
          Resource = ["arn:aws:dynamodb:eu-central-1:123456789012:table/a", "arn:aws:dynamodb:eu-central-1:123456789012:table/b"]
        },
        {
          Sid      = "XrayTrace"
          Effect   = "Allow"
          Action   = ["xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:PutTelemetryRecords", "xray:PutTraceSegments"]
          Resource = ["*"]
        },
      ]
    }
    error_message = "A line gives its actions on the resources named, and an empty one gives nothing."
  }
}

run "no_action_has_a_wildcard" {
  command = plan

  module {
    source = "./modules/service-access"
  }

  variables {
    grants = {}
  }

  assert {
    condition     = alltrue([for line in values(local.service_integrations) : alltrue([for action in line.actions : can(regex("^[a-z0-9-]+:[A-Za-z0-9]+$", action))])])
    error_message = "The table of service integrations holds an action with a wildcard."
  }
}

run "everything_is_refused" {
  command = plan

  module {
    source = "./modules/service-access"
  }

  variables {
    grants = { dynamodb_write = ["*"] }
  }

  expect_failures = [var.grants]
}

run "an_unknown_line_is_refused" {
  command = plan

  module {
    source = "./modules/service-access"
  }

  variables {
    grants = { dynamodb = ["arn:aws:dynamodb:eu-central-1:123456789012:table/a"] }
  }

  expect_failures = [var.grants]
}
