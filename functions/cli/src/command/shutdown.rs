//! Ctrl-C and SIGTERM, for the commands that run until they are stopped.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// The exit code that a shell reports for a process that Ctrl-C ended: 128 plus the signal number.
const INTERRUPTED: i32 = 130;

/// Listens for SIGINT and SIGTERM. The returned value becomes true at the first signal, and the
/// process exits immediately at the second.
///
/// # Errors
/// Returns an error if the signal handlers can't be installed.
pub(super) fn requested() -> io::Result<watch::Receiver<bool>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let (sender, shutdown) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if sender.send_replace(true) {
                std::process::exit(INTERRUPTED);
            }
            eprintln!("Stopping. Press Ctrl-C again to stop immediately.");
        }
    });
    Ok(shutdown)
}
