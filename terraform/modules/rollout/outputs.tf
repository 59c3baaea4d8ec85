output "machine_arn" {
  description = "State machine of rollouts; an execution's name is the name of its rollout."
  value       = module.machine.machine_arn
}

output "execution_arns" {
  description = "Pattern of its executions' ARNs, for permissions."
  value       = "${replace(module.machine.machine_arn, ":stateMachine:", ":execution:")}:*"
}

output "alarms" {
  description = "What to watch besides the triggers, in the form the module monitoring takes."
  value = merge(module.machine.alarms, {
    for name, rule in aws_cloudwatch_event_rule.this : "rollout-${name}-unheard" => {
      metric      = ["AWS/Events", "FailedInvocations", "Sum"]
      dimensions  = { RuleName = rule.name }
      threshold   = 0
      description = "The function that takes a version back could not be told: ${rule.description}. See `recsys rollout status`, and take it back with `recsys rollout abort`."
    }
  })
}

output "trigger_alarms" {
  description = "Names of the alarms that end a rollout."
  value       = concat(values(aws_cloudwatch_metric_alarm.shares)[*].alarm_name, values(aws_cloudwatch_metric_alarm.metrics)[*].alarm_name)
}
