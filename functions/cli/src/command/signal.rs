//! How a command that runs until it is ended gets to know of its end.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// What the shell reports of a process that Ctrl-C ended: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// Becomes true at Ctrl-C, or when the process is asked to end. Asked a second time, it ends at
/// once.
///
/// # Errors
/// When the signals can't be listened to.
pub(super) fn stopped() -> io::Result<watch::Receiver<bool>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.send_replace(true) {
                std::process::exit(INTERRUPTED);
            }
            eprintln!("Ending what is under way; Ctrl-C again ends at once.");
        }
    });
    Ok(stopped)
}
