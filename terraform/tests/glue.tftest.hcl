mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name             = "recsys-test"
  entry_path       = "./versions.tf"
  package          = { path = "features.zip", hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" }
  python_modules   = ["ibis-framework==12.0.0", "dagster-pipes==1.13.27"]
  lake_bucket_arn  = "arn:aws:s3:::lake"
  code_bucket_name = "models"
  code_bucket_arn  = "arn:aws:s3:::models"
  kms_key_arn      = "arn:aws:kms:eu-central-1:123456789012:key/k"
  log_days         = 14
}

run "job" {
  command = apply

  module {
    source = "./modules/glue"
  }

  assert {
    condition     = aws_glue_job.this.default_arguments["--extra-py-files"] == "s3://models/${aws_s3_object.package.key}" && startswith(one(aws_glue_job.this.command).script_location, "s3://models/glue/")
    error_message = "Program and code are those that were uploaded."
  }

  assert {
    condition     = dirname(aws_s3_object.entry.key) == dirname(aws_s3_object.package.key) && strcontains(aws_s3_object.package.key, "glue/")
    error_message = "Program and code of one version lie together."
  }

  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.job.policy).Statement : statement.Resource if statement.Sid == "S3Write"])) == toset([
      "arn:aws:s3:::lake/lake/*_features/*", "arn:aws:s3:::lake/lake/*_features_$folder$", "arn:aws:s3:::models/glue/temporary/*", "arn:aws:s3:::models/pipes/*",
    ])
    error_message = "Of the lake, only feature tables are written."
  }

  assert {
    condition     = aws_glue_job.this.security_configuration == aws_glue_security_configuration.this.name && aws_glue_job.this.max_retries == 0
    error_message = "Everything is encrypted, and only whoever asked for the features repeats a run."
  }

  assert {
    condition     = alltrue([for group in values(aws_cloudwatch_log_group.this) : group.kms_key_id == var.kms_key_arn && group.retention_in_days == 14])
    error_message = "Logs are encrypted, and kept for the environment's days."
  }

  assert {
    condition = one([for statement in jsondecode(aws_iam_role_policy.job.policy).Statement : statement if contains(statement.Action, "logs:AssociateKmsKey")]) == {
      Sid      = "LogsCreateEncrypted"
      Effect   = "Allow"
      Action   = ["logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = ["arn:aws:logs:eu-central-1:123456789012:log-group:/aws-glue/jobs/*${var.name}-features*"]
    }
    error_message = "With a security configuration Glue makes and encrypts log groups under names of its own."
  }
}

run "unpinned_libraries_are_refused" {
  command = plan

  module {
    source = "./modules/glue"
  }

  variables {
    python_modules = ["ibis-framework"]
  }

  expect_failures = [aws_glue_job.this]
}

run "an_older_glue_is_refused" {
  command = plan

  module {
    source = "./modules/glue"
  }

  variables {
    glue_version = "4.0"
  }

  expect_failures = [aws_glue_job.this]
}

run "a_driver_alone_is_refused" {
  command = plan

  module {
    source = "./modules/glue"
  }

  variables {
    workers = 1
  }

  expect_failures = [aws_glue_job.this]
}

run "a_worker_glue_does_not_have_is_refused" {
  command = plan

  module {
    source = "./modules/glue"
  }

  variables {
    worker_type = "G.025X"
  }

  expect_failures = [aws_glue_job.this]
}
