//! `darkroom doctor`: finds out in the user's own accounts what can't be proved on one machine.

mod live;
mod report;
mod stack;

use super::{DoctorArgs, Exit};

/// Runs `darkroom doctor`.
pub(super) fn doctor(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match &args.stack {
            Some(stack) => stack::examine(args, stack).await,
            None => live::examine(args).await,
        }
    })
}
