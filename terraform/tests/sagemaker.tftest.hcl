mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                 = "recsys-test"
  lake_bucket_arn      = "arn:aws:s3:::lake"
  models_bucket_arn    = "arn:aws:s3:::models"
  models_bucket_name   = "models"
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

  assert {
    condition     = !contains(keys(output.settings), "RECSYS_TRAINING_IMAGE") && endswith(output.settings.RECSYS_INFERENCE_IMAGE, ":unreleased")
    error_message = "Without jobs, models are trained where the asset graph runs; endpoints and batches need an image all the same."
  }

  assert {
    condition = contains([
      for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Action if statement.Resource == [var.kms_key_arn]
    ], ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"])
    error_message = "Disks and outputs of jobs are encrypted with the key."
  }
}

run "settings_of_jobs" {
  command = apply

  module {
    source = "./modules/sagemaker"
  }

  variables {
    image_tag = "0123abc"
    jobs      = { instance_type = "ml.m5.xlarge", spot = true, volume_gb = 30, max_runtime_s = 3600, max_wait_s = 7200 }
  }

  assert {
    condition     = endswith(output.settings.RECSYS_TRAINING_IMAGE, ":0123abc") && output.settings.RECSYS_TRAINING_SPOT == "true" && output.settings.RECSYS_TRAINING_MAX_WAIT_S == "7200"
    error_message = "Jobs run the image of this tag, on what was asked for."
  }

  assert {
    condition     = output.settings.RECSYS_TRAINING_URI == "s3://models/training" && output.settings.RECSYS_ENDPOINT_PREFIX == "recsys-test" && output.settings.RECSYS_INFERENCE_INSTANCE_TYPE == "ml.m5.large"
    error_message = "Files of jobs lie where the role may write, and names begin with the environment's."
  }
}

run "spot_that_waits_less_than_it_runs_is_refused" {
  command = plan

  module {
    source = "./modules/sagemaker"
  }

  variables {
    jobs = { instance_type = "ml.m5.xlarge", spot = true, volume_gb = 30, max_runtime_s = 3600, max_wait_s = 600 }
  }

  expect_failures = [terraform_data.jobs]
}

run "an_instance_of_ec2_is_refused" {
  command = plan

  module {
    source = "./modules/sagemaker"
  }

  variables {
    jobs = { instance_type = "m5.xlarge", spot = false, volume_gb = 30, max_runtime_s = 3600, max_wait_s = 0 }
  }

  expect_failures = [terraform_data.jobs]
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
