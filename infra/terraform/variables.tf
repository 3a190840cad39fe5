# The variables that the template has no parameter for come first.

variable "name" {
  description = "The name of the deployment, and the beginning of the names of its resources"
  type        = string
  default     = "darkroom"
  nullable    = false

  validation {
    # The longest names made from it are those of a role, 64 characters, and of the bucket, 63.
    condition     = can(regex("^[a-z][a-z0-9-]{0,31}$", var.name))
    error_message = "name must be 1 to 32 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "packages" {
  description = "The folder with the zips of the functions, which infra/package prints: target/lambda/<architecture>"
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of all resources that can have tags"
  type        = map(string)
  default     = {}
  nullable    = false
}

# The parameters of the template.

variable "architecture" {
  description = "The processor architecture that the functions are built for"
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "bucket_name" {
  description = "The new bucket for manifests, references and images; by default <name>-<account>-<region>"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must be 3 to 63 lower-case letters, digits, dots and hyphens, or nothing."
  }
}

variable "reference_buckets" {
  description = "ARNs of further buckets that reference pictures may be read from"
  type        = list(string)
  default     = []
  nullable    = false
}

variable "gemini_key_name" {
  description = "The SSM parameter (SecureString) that holds the Gemini API key"
  type        = string
  default     = "/darkroom/gemini-api-key"
  nullable    = false

  validation {
    condition     = can(regex("^(/[A-Za-z0-9_.-]+)+$", var.gemini_key_name))
    error_message = "gemini_key_name must be the name of a parameter, beginning with a slash; never the key itself."
  }
}

variable "gemini_key_arn" {
  description = "The ARN of that parameter, if another account shares it; takes precedence over gemini_key_name"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:ssm:[a-z0-9-]+:[0-9]{12}:parameter(/[A-Za-z0-9_.-]+)+$", var.gemini_key_arn))
    error_message = "gemini_key_arn must be the ARN of an SSM parameter, or nothing."
  }
}

variable "gemini_key_kms_arn" {
  description = "The KMS key of that parameter, if it is not the account's own alias/aws/ssm"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.gemini_key_kms_arn))
    error_message = "gemini_key_kms_arn must be the ARN of a KMS key, not of an alias, or nothing."
  }
}

variable "gemini_base_url" {
  description = "The base URL of the Gemini API"
  type        = string
  default     = "https://generativelanguage.googleapis.com"
  nullable    = false

  validation {
    condition     = can(regex("^https://[A-Za-z0-9.-]+(:[0-9]+)?$|^http://127\\.0\\.0\\.1:[0-9]+$", var.gemini_base_url))
    error_message = "gemini_base_url must be an https address without a path, or an http address on 127.0.0.1 for tests."
  }
}

variable "daily_cap_usd" {
  description = "Dollars that all jobs together may spend or reserve in a day (UTC); requests above it wait. Empty for no cap"
  type        = string
  default     = ""
  nullable    = false

  validation {
    # Terraform's regular expressions have no lookahead, which the template's uses.
    condition     = can(regex("^$|^[0-9]{1,7}(\\.[0-9]{1,2})?$", var.daily_cap_usd)) && can(regex("^$|[1-9]", var.daily_cap_usd))
    error_message = "daily_cap_usd must be dollars above zero, such as 25 or 12.50, or nothing."
  }
}

variable "gemini_tier" {
  description = "The paid tier of the key's Google project, which limits the input tokens enqueued in batches"
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = contains([1, 2, 3], var.gemini_tier)
    error_message = "gemini_tier must be 1, 2 or 3."
  }
}

variable "max_live_batches" {
  description = "The maximum number of concurrent batches; choose fewer if others use the same Google project"
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.max_live_batches >= 1 && var.max_live_batches <= 100
    error_message = "max_live_batches must be 1 to 100."
  }
}

variable "image_base_url" {
  description = "Where the objects of the bucket are published, such as a CDN; fills image_url in tables. Empty for nowhere"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~%-]+)*/?$", var.image_base_url))
    error_message = "image_base_url must be an https address without query and fragment, or nothing."
  }
}

variable "event_bus_name" {
  description = "The EventBridge bus of this account and region that events about jobs are sent to. Empty for none"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^[A-Za-z0-9._/-]{1,256}$", var.event_bus_name))
    error_message = "event_bus_name must be the name of a bus, such as default, or nothing."
  }
}

variable "event_topic_arn" {
  description = "The SNS topic of this region that messages about jobs are sent to, for people. Empty for none"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.event_topic_arn))
    error_message = "event_topic_arn must be the ARN of an SNS topic, or nothing."
  }
}

variable "webhook_url" {
  description = "The address of a webhook for events about jobs. Empty for none"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^https://[A-Za-z0-9.-]+(/[^\\s#]*)?$|^http://127\\.0\\.0\\.1(:[0-9]+)?(/[^\\s#]*)?$", var.webhook_url))
    error_message = "webhook_url must be an https address without user name, port and fragment, or an http address on 127.0.0.1 for tests."
  }
}

variable "webhook_secret_name" {
  description = "The SSM parameter (SecureString) that holds the secret of the webhook"
  type        = string
  default     = "/darkroom/webhook-secret"
  nullable    = false

  validation {
    condition     = can(regex("^(/[A-Za-z0-9_.-]+)+$", var.webhook_secret_name))
    error_message = "webhook_secret_name must be the name of a parameter, beginning with a slash; never the secret itself."
  }
}

variable "default_model" {
  description = "The model for items that name none"
  type        = string
  default     = "nano-banana-2"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,99}$", var.default_model))
    error_message = "default_model must be a family such as nano-banana-2, or the full ID of a model."
  }
}

variable "allow_retired_models" {
  description = "Whether items may name a model past its shutdown date"
  type        = bool
  default     = false
  nullable    = false
}

variable "allow_unknown_models" {
  description = "Whether items may name a model that is not in the catalog; estimates then use the highest price in it"
  type        = bool
  default     = false
  nullable    = false
}

variable "allow_https_references" {
  description = "Whether references may be https addresses; plan fetches them from public hosts"
  type        = bool
  default     = false
  nullable    = false
}

variable "max_rounds" {
  description = "How many times an image is requested in total if it fails for a transient reason"
  type        = number
  default     = 3
  nullable    = false

  validation {
    condition     = var.max_rounds >= 1 && var.max_rounds <= 9
    error_message = "max_rounds must be 1 to 9."
  }
}

variable "shard_requests" {
  description = "The maximum number of requests in a batch"
  type        = number
  default     = 1000
  nullable    = false

  validation {
    condition     = var.shard_requests >= 1 && var.shard_requests <= 100000
    error_message = "shard_requests must be 1 to 100,000."
  }
}

variable "shard_tokens" {
  description = "The maximum number of input tokens in a batch; the lowest paid tier allows a million"
  type        = number
  default     = 1000000
  nullable    = false

  validation {
    condition     = var.shard_tokens >= 10000
    error_message = "shard_tokens must be at least 10,000."
  }
}

variable "submit_concurrency" {
  description = "The maximum number of shards that are submitted at the same time"
  type        = number
  default     = 4
  nullable    = false

  validation {
    condition     = var.submit_concurrency >= 2 && var.submit_concurrency <= 100
    error_message = "submit_concurrency must be 2 to 100."
  }
}

variable "collect_concurrency" {
  description = "The maximum number of batches that are collected at the same time"
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.collect_concurrency >= 2 && var.collect_concurrency <= 100
    error_message = "collect_concurrency must be 2 to 100."
  }
}

variable "generate_in_flight" {
  description = "The maximum number of synchronous requests that each of two invocations makes at the same time"
  type        = number
  default     = 8
  nullable    = false

  validation {
    condition     = var.generate_in_flight >= 1 && var.generate_in_flight <= 32
    error_message = "generate_in_flight must be 1 to 32."
  }
}

variable "flex_patience_minutes" {
  description = "How long images wait for the flex tier while Gemini has no capacity, before they change to another lane"
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.flex_patience_minutes >= 1 && var.flex_patience_minutes <= 1440
    error_message = "flex_patience_minutes must be 1 to 1,440."
  }
}

variable "poll_shortest_seconds" {
  description = "How long poll waits at first between two status requests for a batch; not above poll_longest_seconds"
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.poll_shortest_seconds >= 10
    error_message = "poll_shortest_seconds must be at least 10."
  }
}

variable "poll_longest_seconds" {
  description = "How long poll waits between two status requests once the batch has run for hours"
  type        = number
  default     = 900
  nullable    = false

  validation {
    condition     = var.poll_longest_seconds >= 180 && var.poll_longest_seconds <= 43000
    error_message = "poll_longest_seconds must be 180 to 43,000."
  }
}

variable "quiet_period_minutes" {
  description = "How long to wait, after a create call with unknown outcome, before looking for its batch"
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.quiet_period_minutes >= 20 && var.quiet_period_minutes <= 600
    error_message = "quiet_period_minutes must be 20 to 600."
  }
}

variable "log_level" {
  description = "The lowest level of the log lines that the functions write"
  type        = string
  default     = "INFO"
  nullable    = false

  validation {
    condition     = contains(["TRACE", "DEBUG", "INFO", "WARN", "ERROR"], var.log_level)
    error_message = "log_level must be TRACE, DEBUG, INFO, WARN or ERROR."
  }
}

variable "log_retention_days" {
  description = "How many days logs are kept"
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days that CloudWatch offers, such as 30, 90 or 365."
  }
}

variable "alarm_topic_arn" {
  description = "An existing SNS topic that alarms are sent to"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.alarm_topic_arn))
    error_message = "alarm_topic_arn must be the ARN of an SNS topic, or nothing."
  }
}

variable "alarm_email" {
  description = "An address that alarms are sent to; its owner must confirm the subscription"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^$|^[^@\\s]+@[^@\\s]+$", var.alarm_email))
    error_message = "alarm_email must be an e-mail address, or nothing."
  }
}

variable "enforce_conditional_writes" {
  description = "Whether S3 refuses unconditional writes of locks; false only on emulators without s3:if-match"
  type        = bool
  default     = true
  nullable    = false
}
