output "api_url" {
  description = "Address of the API, without a slash at the end."
  value       = module.recommender.api_url
}

output "storefront_url" {
  description = "Address of the shop page; null where there is none."
  value       = module.recommender.storefront_url
}

output "storefront_bucket" {
  description = "Bucket into which the page's data is published; null where there is none."
  value       = module.recommender.storefront_bucket
}

output "settings" {
  description = "RECSYS_* variables for everything that works on this environment from outside: pipeline and command line."
  value       = module.recommender.settings
}

output "functions" {
  description = "Functions with their aliases and the version last published."
  value       = module.recommender.functions
}

output "route_keys" {
  description = "Every route of the API and how it is authorised."
  value       = module.recommender.route_keys
}

output "alarm_topic_arn" {
  description = "Topic of alarms and budget."
  value       = module.recommender.alarm_topic_arn
}
