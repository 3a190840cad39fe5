# Darkroom's stack as a Terraform module. It creates what infra/template.yaml creates, and
# tests/terraform.py compares the two. The template gives the reason for each setting. The comments
# here explain what is particular to Terraform.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  # Provider 6 deprecates `name`, and provider 5 lacks `region`. Both have `id`.
  region = data.aws_region.current.id

  gemini_key_arn = coalesce(
    var.gemini_key_arn,
    "arn:${local.partition}:ssm:${local.region}:${local.account_id}:parameter${var.gemini_key_name}",
  )
}

# Terraform generates the ID once for each deployment and keeps it in the state. With the name, it is
# the prefix by which submit and sweep recognize the batches of this deployment. If it changed, they
# would take the running batches for those of another one.
resource "terraform_data" "stack" {}
