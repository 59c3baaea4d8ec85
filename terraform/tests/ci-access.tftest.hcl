mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name              = "recsys-test"
  environment       = "test"
  repository        = "example/recsys"
  state             = { bucket = "recsys-test-terraform-state", key = "recsys/terraform.tfstate" }
  tables            = { serving = "arn:aws:dynamodb:eu-central-1:123456789012:table/recsys-test-serving", registry = "arn:aws:dynamodb:eu-central-1:123456789012:table/recsys-test-registry" }
  models_bucket_arn = "arn:aws:s3:::recsys-test-models"
  lake_bucket_arn   = "arn:aws:s3:::recsys-test-lake"
  pipeline_access   = { s3_write = ["arn:aws:s3:::recsys-test-lake/*"] }
  kms_key_arn       = "arn:aws:kms:eu-central-1:123456789012:key/k"
}

run "roles" {
  command = apply

  module {
    source = "./modules/ci-access"
  }

  assert {
    condition = {
      for name, role in aws_iam_role.this : name => jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"]
      } == {
      plan     = ["repo:example/recsys:environment:plan-test"]
      deploy   = ["repo:example/recsys:environment:test"]
      release  = ["repo:example/recsys:environment:test", "repo:example/recsys:environment:test-unattended"]
      monitor  = ["repo:example/recsys:environment:test-unattended"]
      training = ["repo:example/recsys:environment:training"]
    }
    error_message = "A role is taken by jobs of this repository in its own environments, no wildcard."
  }

  assert {
    condition = alltrue([
      for role in values(aws_iam_role.this) :
      jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"
      && keys(jsondecode(role.assume_role_policy).Statement[0].Condition) == ["StringEquals"]
      && role.permissions_boundary == aws_iam_policy.boundary.arn
    ])
    error_message = "Tokens for another audience are refused, and every role has the boundary."
  }

  assert {
    condition     = alltrue([for name, attachment in local.attached : attachment.kind == "read" if attachment.role == "plan"]) && alltrue([for attachment in values(local.attached) : contains(["plan", "deploy"], attachment.role)])
    error_message = "A plan only reads, and only deploy changes resources."
  }

  assert {
    condition = alltrue(flatten([
      for key, text in local.policies : [
        for statement in jsondecode(text).Statement : [
          for action in statement.Action : can(regex(":(BatchGet|Describe|Get|List|Validate|View|GET$)", action))
        ]
      ] if startswith(key, "read-")
    ]))
    error_message = "Policies named read only read."
  }

  assert {
    condition     = alltrue([for service in values(local.services) : (service.resources == ["*"]) == can(service.everywhere)])
    error_message = "A row with the resource \"*\" needs a reason."
  }

  assert {
    condition     = alltrue([for text in values(local.policies) : length(text) <= 5632])
    error_message = "A managed policy has at most 6144 characters, and half a kilobyte is kept free for new actions."
  }

  assert {
    condition     = alltrue([for role in ["plan", "deploy"] : length([for one in values(local.attached) : one if one.role == role]) <= 8])
    error_message = "IAM attaches at most ten managed policies to a role."
  }

  assert {
    condition     = length([for statement in jsondecode(aws_iam_policy.boundary.policy).Statement : statement if statement.Effect == "Deny" && contains(statement.Action, "iam:PutRolePolicy") && contains(statement.Action, "iam:PassRole")]) == 1 && !contains(local.ceiling, "*") && !contains(local.ceiling, "iam:*")
    error_message = "The boundary excludes its own roles and does not allow everything."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(module.access["release"].policy).Statement : statement.Condition.StringEquals["iam:PassedToService"] == "sagemaker.amazonaws.com" && statement.Resource == ["arn:aws:iam::123456789012:role/recsys-test-sagemaker"] if contains(statement.Action, "iam:PassRole")])
    error_message = "A rollout may pass only the endpoints' role, and only to SageMaker."
  }
}

run "with_the_accounts_provider" {
  command = plan

  module {
    source = "./modules/ci-access"
  }

  variables {
    provider_arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
  }

  assert {
    condition     = length(aws_iam_openid_connect_provider.github) == 0 && output.provider_arn == var.provider_arn
    error_message = "An account has one provider."
  }
}

run "immutable_subjects" {
  command = plan

  module {
    source = "./modules/ci-access"
  }

  variables {
    repository_ids = { owner = "1234", repository = "567890" }
  }

  assert {
    condition     = jsondecode(aws_iam_role.this["release"].assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"] == ["repo:example@1234/recsys@567890:environment:test", "repo:example@1234/recsys@567890:environment:test-unattended"]
    error_message = "Repositories with immutable subjects send owner@id/name@id."
  }
}

run "ids_that_are_no_numbers_are_refused" {
  command = plan

  module {
    source = "./modules/ci-access"
  }

  variables {
    repository_ids = { owner = "*", repository = "567890" }
  }

  expect_failures = [var.repository_ids]
}

run "repositories_by_wildcard_are_refused" {
  command = plan

  module {
    source = "./modules/ci-access"
  }

  variables {
    repository = "example/*"
  }

  expect_failures = [var.repository]
}
