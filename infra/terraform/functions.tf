locals {
  timeout = 900 # Lambda's maximum, in seconds

  # The functions. Each receives the URLs of the queue that triggers it and of those in `sends_to`,
  # and may send to the latter. `objects` in roles.tf has the objects that it may read and write.
  functions = {
    # Turns a manifest into a plan.
    plan = {
      memory_size      = 512
      sends_to         = ["shards", "generations", "notifications"]
      calls_gemini     = false
      reads_references = true

      environment = merge(local.limits, local.events, {
        DEFAULT_MODEL        = var.default_model
        ALLOW_RETIRED_MODELS = var.allow_retired_models
        ALLOW_UNKNOWN_MODELS = var.allow_unknown_models
        HTTPS_REFERENCES     = var.allow_https_references ? "allow" : "refuse"
        MAX_ROUNDS           = var.max_rounds
        SHARD_REQUESTS       = var.shard_requests
        SHARD_TOKENS         = var.shard_tokens
      })
    }

    # Turns a shard into a batch.
    submit = {
      memory_size      = 512
      sends_to         = ["polls", "generations", "reports"]
      calls_gemini     = true
      reads_references = true

      environment = merge(local.limits, local.stack, {
        QUIET_PERIOD_MINUTES = var.quiet_period_minutes
      })
    }

    # Waits for batches to end.
    poll = {
      memory_size      = 256
      sends_to         = ["results", "reports"]
      calls_gemini     = true
      reads_references = false

      environment = {
        POLL_SHORTEST_SECONDS = var.poll_shortest_seconds
        POLL_LONGEST_SECONDS  = var.poll_longest_seconds
      }
    }

    # Turns an ended batch into images.
    collect = {
      memory_size      = 512
      sends_to         = ["shards", "generations", "reports"]
      calls_gemini     = true
      reads_references = false
      environment      = {}
    }

    # Makes images one by one, in synchronous requests.
    generate = {
      memory_size      = 512
      sends_to         = ["generations", "shards", "reports"]
      calls_gemini     = true
      reads_references = true

      environment = merge(local.limits, {
        GENERATE_IN_FLIGHT    = var.generate_in_flight
        FLEX_PATIENCE_MINUTES = var.flex_patience_minutes
      })
    }

    # Writes the status of each job, and the reports of finished jobs.
    report = {
      memory_size      = 512
      sends_to         = ["controls", "thumbnails", "notifications"]
      calls_gemini     = false
      reads_references = false

      environment = merge(local.events, {
        IMAGE_BASE_URL = var.image_base_url
      })
    }

    # Makes thumbnails.
    thumbs = {
      memory_size      = 1769 # one whole core
      sends_to         = ["reports"]
      calls_gemini     = false
      reads_references = false
      environment      = {}
    }

    # Turns a user's request into a marker, or into the release of held shards.
    control = {
      memory_size      = 256
      sends_to         = ["shards", "polls", "results", "generations", "reports"]
      calls_gemini     = false
      reads_references = false
      environment      = {}
    }

    # Sends events about jobs to other programs and to people.
    notify = {
      memory_size      = 256
      sends_to         = []
      calls_gemini     = false
      reads_references = false

      environment = merge(local.stack, {
        EVENT_BUS_NAME           = var.event_bus_name
        EVENT_TOPIC_ARN          = var.event_topic_arn
        WEBHOOK_URL              = var.webhook_url
        WEBHOOK_SECRET_PARAMETER = var.webhook_secret_name
      })
    }

    # Finds lost messages, batches and files. A schedule starts it.
    sweep = {
      memory_size      = 512
      sends_to         = ["shards", "polls", "results", "generations", "reports", "notifications"]
      calls_gemini     = true
      reads_references = false
      environment      = merge(local.stack, local.events)
    }
  }

  # The order of the chain, as in `chain`; sweep is the only function without a queue.
  function_names = concat([for queue in local.chain : local.queues[queue].function], ["sweep"])

  # The limits by which submit and generate admit work. plan sizes each batch to fit them.
  limits = {
    DAILY_CAP_USD    = var.daily_cap_usd
    GEMINI_TIER      = var.gemini_tier
    MAX_LIVE_BATCHES = var.max_live_batches
  }

  # Whether there is a target for events. The functions that announce events need to know no more.
  events = {
    ANNOUNCE_EVENTS = var.event_bus_name != "" || var.event_topic_arn != "" || var.webhook_url != ""
  }

  stack = {
    STACK = "${var.name}-${terraform_data.stack.id}"
  }

  gemini = {
    GEMINI_API_KEY_PARAMETER = coalesce(var.gemini_key_arn, var.gemini_key_name)
    GEMINI_BASE_URL          = var.gemini_base_url
  }

  # The queue that triggers each function. A function without one is missing.
  sources = { for queue, settings in local.queues : settings.function => queue }
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_158:Only names and counts are logged, no key, prompt or image; CloudWatch encrypts with its own key
  #checkov:skip=CKV_AWS_338:The retention is a variable; nothing in the logs is needed for longer than the job
  for_each = local.functions

  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days

  tags = var.tags
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_50:No X-Ray, because nothing here writes segments, and its permissions allow no resource except *
  #checkov:skip=CKV_AWS_115:No reserved concurrency, because it would turn received messages into dead letters; the template explains it
  #checkov:skip=CKV_AWS_116:Its source is a queue, which has a dead-letter queue; the next sweep makes up for a failed one
  #checkov:skip=CKV_AWS_117:No VPC, because there is nothing private to reach, and a NAT gateway would cost more than all the rest
  #checkov:skip=CKV_AWS_173:No KMS key for the environment, because it holds names and settings, and no secret
  #checkov:skip=CKV_AWS_272:No code signing, because it needs a signing profile, which the owner of the account creates
  for_each = local.functions

  function_name    = "${var.name}-${each.key}"
  role             = aws_iam_role.function[each.key].arn
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture]
  filename         = "${var.packages}/${each.key}.zip"
  source_code_hash = filebase64sha256("${var.packages}/${each.key}.zip")
  memory_size      = each.value.memory_size
  timeout          = local.timeout

  environment {
    variables = merge(
      {
        BUCKET                  = aws_s3_bucket.this.id
        POWERTOOLS_SERVICE_NAME = var.name
      },
      {
        for queue in toset(concat(each.value.sends_to, compact([lookup(local.sources, each.key, null)]))) :
        "${upper(queue)}_QUEUE_URL" => aws_sqs_queue.this[queue].url
      },
      each.value.calls_gemini ? local.gemini : {},
      each.value.environment,
    )
  }

  logging_config {
    log_group             = aws_cloudwatch_log_group.this[each.key].name
    log_format            = "JSON"
    application_log_level = var.log_level
    system_log_level      = "INFO"
  }

  tracing_config {
    mode = "PassThrough"
  }

  tags = var.tags

  # Otherwise its first invocations could lack permissions.
  depends_on = [aws_iam_role_policy.function]
}

resource "aws_lambda_function_recursion_config" "this" {
  for_each = local.functions

  function_name  = aws_lambda_function.this[each.key].function_name
  recursive_loop = "Terminate"
}

resource "aws_lambda_event_source_mapping" "this" {
  for_each = local.queues

  event_source_arn                   = aws_sqs_queue.this[each.key].arn
  function_name                      = aws_lambda_function.this[each.value.function].arn
  batch_size                         = each.value.batch_size
  maximum_batching_window_in_seconds = each.value.window
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = each.value.concurrency
  }

  tags = var.tags
}

# A failed sweep is not retried.
resource "aws_lambda_function_event_invoke_config" "sweep" {
  function_name                = aws_lambda_function.this["sweep"].function_name
  maximum_event_age_in_seconds = 1800
  maximum_retry_attempts       = 0
}

resource "aws_scheduler_schedule" "sweep" {
  #checkov:skip=CKV_AWS_297:No KMS key, because the schedule holds no secret
  name                = "${var.name}-sweep"
  schedule_expression = "rate(1 hour)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.this["sweep"].arn
    role_arn = aws_iam_role.sweep_schedule.arn

    retry_policy {
      maximum_event_age_in_seconds = 900
      maximum_retry_attempts       = 10
    }
  }

  depends_on = [aws_iam_role_policy.sweep_schedule]
}
