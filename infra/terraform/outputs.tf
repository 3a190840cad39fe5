output "bucket_name" {
  description = "The bucket, which remains when the stack is deleted"
  value       = aws_s3_bucket.this.id
}

output "inbox_uri" {
  description = "The folder to drop manifests into"
  value       = "s3://${aws_s3_bucket.this.id}/inbox/"
}

output "put_key_command" {
  description = "Stores the API key from a file; delete the file afterwards"
  value = join(" ", compact([
    "aws ssm put-parameter --region ${local.region} --name ${var.gemini_key_name} --type SecureString",
    var.gemini_key_kms_arn != "" ? "--key-id ${var.gemini_key_kms_arn}" : "",
    "--overwrite --value file://gemini-api-key.txt",
  ]))
}

output "drop_command" {
  description = "Starts a job"
  value       = "aws s3 cp manifest.csv s3://${aws_s3_bucket.this.id}/inbox/"
}

output "watch_command" {
  description = "Prints the status of a job; `aws s3 ls` of the folder jobs/ lists the jobs"
  value       = "aws s3 cp s3://${aws_s3_bucket.this.id}/jobs/JOB/job.json -"
}

output "cancel_command" {
  description = "Cancels a job; images that are already complete are kept"
  value       = "aws s3api put-object --bucket ${aws_s3_bucket.this.id} --key control/JOB/cancel"
}

output "approve_command" {
  description = "Approves the proof of a job, or releases its held shards, which may then be paid for twice"
  value       = "aws s3api put-object --bucket ${aws_s3_bucket.this.id} --key control/JOB/approve"
}

output "fetch_command" {
  description = "Downloads the images of a job"
  value       = "aws s3 sync s3://${aws_s3_bucket.this.id}/jobs/JOB/images/ images/"
}

output "queue_urls" {
  description = "The queues in the order of the chain, then those of controls and notifications"
  value       = [for queue in local.chain : aws_sqs_queue.this[queue].url]
}

output "dead_letter_queue_urls" {
  description = "The dead-letter queues, in the same order"
  value       = [for queue in local.chain : aws_sqs_queue.dead_letters[queue].url]
}

output "dashboard_name" {
  description = "The dashboard in CloudWatch"
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}

output "log_groups" {
  description = "The log groups of the functions in the order of the chain, then those of control, notify and sweep"
  value       = [for function in local.function_names : aws_cloudwatch_log_group.this[function].name]
}
