output "policy" {
  description = "The policy document, JSON."
  value       = local.policy
}
