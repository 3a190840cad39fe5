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

mod diagnostics;
mod dialect;
mod format;
mod header;
mod planned_image;
mod reader;
mod resolve;
mod schema;
mod strict_json;
mod used_templates;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use jiff::civil::Date;
use url::Url;

pub use self::{
    diagnostics::{Problem, Severity, validation::write_validation},
    dialect::native::request_check::RequestCheck,
    format::csv::{columns::Columns, continuation::ContinuationRows},
    header::{Header, Job, Mode},
    planned_image::{Expected, REPEATED_BYTES},
    resolve::sidecar::{Beside, StoredTemplate, TEMPLATES, metadata_name},
    schema::json_schema,
    used_templates::used_templates,
};
use self::{format::input::Input, header::Format, reader::Intake};
use crate::{
    cost::{Breakdown, Estimate, Usd},
    models::Catalog,
    names::ObjectUri,
    plan::BatchBounds,
};

/// What a manifest is read with.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The bucket of references that name none.
    pub bucket: &'a str,
    /// The models there are.
    pub catalog: &'a Catalog,
    /// The model of items that name none: a family's name or a full id.
    pub default_model: &'a str,
    /// The day that decides which models are live.
    pub on: Date,
    /// Whether models past their last day may be asked for.
    pub allow_retired_models: bool,
    /// What stands beside the manifest.
    pub beside: &'a Beside,
    /// Whether full ids that the catalog doesn't know may be asked for, at the price of the
    /// dearest.
    pub allow_unknown_models: bool,
    /// Where references by web address were copied to; none if those are not allowed.
    pub copies: Option<&'a Copies>,
    /// What one batch may be at most: an image that is more can't be made.
    pub bounds: &'a BatchBounds,
    /// The bounds of a manifest.
    pub limits: Limits,
}

/// Where references by web address were copied to, each without its fragment.
pub type Copies = BTreeMap<Url, ObjectUri>;

/// The bounds of a manifest, so that no file can exhaust a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole, decompressed.
    pub manifest_bytes: u64,
    /// Bytes of one line or item. A row of a table is bounded more tightly, as every cell costs
    /// memory: 4 MiB.
    pub item_bytes: u64,
    /// Images of the whole. `plan` keeps a hash of each key and path in memory.
    pub images: u64,
    /// Images of one item.
    pub variants: u32,
    /// Characters of one prompt.
    pub prompt_characters: usize,
    /// Errors, and as many warnings, that are listed. After so many errors nothing more is looked
    /// at.
    pub problems: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 2 << 30,
            item_bytes: 32 << 20,
            images: 1_000_000,
            variants: 16,
            prompt_characters: 100_000,
            problems: 10_000,
        }
    }
}

/// What reading a manifest found, beside the images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The problems, as they were met. Beyond the limit they are counted, and one more problem says
    /// so.
    pub problems: Vec<Problem>,
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

/// Why a manifest couldn't be read at all. What is wrong *in* it is a [`Problem`].
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
    mut sink: impl FnMut(Expected) -> io::Result<()>,
) -> Result<Reading, ReadError> {
    let mut intake = Intake::new(header, context, &mut sink);
    let read = Input::open(source, &context.limits).and_then(|mut input| {
        match read_items(&mut input, header.format, &mut intake) {
            // How much was not looked at is worth a pass over the rest: it says how much work is
            // left.
            Err(Stop::Full) => intake.skip(&mut input),
            read => read,
        }
    });
    match read {
        Ok(()) | Err(Stop::Full) => {}
        Err(Stop::Source(error)) => return Err(ReadError::Source(error)),
        Err(Stop::Sink(error)) => return Err(ReadError::Sink(error)),
        Err(Stop::Problem(problem)) => intake.problems.push(problem),
    }
    Ok(intake.finish())
}

fn read_items(input: &mut Input<'_>, format: Format, intake: &mut Intake<'_>) -> Result<(), Stop> {
    match format {
        Format::Table => format::csv::read(input, intake),
        Format::Lines => format::jsonl::read(input, intake),
        Format::Array | Format::Envelope => format::document::read(input, format, intake),
    }
}

/// Why reading ends before the end.
enum Stop {
    Source(io::Error),
    Sink(io::Error),
    /// What follows can't be understood.
    Problem(Problem),
    /// Enough errors were found: more of them would help no one.
    Full,
}

#[cfg(test)]
mod tests;
