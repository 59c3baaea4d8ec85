# The daily task: what Dagster's daemon does every night, as a task that a schedule starts. It ingests new days, makes
# yesterday's reports, stores their figures as metrics, and starts the training machine where they ask for it.
locals {
  # By name: the machine needs the task's definition, whose variables name the machine.
  training_machine_arn = "arn:${local.partition}:states:${local.region}:${local.account}:stateMachine:${local.name}-training"

  daily_settings = var.daily == null ? {} : {
    RECSYS_ALERTS               = module.monitoring.topic_arn
    RECSYS_TRAINING_MACHINE_ARN = local.training_machine_arn
  }

  # Of a run besides pipeline_access.
  daily_access = var.daily == null ? {} : {
    states_start       = concat(local.pipeline_access.states_start, [local.training_machine_arn])
    states_list        = [local.training_machine_arn]
    sns_publish        = [module.monitoring.topic_arn]
    cloudwatch_figures = ["*"]
  }

  # A figure is stored once a day, so an alarm keeps its state until the next one; only the absence of all is an alarm.
  daily_figures = {
    "drift-found" = {
      metric      = "DriftFamilies"
      threshold   = 0
      description = "A report found drift: the topic has a message for each family, with its figures. Nothing has to be done at once: the decision of the day says whether a training was started."
    }
    "quality-gate-closed" = {
      metric      = "GatesClosed"
      threshold   = 0
      description = "A delivery may not be used, and neither training nor reports read its day. The task's log names the rule: correct the delivery or the rule."
    }
    "data-stopped" = {
      metric      = "DataAge"
      threshold   = 1
      description = "The lake has had no new day of interactions for two days. See whether the shop delivers, and whether the daily task could ingest it."
    }
    "stream-stopped" = {
      metric      = "StreamAge"
      threshold   = 1
      description = "The event stream has had no list shown for two days. See whether the API is asked, events-refused, events-late, and the delivery's log."
    }
  }

  every_daily_alarm = merge(
    { for name, alarm in merge({}, module.daily[*].alarms...) : "daily-${name}" => alarm },
    {
      "daily-not-run" = {
        metric      = ["Recsys", "ReportsMade", "Sum"]
        dimensions  = { service = "daily" }
        threshold   = 1
        below       = true
        period_s    = 21600
        periods     = 5
        breaches    = 5
        missing     = "breaching"
        description = "No reports were made for 30 hours, so drift would go unnoticed. See the log of the task, and daily-missed."
      }
    },
    {
      for name, figure in local.daily_figures : name => {
        metric      = ["Recsys", figure.metric, "Maximum"]
        dimensions  = { service = "daily" }
        threshold   = figure.threshold
        period_s    = 3600
        periods     = 1
        breaches    = 1
        missing     = "ignore"
        description = figure.description
      }
    },
  )

  # Without the schedule no figure is expected.
  daily_alarms = { for name, alarm in local.every_daily_alarm : name => alarm if try(var.daily.schedule.enabled, false) }
}

module "daily" {
  source = "../modules/schedule"
  count  = var.daily == null ? 0 : 1

  name        = "${local.name}-daily"
  description = "Reports of yesterday, and a training where they ask for one"
  schedule    = var.daily.schedule
  call        = "ecs:runTask"
  kms_key_arn = module.encryption.key_arn

  grants = {
    ecs_run          = [module.runs[0].task_definition_family_arn]
    ecs_tag_new      = ["arn:${local.partition}:ecs:${local.region}:${local.account}:task/${module.runs[0].cluster_name}/*"]
    pass_role_to_ecs = module.runs[0].role_arns
  }

  input = jsonencode({
    ClientToken    = "<aws.scheduler.execution-id>"
    Cluster        = module.runs[0].cluster_arn
    TaskDefinition = module.runs[0].task_definition_arn
    LaunchType     = "FARGATE"
    PropagateTags  = "TASK_DEFINITION"
    NetworkConfiguration = {
      AwsvpcConfiguration = {
        Subnets        = module.network[0].subnet_ids
        SecurityGroups = [module.network[0].task_security_group_id]
        AssignPublicIp = "DISABLED"
      }
    }
    Overrides = {
      ContainerOverrides = [{ Name = module.runs[0].container_name, Command = ["recsys_deploy.run", "--daily"] }]
    }
  })
}
