locals {
  # What most alarms have in common: they fire when a metric was above zero in five minutes.
  alarm_defaults = {
    statistic           = "Sum"
    period              = 300
    evaluation_periods  = 1
    datapoints_to_alarm = null
    threshold           = 0
    comparison_operator = "GreaterThanThreshold"
    treat_missing_data  = "notBreaching"
  }

  # These alarms stay on for one to two hours after the last value above zero, so that they do not
  # toggle between two sweeps.
  hourly = {
    statistic           = "Maximum"
    period              = 3600
    evaluation_periods  = 2
    datapoints_to_alarm = 1
  }

  # Alarms about the metrics that the functions write, by metric.
  metric_alarms = {
    ShardsHeld         = { description = "a shard is held and may have been billed; see the runbook", statistic = "Maximum" }
    PoisonLines        = { description = "a result line was skipped; see the runbook" }
    PrepaymentDepleted = merge(local.hourly, { description = "Google's prepaid credit is used up; add credit", statistic = "Sum" })
    StaleShards        = merge(local.hourly, { description = "shards had lost their messages; see the runbook" })
    ExtraBatches       = merge(local.hourly, { description = "a shard had a second batch; see the runbook" })
    OrphanBatches      = merge(local.hourly, { description = "batches without a shard; see the runbook" })
    BlockedJobs        = merge(local.hourly, { description = "a job lacks a document and cannot be closed; see the runbook" })

    # Missing data is the breach, because a sweep that never starts writes no metric.
    Sweeps = {
      description         = "no sweep for three hours; see its log and its schedule"
      period              = 3600
      evaluation_periods  = 3
      threshold           = 1
      comparison_operator = "LessThanThreshold"
      treat_missing_data  = "breaching"
    }
  }

  # Each alarm has the name that the runbook uses.
  alarms = merge(
    { for queue in keys(local.queues) : "${title(queue)}DeadLettersAlarm" => {
      description = "dead letters of ${queue}; see the runbook"
      namespace   = "AWS/SQS"
      metric_name = "ApproximateNumberOfMessagesVisible"
      dimensions  = { QueueName = aws_sqs_queue.dead_letters[queue].name }
      statistic   = "Maximum"
    } },
    { for queue in keys(local.queues) : "${title(queue)}OldestMessageAlarm" => {
      description = "no message received from queue ${queue} for two hours"
      namespace   = "AWS/SQS"
      metric_name = "ApproximateAgeOfOldestMessage"
      dimensions  = { QueueName = aws_sqs_queue.this[queue].name }
      statistic   = "Maximum"
      threshold   = 7200
    } },
    { for function in keys(local.functions) : "${title(function)}ErrorsAlarm" => {
      description = function == "sweep" ? "a sweep has failed; if the next ones fail too, see its log" : "${function} has crashed or timed out; see its log"
      namespace   = "AWS/Lambda"
      metric_name = "Errors"
      dimensions  = { FunctionName = aws_lambda_function.this[function].function_name }
    } },
    { for function in keys(local.functions) : "${title(function)}ThrottlesAlarm" => {
      description = "${function} is throttled: the account is at its limits"
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      dimensions  = { FunctionName = aws_lambda_function.this[function].function_name }
    } },
    { for function in keys(local.functions) : "${title(function)}RecursiveInvocationsDroppedAlarm" => {
      description = "Lambda has stopped ${function} as a loop; see the ${function == "sweep" ? "runbook" : "dead letters"}"
      namespace   = "AWS/Lambda"
      metric_name = "RecursiveInvocationsDropped"
      dimensions  = { FunctionName = aws_lambda_function.this[function].function_name }
    } },
    { for metric, alarm in local.metric_alarms : "${metric}Alarm" => merge(alarm, {
      namespace   = "Darkroom"
      metric_name = metric
      dimensions  = { service = var.name }
    }) },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = { for name, alarm in local.alarms : name => merge(local.alarm_defaults, alarm) }

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "Darkroom, ${var.name}: ${each.value.description}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric_name
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.evaluation_periods
  datapoints_to_alarm = each.value.datapoints_to_alarm
  threshold           = each.value.threshold
  comparison_operator = each.value.comparison_operator
  treat_missing_data  = each.value.treat_missing_data
  alarm_actions       = compact(concat([var.alarm_topic_arn], aws_sns_topic.alarms[*].arn))

  tags = var.tags
}

resource "aws_sns_topic" "alarms" {
  #checkov:skip=CKV_AWS_26:CloudWatch cannot send to a topic that is encrypted with SNS's key; alarms hold only names and numbers
  count = var.alarm_email != "" ? 1 : 0

  name = "${var.name}-alarm-topic"

  tags = var.tags
}

resource "aws_sns_topic_subscription" "alarms" {
  count = var.alarm_email != "" ? 1 : 0

  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}
