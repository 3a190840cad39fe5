//! Manifests: from the file that a user drops to the images that it asks for, or to every problem
//! that it has.
//!
//! The format (CSV, JSON Lines, a JSON array or a JSON envelope) is recognized by content,
//! compressed with gzip or not. So is the dialect of an item: Darkroom's own, or a line of the
//! batch files of Gemini, Vertex, OpenAI or Bedrock. One manifest may mix dialects. Nothing is
//! ignored silently: an unknown field, or one without effect, is reported with its line.
//!
//! A manifest is read twice, because an envelope may give its defaults after its items:
//! [`Header::read`] first, then [`read`]. Neither holds more than one item at a time, but [`read`]
//! also keeps a hash of each key. [`OpenedManifest::open`] combines the first read with what names
//! the job.
//!
//! The rooms: `format` splits a file into items, `dialect` reads an item's fields, `resolve` adds
//! what an item leaves out and builds its requests, and `diagnostics` collects what is wrong.

mod context;
mod diagnostics;
mod dialect;
mod format;
mod header;
mod lanes;
mod planned_image;
mod proof;
mod reader;
mod resolve;
mod schema;
mod source_set;
mod strict_json;
mod tally;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

pub use self::{
    context::{Context, Copies, Limits},
    diagnostics::{Diagnostic, Severity, validation::write_validation},
    dialect::native::request_check::RequestCheck,
    format::csv::{columns::Columns, continuation::ContinuationRows},
    header::{FlexFallback, Header, Job, Mode, RescueMode},
    lanes::{LaneChoice, Lanes},
    planned_image::{PlannedImage, REPEATED_BYTES},
    proof::{Proof, ProofImages, ProofSelection},
    resolve::sidecar::{Sidecar, StoredTemplate, TEMPLATES, metadata_name},
    schema::json_schema,
    source_set::{OpenedManifest, SourceSet},
};
pub(crate) use self::{
    format::csv::{cell, column::fold},
    header::job_document_problems,
};
use self::{format::input::Input, header::Format, reader::ItemReader};
use crate::{
    cost::{Breakdown, Estimate},
    lane::Lane,
    money::Usd,
    plan::TableRow,
};

/// The result of reading a manifest, apart from its images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The errors and warnings, in the order in which they were found. Beyond the limit they are
    /// only counted, and one more entry gives the number.
    pub problems: Vec<Diagnostic>,
    /// The number of errors, listed or not. A manifest with at least one must be rejected.
    pub errors: u64,
    /// The number of warnings, listed or not.
    pub warnings: u64,
    /// The number of items, valid or not.
    pub items: u64,
    /// The number of images that were passed to the sink.
    pub images: u64,
    /// The estimated cost of all images in their final lanes.
    pub estimate: Estimate,
    /// The most that the images can cost in their final lanes if each is requested once.
    pub ceiling_usd: Usd,
    /// The estimate by model, size and lane.
    pub breakdown: Breakdown,
    /// The lanes and the proof that another reading of the same manifest needs, in
    /// [`Context::lanes`].
    pub lanes: Lanes,
    /// The images of the proof, if the manifest asks for one that leaves other images to hold.
    pub proof: Option<ProofReading>,
    /// The names of model families that items use, each with the full id that it resolved to.
    pub aliases: BTreeMap<String, String>,
    /// The names of the stored templates that items use.
    pub templates: BTreeSet<String>,
    /// The variables that a table has columns for, in the order of the columns.
    pub columns: Vec<String>,
}

/// The images of a proof, and their cost. Both are parts of the totals of a [`Reading`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProofReading {
    /// The number of images.
    pub images: u64,
    /// The lane in which they are requested.
    pub lane: Lane,
    /// Whether the other images wait until the proof is approved.
    pub hold: bool,
    /// Their estimated cost.
    pub estimate: Estimate,
}

/// Why a manifest could not be read at all. Mistakes in its content are [`Diagnostic`]s instead.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed. Reading it again may work.
    #[error("the manifest can't be read")]
    Source(#[source] io::Error),
    /// The sink refused an image.
    #[error("a planned image can't be passed on")]
    Sink(#[source] io::Error),
}

/// Reads a manifest and passes each planned image to `sink`, in order.
///
/// Valid images are passed on even if other items have errors. Use them only if [`Reading::errors`]
/// is 0.
///
/// The lanes of images with the lane `auto`, and of those in a proof, follow from the number of all
/// images, so a first reading passes on such images in provisional lanes. The totals that it
/// returns are final. If its [`Reading::lanes`] are not final, read the manifest again with them.
///
/// # Errors
/// [`ReadError`] when the source or the sink fails. No content of a manifest is an error.
pub fn read(
    source: impl io::Read,
    header: &Header,
    context: &Context<'_>,
    mut sink: impl FnMut(PlannedImage) -> io::Result<()>,
) -> Result<Reading, ReadError> {
    read_with(source, ItemReader::new(header, context, &mut sink))
}

/// Reads a manifest like [`read`]. If it is a table, each row is passed to `rows` before the images
/// of that row are passed to `sink`: first the header, then every row that is not an empty line,
/// also those that become no item.
///
/// # Errors
/// As [`read`]. [`ReadError::Sink`] also if `rows` fails.
pub fn read_with_rows(
    source: impl io::Read,
    header: &Header,
    context: &Context<'_>,
    mut sink: impl FnMut(PlannedImage) -> io::Result<()>,
    mut rows: impl FnMut(&TableRow<'_>) -> io::Result<()>,
) -> Result<Reading, ReadError> {
    let mut reader = ItemReader::new(header, context, &mut sink);
    reader.rows = Some(&mut rows);
    read_with(source, reader)
}

fn read_with(source: impl io::Read, mut reader: ItemReader<'_>) -> Result<Reading, ReadError> {
    let (header, context) = (reader.header, reader.context);
    let read = Input::open(source, &context.limits).and_then(|mut input| {
        match read_items(&mut input, header.format, &mut reader) {
            // Counting the unread lines takes another pass over the rest, but the user learns how
            // much of the manifest remains to be checked.
            Err(Stop::Full) => reader.skip(&mut input),
            read => read,
        }
    });
    match read {
        Ok(()) => reader.is_complete = true,
        Err(Stop::Full) => {}
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

/// Why reading stops before the end of a manifest.
enum Stop {
    Source(io::Error),
    Sink(io::Error),
    /// The rest of the manifest can't be parsed.
    Diagnostic(Diagnostic),
    /// The limit of listed errors is reached.
    Full,
}

#[cfg(test)]
mod tests;
