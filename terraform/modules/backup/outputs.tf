output "vault_arn" {
  description = "Vault of this account."
  value       = aws_backup_vault.this.arn
}
