locals {
  # The queues, with the function that each one triggers and the settings of its event source
  # mapping. Terraform sorts the keys of a map, so the order of the chain is in `chain`.
  chain = ["manifests", "shards", "polls", "results", "generations", "reports", "thumbnails", "controls", "notifications"]
  queues = {
    manifests     = { function = "plan", batch_size = 1, window = 0, concurrency = 2, max_receives = 100 }
    shards        = { function = "submit", batch_size = 1, window = 0, concurrency = var.submit_concurrency, max_receives = 1000 }
    polls         = { function = "poll", batch_size = 10, window = 0, concurrency = 2, max_receives = 1000 }
    results       = { function = "collect", batch_size = 1, window = 0, concurrency = var.collect_concurrency, max_receives = 1000 }
    generations   = { function = "generate", batch_size = 1, window = 0, concurrency = 2, max_receives = 1000 }
    reports       = { function = "report", batch_size = 1000, window = 5, concurrency = 2, max_receives = 100 }
    thumbnails    = { function = "thumbs", batch_size = 1, window = 0, concurrency = 4, max_receives = 100 }
    controls      = { function = "control", batch_size = 1, window = 0, concurrency = 2, max_receives = 100 }
    notifications = { function = "notify", batch_size = 10, window = 0, concurrency = 2, max_receives = 100 }
  }

  # The queues that S3 notifies, with the folder whose objects it reports.
  notified = {
    manifests = "inbox/"
    controls  = "control/"
  }

  two_weeks = 1209600 # SQS's maximum, in seconds
}

resource "aws_sqs_queue" "this" {
  #checkov:skip=CKV_AWS_27:sqs_managed_sse_enabled encrypts, but the check ignores it; S3 could not use the AWS-managed KMS key
  for_each = local.queues

  name                       = "${var.name}-${each.key}"
  message_retention_seconds  = local.two_weeks
  visibility_timeout_seconds = 6 * local.timeout
  sqs_managed_sse_enabled    = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[each.key].arn
    maxReceiveCount     = each.value.max_receives
  })

  tags = var.tags
}

resource "aws_sqs_queue" "dead_letters" {
  #checkov:skip=CKV_AWS_27:as for the other queues
  for_each = local.queues

  name                      = "${var.name}-${each.key}-dead"
  message_retention_seconds = local.two_weeks
  sqs_managed_sse_enabled   = true

  tags = var.tags
}

# A separate resource, because each queue refers to its dead letters already.
resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  for_each = local.queues

  queue_url = aws_sqs_queue.dead_letters[each.key].id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.this[each.key].arn]
  })
}

data "aws_iam_policy_document" "queue" {
  for_each = local.queues

  dynamic "statement" {
    for_each = contains(keys(local.notified), each.key) ? [each.key] : []

    content {
      sid       = "OurBucketOnly"
      actions   = ["sqs:SendMessage"]
      resources = [aws_sqs_queue.this[each.key].arn]

      principals {
        type        = "Service"
        identifiers = ["s3.amazonaws.com"]
      }

      condition {
        test     = "ArnEquals"
        variable = "aws:SourceArn"
        values   = [aws_s3_bucket.this.arn]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account_id]
      }
    }
  }

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [aws_sqs_queue.this[each.key].arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "this" {
  for_each = local.queues

  queue_url = aws_sqs_queue.this[each.key].id
  policy    = data.aws_iam_policy_document.queue[each.key].json
}

data "aws_iam_policy_document" "dead_letters" {
  for_each = local.queues

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [aws_sqs_queue.dead_letters[each.key].arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "dead_letters" {
  for_each = local.queues

  queue_url = aws_sqs_queue.dead_letters[each.key].id
  policy    = data.aws_iam_policy_document.dead_letters[each.key].json
}
