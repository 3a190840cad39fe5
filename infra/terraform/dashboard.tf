# The state of the deployment at a glance.

locals {
  # What most widgets have in common.
  widget_defaults = {
    stat    = "Maximum"
    period  = 3600
    stacked = false
    cap     = false
  }

  # Each widget: where it is, what it shows, and whether the daily cap is drawn in it.
  widgets = [
    {
      x       = 0
      y       = 0
      width   = 12
      title   = "Images of closed jobs, per hour"
      stat    = "Sum"
      stacked = true
      metrics = [for metric in ["ImagesSucceeded", "ImagesRefused", "ImagesFailed"] : ["Darkroom", metric, "service", var.name]]
    },
    {
      x     = 12
      y     = 0
      width = 12
      title = "Dollars: spent or reserved today, and the cost of closed jobs per hour"
      stat  = "Sum"
      cap   = true
      metrics = [
        ["Darkroom", "ReservedUsd", "service", var.name, { stat = "Maximum" }],
        ["Darkroom", "CostUsd", "service", var.name],
        ["Darkroom", "SavedUsd", "service", var.name],
      ]
    },
    {
      x       = 0
      y       = 6
      width   = 12
      title   = "Shards, by the phase that they enter, per hour"
      stat    = "Sum"
      metrics = [for phase in ["Planned", "Submitted", "Ready", "Done", "Held", "Failed", "Cancelled"] : ["Darkroom", "Shards${phase}", "service", var.name]]
    },
    {
      x       = 12
      y       = 6
      width   = 6
      title   = "Seconds since the oldest batch was created"
      metrics = [["Darkroom", "BatchAge", "service", var.name]]
    },
    {
      x       = 18
      y       = 6
      width   = 6
      title   = "Batches that run, and blocked jobs"
      metrics = [for metric in ["LiveBatches", "BlockedJobs"] : ["Darkroom", metric, "service", var.name]]
    },
    {
      x       = 0
      y       = 12
      width   = 8
      title   = "Errors of functions"
      stat    = "Sum"
      period  = 300
      metrics = [for function in local.function_names : ["AWS/Lambda", "Errors", "FunctionName", aws_lambda_function.this[function].function_name]]
    },
    {
      x       = 8
      y       = 12
      width   = 8
      title   = "Seconds that the oldest message waits"
      period  = 300
      metrics = [for queue in local.chain : ["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", aws_sqs_queue.this[queue].name]]
    },
    {
      x       = 16
      y       = 12
      width   = 8
      title   = "Dead letters"
      period  = 300
      metrics = [for queue in local.chain : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", aws_sqs_queue.dead_letters[queue].name]]
    },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [for widget in [for widget in local.widgets : merge(local.widget_defaults, widget)] : {
      type   = "metric"
      x      = widget.x
      y      = widget.y
      width  = widget.width
      height = 6
      properties = {
        title   = widget.title
        region  = local.region
        stat    = widget.stat
        period  = widget.period
        view    = "timeSeries"
        stacked = widget.stacked
        metrics = widget.metrics
        annotations = {
          horizontal = widget.cap && var.daily_cap_usd != "" ? [{ label = "DailyCapUsd", value = tonumber(var.daily_cap_usd) }] : []
        }
      }
    }]
  })
}
