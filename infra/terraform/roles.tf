locals {
  # The objects of the bucket that each function may read, write and delete.
  objects = {
    plan = {
      # A manifest may name any picture in the bucket.
      read = ["*"]
      write = [
        "jobs/*/plan.lock",
        "jobs/*/models.toml",
        "jobs/*/plan.jsonl",
        "jobs/*/rows.jsonl",
        "jobs/*/validation.csv",
        "jobs/*/job.json",
        "jobs/*/_REJECTED",
        "jobs/*/_DRY_RUN",
        # The documents of a job that is canceled before it is planned.
        "jobs/*/cancel.json",
        "jobs/*/results.jsonl",
        "jobs/*/results.csv",
        "jobs/*/retry.jsonl",
        "jobs/*/summary.json",
        "jobs/*/summary.md",
        "jobs/*/index.html",
        "jobs/*/_CANCELLED",
        # Pictures from the web, and the address of each.
        "jobs/*/refs/*",
        "jobs/*/web/*.json",
        "jobs/*/shards/*/request.jsonl",
        "jobs/*/shards/*/state.json",
        "stack/contents/*.json",
        "stack/open/*",
        "stack/events/*",
      ]
      delete = ["jobs/*/_REJECTED", "stack/open/*"]
    }

    submit = {
      read = ["*"]
      write = [
        "jobs/*/refs/*.json",
        "jobs/*/shards/*/state.json",
        "stack/ledger.json",
      ]
      delete = []
    }

    poll = {
      read = [
        "jobs/*/shards/*/state.json",
        "stack/ledger.json",
        "jobs/*/cancel.json",
      ]
      write  = ["jobs/*/shards/*/state.json", "stack/ledger.json"]
      delete = []
    }

    collect = {
      read = [
        "jobs/*/plan.lock",
        "jobs/*/plan.jsonl",
        "jobs/*/cancel.json",
        "jobs/*/shards/*/keys/*.jsonl",
        "jobs/*/shards/*/results/*.jsonl",
        "jobs/*/shards/*/state.json",
        "jobs/*/models.toml",
        "stack/ledger.json",
      ]
      write = [
        "jobs/*/images/*",
        "jobs/*/unmatched/*",
        "jobs/*/shards/*/keys/*.jsonl",
        "jobs/*/shards/*/results/*.jsonl",
        "jobs/*/shards/*/state.json",
        "stack/ledger.json",
      ]
      delete = []
    }

    generate = {
      read = [
        # Reference pictures: the second folder has copies of those from the web.
        "refs/*",
        "jobs/*/refs/*",
        "jobs/*/plan.lock",
        "jobs/*/plan.jsonl",
        "jobs/*/models.toml",
        "jobs/*/cancel.json",
        "jobs/*/shards/*/request.jsonl",
        "jobs/*/shards/*/keys/*.jsonl",
        "jobs/*/shards/*/results/*.jsonl",
        "jobs/*/shards/*/state.json",
        # The caps of folders.
        "stack/folders.toml",
        "stack/ledger.json",
      ]
      write = [
        "jobs/*/refs/*.json",
        "jobs/*/images/*",
        "jobs/*/unmatched/*",
        "jobs/*/shards/*/keys/*.jsonl",
        "jobs/*/shards/*/results/*.jsonl",
        "jobs/*/shards/*/state.json",
        "stack/ledger.json",
      ]
      delete = []
    }

    report = {
      read = [
        "jobs/*/plan.lock",
        "jobs/*/models.toml",
        "jobs/*/plan.jsonl",
        "jobs/*/rows.jsonl",
        "jobs/*/job.json",
        "jobs/*/index.html",
        "jobs/*/_SUCCESS",
        "jobs/*/_PARTIAL",
        "jobs/*/_FAILED",
        "jobs/*/_CANCELLED",
        "jobs/*/_DRY_RUN",
        "jobs/*/shards/*/request.jsonl",
        "jobs/*/shards/*/keys/*.jsonl",
        "jobs/*/shards/*/results/*.jsonl",
        "jobs/*/shards/*/state.json",
        "jobs/*/shards/*/thumbs.json",
        "stack/open/*",
      ]
      write = [
        "jobs/*/job.json",
        "jobs/*/results.jsonl",
        "jobs/*/results.csv",
        "jobs/*/table.csv",
        "jobs/*/shopify.csv",
        "jobs/*/retry.jsonl",
        "jobs/*/summary.json",
        "jobs/*/summary.md",
        "jobs/*/index.html",
        "jobs/*/_SUCCESS",
        "jobs/*/_PARTIAL",
        "jobs/*/_FAILED",
        "jobs/*/_CANCELLED",
        "stack/events/*",
      ]
      delete = ["stack/open/*"]
    }

    thumbs = {
      read = [
        "jobs/*/images/*",
        "jobs/*/shards/*/results/*.jsonl",
        "jobs/*/shards/*/state.json",
        "jobs/*/shards/*/thumbs.json",
      ]
      write  = ["jobs/*/thumbs/*.jpg", "jobs/*/shards/*/thumbs.json"]
      delete = []
    }

    control = {
      read = [
        "jobs/*/plan.lock",
        "jobs/*/job.json",
        "jobs/*/cancel.json",
        "jobs/*/shards/*/state.json",
      ]
      write  = ["jobs/*/cancel.json", "jobs/*/shards/*/state.json"]
      delete = []
    }

    notify = {
      read = [
        "jobs/*/job.json",
        "jobs/*/summary.json",
        "jobs/*/events.json",
        "jobs/*/_SUCCESS",
        "jobs/*/_PARTIAL",
        "jobs/*/_FAILED",
        "jobs/*/_CANCELLED",
        "jobs/*/_REJECTED",
        "jobs/*/_DRY_RUN",
      ]
      write  = ["jobs/*/events.json"]
      delete = ["stack/events/*"]
    }

    sweep = {
      read = [
        "inbox/*",
        "jobs/*/plan.lock",
        "jobs/*/job.json",
        "jobs/*/events.json",
        "jobs/*/shards/*/state.json",
        "stack/*",
      ]
      write = [
        "stack/ledger.json",
        "stack/open/*",
        "stack/events/*",
        "jobs/*/job.json",
        "jobs/*/validation.csv",
        "jobs/*/_REJECTED",
      ]
      delete = ["jobs/*/_REJECTED", "stack/open/*"]
    }
  }
}

resource "aws_iam_role" "function" {
  for_each = local.functions

  # Roles are global, so the region keeps two deployments of the same name apart.
  name               = "${var.name}-${each.key}-${local.region}"
  assume_role_policy = data.aws_iam_policy_document.lambda.json

  tags = var.tags
}

data "aws_iam_policy_document" "lambda" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

# The comments at the functions of the template explain the permissions that are not obvious.
data "aws_iam_policy_document" "function" {
  for_each = local.functions

  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this[each.key].arn}:*"]
  }

  dynamic "statement" {
    for_each = contains(keys(local.sources), each.key) ? [local.sources[each.key]] : []

    content {
      actions = [
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ChangeMessageVisibility",
      ]
      resources = [aws_sqs_queue.this[statement.value].arn]
    }
  }

  dynamic "statement" {
    for_each = length(each.value.sends_to) > 0 ? ["send"] : []

    content {
      actions   = ["sqs:SendMessage"]
      resources = [for queue in each.value.sends_to : aws_sqs_queue.this[queue].arn]
    }
  }

  statement {
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.this.arn]
  }

  statement {
    actions   = ["s3:GetObject"]
    resources = [for key in local.objects[each.key].read : "${aws_s3_bucket.this.arn}/${key}"]
  }

  statement {
    actions   = ["s3:PutObject"]
    resources = [for key in local.objects[each.key].write : "${aws_s3_bucket.this.arn}/${key}"]
  }

  dynamic "statement" {
    for_each = length(local.objects[each.key].delete) > 0 ? ["delete"] : []

    content {
      actions   = ["s3:DeleteObject"]
      resources = [for key in local.objects[each.key].delete : "${aws_s3_bucket.this.arn}/${key}"]
    }
  }

  dynamic "statement" {
    for_each = each.value.reads_references && length(var.reference_buckets) > 0 ? ["objects"] : []

    content {
      actions   = ["s3:GetObject"]
      resources = [for arn in var.reference_buckets : "${arn}/*"]
    }
  }

  dynamic "statement" {
    for_each = each.value.reads_references && length(var.reference_buckets) > 0 ? ["buckets"] : []

    content {
      actions   = ["s3:ListBucket"]
      resources = var.reference_buckets
    }
  }

  dynamic "statement" {
    for_each = each.value.calls_gemini ? ["key"] : []

    content {
      actions   = ["ssm:GetParameter"]
      resources = [local.gemini_key_arn]
    }
  }

  dynamic "statement" {
    for_each = each.value.calls_gemini && var.gemini_key_kms_arn != "" ? ["kms"] : []

    content {
      actions   = ["kms:Decrypt"]
      resources = [var.gemini_key_kms_arn]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["ssm.${local.region}.amazonaws.com"]
      }

      condition {
        test     = "StringEquals"
        variable = "kms:EncryptionContext:PARAMETER_ARN"
        values   = [local.gemini_key_arn]
      }
    }
  }

  # The targets of events.
  dynamic "statement" {
    for_each = each.key == "notify" && var.event_bus_name != "" ? ["bus"] : []

    content {
      actions   = ["events:PutEvents"]
      resources = ["arn:${local.partition}:events:${local.region}:${local.account_id}:event-bus/${var.event_bus_name}"]
    }
  }

  dynamic "statement" {
    for_each = each.key == "notify" && var.event_topic_arn != "" ? ["topic"] : []

    content {
      actions   = ["sns:Publish"]
      resources = [var.event_topic_arn]
    }
  }

  dynamic "statement" {
    for_each = each.key == "notify" && var.webhook_url != "" ? ["secret"] : []

    content {
      actions   = ["ssm:GetParameter"]
      resources = ["arn:${local.partition}:ssm:${local.region}:${local.account_id}:parameter${var.webhook_secret_name}"]
    }
  }
}

resource "aws_iam_role_policy" "function" {
  for_each = local.functions

  name   = each.key
  role   = aws_iam_role.function[each.key].name
  policy = data.aws_iam_policy_document.function[each.key].json
}

resource "aws_iam_role" "sweep_schedule" {
  name               = "${var.name}-sweep-schedule-${local.region}"
  assume_role_policy = data.aws_iam_policy_document.scheduler.json

  tags = var.tags
}

data "aws_iam_policy_document" "scheduler" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:scheduler:${local.region}:${local.account_id}:schedule-group/default"]
    }
  }
}

data "aws_iam_policy_document" "sweep_schedule" {
  statement {
    actions   = ["lambda:InvokeFunction"]
    resources = [aws_lambda_function.this["sweep"].arn]
  }
}

resource "aws_iam_role_policy" "sweep_schedule" {
  name   = "invoke"
  role   = aws_iam_role.sweep_schedule.name
  policy = data.aws_iam_policy_document.sweep_schedule.json
}
