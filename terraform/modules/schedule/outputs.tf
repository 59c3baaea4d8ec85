output "alarms" {
  description = "Alarm of starts that were missed, in the form the module monitoring takes; its key is `missed`."
  value = {
    missed = {
      metric      = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum"]
      dimensions  = { QueueName = local.missed }
      threshold   = 0
      description = "The schedule could not start ${var.name}. The queue ${local.missed} says why: start it by hand, then empty the queue."
    }
  }
}
