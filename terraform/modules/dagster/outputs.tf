output "url" {
  description = "Address of the web server, within the network unless the load balancer is on the internet."
  value       = "${local.secured ? "https" : "http"}://${aws_lb.web.dns_name}"
}

output "run_environment" {
  description = "Variables a run needs to find the instance."
  value       = local.instance_environment
}

output "run_secrets" {
  description = "Variables of a run that Secrets Manager fills."
  value       = local.instance_secrets
}

output "service_names" {
  description = "ECS services by role: web, daemon, assets, deploy."
  value       = { for name, service in aws_ecs_service.this : name => service.name }
}

output "alarms" {
  description = "Alarms on it, as modules/monitoring takes them."
  value = tomap(merge(
    {
      "dagster-web-unreachable" = {
        description = "Dagster's web server answers its load balancer no more. See the log stream web/ of its services, then restart the service."
        metric      = ["AWS/ApplicationELB", "UnHealthyHostCount", "Minimum"]
        dimensions  = { LoadBalancer = aws_lb.web.arn_suffix, TargetGroup = aws_lb_target_group.web.arn_suffix }
        threshold   = 0
        below       = false
      }
      "dagster-database-full" = {
        description = "Less than a tenth of the first disk of Dagster's database is free although it grows by itself: raise storage_gib or delete old runs."
        metric      = ["AWS/RDS", "FreeStorageSpace", "Minimum"]
        dimensions  = { DBInstanceIdentifier = aws_db_instance.history.identifier }
        threshold   = var.database.storage_gib * 107374182
        below       = true
      }
    },
    {
      for name, service in aws_ecs_service.this : "dagster-${name}-down" => {
        description = "The service ${service.name} has no running task. Its events in ECS say why: image, secret, health; its log what it said last."
        metric      = ["ECS/ContainerInsights", "RunningTaskCount", "Maximum"]
        dimensions  = { ClusterName = reverse(split("/", var.runs.cluster_arn))[0], ServiceName = service.name }
        threshold   = 1
        below       = true
      }
    },
  ))
}
