output "key_arn" {
  description = "The key that encrypts everything an environment stores."
  value       = aws_kms_key.this.arn

  # Nobody may use the key before its policy stands.
  depends_on = [aws_kms_key.this]
}
