//! Reads a manifest on a thread that may block, and passes on what the plan is written from.

use std::{cell::RefCell, io};

use darkroom::manifest::{self, PlannedImage, SourceSet};
use tokio::sync::mpsc;

use crate::{
    check::{Good, ReadContext},
    deps::Deps,
    drop::Dropped,
    error::PlanError,
    terms::Terms,
};

/// How many pieces wait between the thread that reads the manifest and the task that writes the
/// plan. The number is small, because an image with inline pictures takes megabytes.
const CHANNEL_CAPACITY: usize = 2;

/// How many bytes of rows are passed on without an image, such as those that are skipped.
const MAX_ROW_BYTES: usize = 1 << 20;

/// A part of a manifest.
pub(crate) struct Piece {
    /// The lines of `rows.jsonl` for the rows that were read since the previous piece, if the
    /// manifest is a table.
    pub(crate) rows: Vec<u8>,
    /// The next image.
    pub(crate) image: Option<PlannedImage>,
}

/// The pieces of a manifest, in order, and the thread that reads them.
pub(crate) struct Pieces {
    pub(crate) receiver: mpsc::Receiver<Piece>,
    pub(crate) reading: tokio::task::JoinHandle<Result<(), PlanError>>,
}

/// Reads the manifest again.
pub(crate) fn read_again(deps: &Deps, dropped: &Dropped, terms: &Terms, good: Good) -> Pieces {
    let Good {
        header,
        copies,
        reading,
        ..
    } = good;
    let context = ReadContext::new(deps, dropped, terms, copies).with_lanes(reading.lanes);
    let sources = dropped.sources.clone();
    let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
    let reading = tokio::task::spawn_blocking(move || {
        // The receiver is gone if writing failed. That error is the one to report.
        let send = |piece| {
            sender
                .blocking_send(piece)
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        };
        // Rows travel with the next image: a separate message for each row would take longer than
        // reading it.
        let rows = RefCell::new(Vec::new());
        manifest::read_with_rows(
            sources.manifest()?,
            &header,
            &context.context(),
            |image| {
                send(Piece {
                    rows: rows.take(),
                    image: Some(image),
                })
            },
            |row| {
                let mut waiting = rows.borrow_mut();
                serde_json::to_writer(&mut *waiting, row)?;
                waiting.push(b'\n');
                if waiting.len() < MAX_ROW_BYTES {
                    return Ok(());
                }
                send(Piece {
                    rows: std::mem::take(&mut *waiting),
                    image: None,
                })
            },
        )?;
        // Most manifests end with an image, so nothing is left to pass on.
        let rows = rows.take();
        if !rows.is_empty() {
            send(Piece { rows, image: None }).map_err(manifest::ReadError::Sink)?;
        }
        Ok(())
    });
    Pieces { receiver, reading }
}
