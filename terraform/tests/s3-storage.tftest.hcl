mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "recsys-test"
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/k"
}

run "buckets" {
  command = apply

  module {
    source = "./modules/s3-storage"
  }

  assert {
    condition     = output.bucket_names == { lake = "recsys-test-lake-123456789012", logs = "recsys-test-logs-123456789012", models = "recsys-test-models-123456789012" }
    error_message = "Three buckets, named by purpose and account."
  }

  assert {
    condition = alltrue([
      for block in values(aws_s3_bucket_public_access_block.this) :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ]) && length(aws_s3_bucket_public_access_block.this) == 3
    error_message = "No bucket may become public."
  }

  assert {
    condition     = { for purpose, settings in aws_s3_bucket_server_side_encryption_configuration.this : purpose => one(one(settings.rule).apply_server_side_encryption_by_default).sse_algorithm } == { lake = "aws:kms", models = "aws:kms", logs = "AES256" }
    error_message = "Data is encrypted with our key."
  }

  assert {
    condition = alltrue([
      for policy in values(aws_s3_bucket_policy.this) :
      length([for statement in jsondecode(policy.policy).Statement : statement if statement.Effect == "Deny"]) == 2
      && alltrue([for statement in jsondecode(policy.policy).Statement : contains(["logging.s3.amazonaws.com", "logdelivery.elasticloadbalancing.amazonaws.com"], statement.Principal.Service) if statement.Effect == "Allow"])
    ])
    error_message = "Every bucket refuses plain HTTP and old TLS, and lets in nobody but the delivery of logs."
  }

  assert {
    condition = alltrue([
      for rules in values(aws_s3_bucket_lifecycle_configuration.data) :
      one(rules.rule[0].transition).days == 90 && one(rules.rule[0].transition).storage_class == "INTELLIGENT_TIERING"
    ]) && length(aws_s3_bucket_lifecycle_configuration.data) == 2
    error_message = "Data moves after 90 days to the class that has no retrieval fee, because trainings read it again."
  }

  assert {
    condition     = alltrue([for versioning in values(aws_s3_bucket_versioning.this) : one(versioning.versioning_configuration).status == "Enabled"])
    error_message = "What was deleted by mistake can be brought back."
  }
}

run "logs_that_expire_before_they_move_are_refused" {
  command = plan

  module {
    source = "./modules/s3-storage"
  }

  variables {
    log_days = 60
  }

  expect_failures = [aws_s3_bucket_lifecycle_configuration.logs]
}

run "a_name_no_bucket_may_have_is_refused" {
  command = plan

  module {
    source = "./modules/s3-storage"
  }

  variables {
    name = "Recsys_Test"
  }

  expect_failures = [var.name]
}
