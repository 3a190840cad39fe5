resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18:An access log needs a second bucket; teams that want one can use CloudTrail data events
  #checkov:skip=CKV_AWS_144:Replication needs a second bucket in another region; the images can be downloaded
  #checkov:skip=CKV_AWS_145:S3's own key encrypts; a KMS key would cost a call per image, and would protect against no caller that the bucket policy admits
  bucket = coalesce(var.bucket_name, "${var.name}-${local.account_id}-${local.region}")

  tags = var.tags

  # The images and the states outlive the deployment. infra/terraform/README.md explains how to
  # destroy everything else.
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  rule {
    id     = "earlier-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 90
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "words-to-jobs"
    status = "Enabled"

    filter {
      prefix = "control/"
    }

    expiration {
      days = 30
    }
  }

  # S3 accepts rules about earlier versions only for a bucket that keeps them.
  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_notification" "this" {
  bucket = aws_s3_bucket.this.id

  dynamic "queue" {
    for_each = local.notified

    content {
      queue_arn     = aws_sqs_queue.this[queue.key].arn
      events        = ["s3:ObjectCreated:*"]
      filter_prefix = queue.value
    }
  }

  # S3 checks its permission to send to the queues.
  depends_on = [aws_sqs_queue_policy.this]
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]

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

  statement {
    sid     = "NoFunctionWritesWhatPeopleWrite"
    effect  = "Deny"
    actions = ["s3:PutObject"]
    resources = [
      "${aws_s3_bucket.this.arn}/inbox/*",
      "${aws_s3_bucket.this.arn}/control/*",
      "${aws_s3_bucket.this.arn}/stack/models.toml",
      "${aws_s3_bucket.this.arn}/stack/folders.toml",
    ]

    principals {
      type        = "AWS"
      identifiers = [for role in aws_iam_role.function : role.arn]
    }
  }

  statement {
    sid     = "NoFunctionDeletes"
    effect  = "Deny"
    actions = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
    not_resources = [
      "${aws_s3_bucket.this.arn}/jobs/*/_REJECTED",
      "${aws_s3_bucket.this.arn}/stack/open/*",
      "${aws_s3_bucket.this.arn}/stack/events/*",
    ]

    principals {
      type        = "AWS"
      identifiers = [for role in aws_iam_role.function : role.arn]
    }
  }

  dynamic "statement" {
    for_each = var.enforce_conditional_writes ? ["LocksByConditionOnly"] : []

    content {
      sid     = statement.value
      effect  = "Deny"
      actions = ["s3:PutObject"]
      resources = [
        "${aws_s3_bucket.this.arn}/jobs/*/shards/*/state.json",
        "${aws_s3_bucket.this.arn}/jobs/*/cancel.json",
        "${aws_s3_bucket.this.arn}/jobs/*/events.json",
        "${aws_s3_bucket.this.arn}/jobs/*/models.toml",
        "${aws_s3_bucket.this.arn}/jobs/*/refs/*.json",
        "${aws_s3_bucket.this.arn}/jobs/*/web/*.json",
        "${aws_s3_bucket.this.arn}/stack/contents/*.json",
        "${aws_s3_bucket.this.arn}/stack/ledger.json",
      ]

      principals {
        type        = "AWS"
        identifiers = [for role in aws_iam_role.function : role.arn]
      }

      condition {
        test     = "Null"
        variable = "s3:if-match"
        values   = ["true"]
      }

      condition {
        test     = "Null"
        variable = "s3:if-none-match"
        values   = ["true"]
      }
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = data.aws_iam_policy_document.bucket.json
}
