//! Manifests: from the file that a person drops to the images that are expected, or to every
//! problem it has.
//!
//! CSV, JSON Lines, a JSON array and a JSON envelope are told apart by their content, gzip or not;
//! so are friendly items and lines of the batch files of Gemini, Vertex, OpenAI and Bedrock, which
//! may be mixed. Nothing is silently ignored: what isn't known, or not acted upon, is a problem
//! with a line number.
//!
//! A manifest is read twice, because an envelope may give its defaults after its items:
//! [`Header::read`] first, then [`read`]. Neither holds more than one item at a time; [`read`] also
//! remembers a hash of each key.

mod context;
mod diagnostics;
mod dialect;
mod format;
mod header;
mod planned_image;
mod reader;
mod resolve;
mod schema;
mod source_set;
mod strict_json;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

pub use self::{
    context::{Context, Copies, Limits},
    diagnostics::{Diagnostic, Severity, validation::write_validation},
    dialect::native::request_check::RequestCheck,
    format::csv::{columns::Columns, continuation::ContinuationRows},
    header::{Header, Job, Mode},
    planned_image::{PlannedImage, REPEATED_BYTES},
    resolve::sidecar::{Sidecar, StoredTemplate, TEMPLATES, metadata_name},
    schema::json_schema,
    source_set::{OpenedManifest, SourceSet},
};
use self::{format::input::Input, header::Format, reader::ItemReader};
use crate::cost::{Breakdown, Estimate, Usd};

/// What reading a manifest found, beside the images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The problems, as they were met. Beyond the limit they are counted, and one more problem says
    /// so.
    pub problems: Vec<Diagnostic>,
    /// All errors, listed or not. With one or more the manifest must be rejected.
    pub errors: u64,
    /// All warnings, listed or not.
    pub warnings: u64,
    /// Items, good or bad.
    pub items: u64,
    /// Images that were handed over.
    pub images: u64,
    /// What they will cost.
    pub estimate: Estimate,
    /// What they may cost in batches at the most, each asked for once.
    pub ceiling_usd: Usd,
    /// The same by model and size.
    pub breakdown: Breakdown,
    /// The families' names that were used, each with the full id it led to.
    pub aliases: BTreeMap<String, String>,
    /// The stored templates that were used, by the names they have in the manifest.
    pub templates: BTreeSet<String>,
    /// The variables that a table has columns for, in their order.
    pub columns: Vec<String>,
}

/// Why a manifest couldn't be read at all. What is wrong *in* it is a [`Diagnostic`].
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed: reading again may work.
    #[error("the manifest can't be read")]
    Source(#[source] io::Error),
    /// The sink refused an image.
    #[error("an expected image can't be handed over")]
    Sink(#[source] io::Error),
}

/// Reads a manifest and hands each expected image to `sink`, in order.
///
/// Good images are handed over whatever else is wrong: they count only when [`Reading::errors`] is
/// 0.
///
/// # Errors
/// [`ReadError`] when the source or the sink fails. No content of a manifest is an error.
pub fn read(
    source: impl io::Read,
    header: &Header,
    context: &Context<'_>,
    mut sink: impl FnMut(PlannedImage) -> io::Result<()>,
) -> Result<Reading, ReadError> {
    let mut reader = ItemReader::new(header, context, &mut sink);
    let read = Input::open(source, &context.limits).and_then(|mut input| {
        match read_items(&mut input, header.format, &mut reader) {
            // How much was not looked at is worth a pass over the rest: it says how much work is
            // left.
            Err(Stop::Full) => reader.skip(&mut input),
            read => read,
        }
    });
    match read {
        Ok(()) | Err(Stop::Full) => {}
        Err(Stop::Source(error)) => return Err(ReadError::Source(error)),
        Err(Stop::Sink(error)) => return Err(ReadError::Sink(error)),
        Err(Stop::Diagnostic(diagnostic)) => reader.diagnostics.push(diagnostic),
    }
    Ok(reader.finish())
}

fn read_items(
    input: &mut Input<'_>,
    format: Format,
    reader: &mut ItemReader<'_>,
) -> Result<(), Stop> {
    match format {
        Format::Table => format::csv::read(input, reader),
        Format::Lines => format::jsonl::read(input, reader),
        Format::Array | Format::Envelope => format::document::read(input, format, reader),
    }
}

/// Why reading ends before the end.
enum Stop {
    Source(io::Error),
    Sink(io::Error),
    /// What follows can't be understood.
    Diagnostic(Diagnostic),
    /// Enough errors were found: more of them would help no one.
    Full,
}

#[cfg(test)]
mod tests;
