mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                 = "recsys-test"
  lake_bucket_arn      = "arn:aws:s3:::lake"
  models_bucket_arn    = "arn:aws:s3:::models"
  log_group_arn_prefix = "arn:aws:logs:eu-central-1:123456789012"
  kms_key_arn          = "arn:aws:kms:eu-central-1:123456789012:key/k"
  endpoint             = { serverless = { memory_mb = 2048, max_concurrency = 3 } }
}

run "role_and_repositories" {
  command = apply

  module {
    source = "./modules/sagemaker"
  }

  assert {
    condition     = alltrue([for repository in values(aws_ecr_repository.image) : repository.image_tag_mutability == "IMMUTABLE" && one(repository.image_scanning_configuration).scan_on_push])
    error_message = "An image's tag means one image for good, and it is scanned."
  }

  assert {
    condition     = toset(flatten([for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Resource if statement.Sid == "S3Deliver"])) == toset(["arn:aws:s3:::models/bundles/*", "arn:aws:s3:::models/training/*"])
    error_message = "Training writes bundles and its own files, and nothing into the lake."
  }

  assert {
    condition     = output.endpoint.serverless.max_concurrency == 3
    error_message = "The settings come out as they went in."
  }
}

run "two_variants_on_a_serverless_endpoint_are_refused" {
  command = plan

  module {
    source = "./modules/sagemaker"
  }

  variables {
    endpoint = { serverless = { memory_mb = 2048, max_concurrency = 3 }, variants = 2 }
  }

  expect_failures = [terraform_data.endpoint]
}

run "capture_on_a_serverless_endpoint_is_refused" {
  command = plan

  module {
    source = "./modules/sagemaker"
  }

  variables {
    endpoint = { serverless = { memory_mb = 2048, max_concurrency = 3 }, data_capture = true }
  }

  expect_failures = [terraform_data.endpoint]
}

run "a_vpc_for_a_serverless_endpoint_is_refused" {
  command = plan

  module {
    source = "./modules/sagemaker"
  }

  variables {
    endpoint = { serverless = { memory_mb = 2048, max_concurrency = 3 }, subnet_ids = ["subnet-1"] }
  }

  expect_failures = [terraform_data.endpoint]
}

run "more_concurrency_than_the_account_has_is_refused" {
  command = plan

  module {
    source = "./modules/sagemaker"
  }

  variables {
    endpoint = { serverless = { memory_mb = 2048, max_concurrency = 4 } }
  }

  expect_failures = [terraform_data.endpoint]
}

run "two_variants_on_instances_are_taken" {
  command = plan

  module {
    source = "./modules/sagemaker"
  }

  variables {
    endpoint = { realtime = { instance_type = "ml.c7g.large", min_instances = 1, max_instances = 4 }, variants = 2, data_capture = true }
  }

  assert {
    condition     = terraform_data.endpoint.input.variants == 2
    error_message = "Instances may have two variants and capture."
  }
}

run "an_odd_size_is_refused" {
  command = plan

  module {
    source = "./modules/sagemaker"
  }

  variables {
    endpoint = { serverless = { memory_mb = 1500, max_concurrency = 1 } }
  }

  expect_failures = [terraform_data.endpoint]
}
