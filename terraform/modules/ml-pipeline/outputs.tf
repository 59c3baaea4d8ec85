output "machine_arn" {
  description = "State machine; start executions under a name of their own."
  value       = aws_sfn_state_machine.this.arn
}

output "machine_name" {
  description = "Name of the machine."
  value       = aws_sfn_state_machine.this.name
}

output "alarms" {
  description = "What to watch, in the form the module monitoring takes: executions that failed, timed out or were aborted, starts that were missed."
  value = merge(
    {
      for metric, description in {
        ExecutionsFailed   = "An execution of ${local.name} failed. The last message of the topic and the execution's history say why."
        ExecutionsTimedOut = "An execution of ${local.name} took longer than its time limit and was ended: see in its history which state it waited in."
        ExecutionsAborted  = "Somebody ended an execution of ${local.name} by hand. Start another one unless that was meant."
        } : "${var.machine}-${lower(trimprefix(metric, "Executions"))}" => {
        metric      = ["AWS/States", metric, "Sum"]
        dimensions  = { StateMachineArn = aws_sfn_state_machine.this.arn }
        threshold   = 0
        description = description
        # An execution ends once, so there is one datapoint.
        periods  = 1
        breaches = 1
      }
    },
    { for name, alarm in merge({}, module.schedule[*].alarms...) : "${var.machine}-${name}" => alarm },
  )
}
