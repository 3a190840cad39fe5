output "put_key_command" {
  description = "Stores the API key from a file; delete the file afterwards"
  value       = module.darkroom.put_key_command
}

output "drop_command" {
  description = "Starts a job"
  value       = module.darkroom.drop_command
}

output "watch_command" {
  description = "Prints the status of a job"
  value       = module.darkroom.watch_command
}

output "fetch_command" {
  description = "Downloads the images of a job"
  value       = module.darkroom.fetch_command
}
