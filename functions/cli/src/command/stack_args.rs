//! The arguments of the commands that look at jobs.

use std::path::PathBuf;

use clap::Args;

use super::SettingsArgs;

/// Which jobs a command is about: those of a folder or of a deployment.
#[derive(Debug, Args)]
pub(super) struct StackArgs {
    /// The folder that holds the local bucket and all state.
    #[arg(long, value_name = "DIR", default_value = "darkroom-out")]
    pub(super) out: PathBuf,
    /// The bucket of a deployment that runs the jobs, instead of a folder. Uses your AWS
    /// credentials.
    #[arg(long, value_name = "NAME", conflicts_with = "out")]
    pub(super) bucket: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The name of the job, or any unambiguous beginning of it. Default: all jobs.
    pub(super) job: Option<String>,
    /// Print the stored documents as JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) stack: StackArgs,
}

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// The name of the job, or any unambiguous beginning of it. `darkroom check` prints the name
    /// that a manifest will have.
    pub(super) job: String,
    #[command(flatten)]
    pub(super) stack: StackArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReviewArgs {
    /// The name of the job to show first, or any unambiguous beginning of it. Default: the list of
    /// jobs.
    pub(super) job: Option<String>,
    /// The port of the page on 127.0.0.1. 0 chooses a free port.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(super) port: u16,
    #[command(flatten)]
    pub(super) stack: StackArgs,
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}

/// Reads the name of a stack, by the rule of CloudFormation.
pub(super) fn stack_name(text: &str) -> Result<String, String> {
    let is_name = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.len() <= 128
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("expected letters, digits and hyphens, and a letter first".to_owned())
    }
}
