mock_provider "aws" {
  source = "./tests/mocks"
}

run "key" {
  command = apply

  module {
    source = "./modules/encryption"
  }

  variables {
    name = "recsys-test"
  }

  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30
    error_message = "The key rotates, and its deletion can be taken back for a month."
  }

  assert {
    condition     = strcontains(aws_kms_key.this.policy, "arn:aws:iam::123456789012:root")
    error_message = "Access is given by the policies of the account."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_kms_key.this.policy).Statement : alltrue([for action in statement.Action : !strcontains(action, "*")])])
    error_message = "The key's policy holds an action with a wildcard."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_kms_key.this.policy).Statement : can(statement.Condition) if can(statement.Principal.Service)])
    error_message = "A service may use the key for this account only."
  }
}

run "a_hasty_deletion_is_refused" {
  command = plan

  module {
    source = "./modules/encryption"
  }

  variables {
    name                 = "recsys-test"
    deletion_window_days = 3
  }

  expect_failures = [var.deletion_window_days]
}
