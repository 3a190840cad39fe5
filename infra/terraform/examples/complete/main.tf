# A deployment with a daily cap, alarms by e-mail and a second bucket of reference pictures. Run
# `infra/package --arch arm64` first.

provider "aws" {
  region = "eu-west-1"
}

module "darkroom" {
  source = "../.."

  name         = "darkroom"
  architecture = "arm64"
  packages     = "${path.module}/../../../../target/lambda/arm64"

  alarm_email       = "studio@example.com"
  daily_cap_usd     = "25"
  reference_buckets = ["arn:aws:s3:::example-product-pictures"]

  tags = {
    Application = "darkroom"
    ManagedBy   = "terraform"
  }
}
