mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name        = "recsys-test"
  vault_arn   = "arn:aws:backup:eu-central-1:210987654321:backup-vault:recsys"
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/k"
  resources   = ["arn:aws:dynamodb:eu-central-1:123456789012:table/recsys-test-registry", "arn:aws:s3:::recsys-test-lake"]
}

run "copies_in_another_account" {
  command = apply

  module {
    source = "./modules/backup"
  }

  assert {
    condition     = one([for action in one(aws_backup_plan.this.rule).copy_action : action.destination_vault_arn]) == var.vault_arn
    error_message = "Every backup is copied into the vault of the other account."
  }

  assert {
    condition     = aws_backup_selection.this.resources == toset(var.resources) && aws_backup_selection.this.iam_role_arn == aws_iam_role.this.arn
    error_message = "What exists once is backed up, by the role of the backup."
  }

  assert {
    condition     = toset([for one in values(aws_iam_role_policy_attachment.this) : one.policy_arn]) == toset(["arn:aws:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup", "arn:aws:iam::aws:policy/AWSBackupServiceRolePolicyForS3Backup"])
    error_message = "The role has AWS's policies for backups of tables and buckets."
  }
}

run "a_vault_that_is_none_is_refused" {
  command = plan

  module {
    source = "./modules/backup"
  }

  variables {
    vault_arn = "recsys"
  }

  expect_failures = [var.vault_arn]
}
