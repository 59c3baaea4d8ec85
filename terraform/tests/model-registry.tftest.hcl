mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  table_prefix = "recsys-test-"
  kms_key_arn  = "arn:aws:kms:eu-central-1:123456789012:key/k"
}

run "tables" {
  command = apply

  module {
    source = "./modules/model-registry"
  }

  assert {
    condition     = toset(values(output.table_names)) == toset([for name in ["api_keys", "exposures", "history", "registry", "serving"] : "recsys-test-${name}"])
    error_message = "One table for each name the code opens."
  }

  assert {
    condition = alltrue([
      for table in values(aws_dynamodb_table.this) :
      table.hash_key == "partition" && table.range_key == "sort"
      && toset([for attribute in table.attribute : "${attribute.name}:${attribute.type}"]) == toset(["partition:S", "sort:S"])
    ])
    error_message = "The keys are those of lambda_api/state/dynamodb_table.py."
  }

  assert {
    condition     = alltrue([for table in values(aws_dynamodb_table.this) : one(table.ttl).enabled && one(table.ttl).attribute_name == "expires_at"])
    error_message = "Records expire by expires_at."
  }

  assert {
    condition = alltrue([
      for table in values(aws_dynamodb_table.this) : one(table.point_in_time_recovery).enabled
      && one(table.server_side_encryption).kms_key_arn == var.kms_key_arn
      && table.deletion_protection_enabled && table.billing_mode == "PAY_PER_REQUEST"
    ])
    error_message = "Every table can be restored, is encrypted with our key and cannot be deleted in passing."
  }
}

run "a_limit_of_nothing_is_refused" {
  command = plan

  module {
    source = "./modules/model-registry"
  }

  variables {
    max_write_units = 0
  }

  expect_failures = [var.max_write_units]
}
