//! What a batch's output contains, line by line and whatever the form of the lines, so that a test
//! can compare what a client made of it. No API call returns this.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use bytes::Bytes;
use seam::transport::BoxError;

use crate::{
    batch::{
        input::Row,
        output_file::whole_lines,
        results::{OutputLine, Results},
    },
    generation::{line_form::ImageForm, outcome::RequestOutcome},
    service::Gemini,
};

/// The complete lines of a batch's output: lines of its file, or inline responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The lines, in the order of the output.
    pub lines: Vec<DeliveredLine>,
}

/// One line of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredLine {
    /// The key of the request that the line answers, whether or not the line carries it. For a
    /// stray line, the key that it carries. For the third of the inline requests without keys,
    /// `request 3`.
    pub key: String,
    /// Why the line is in the output.
    pub origin: LineOrigin,
    /// Whether the line carries a key, as a string or as a number. A line without one can't be
    /// attributed to a request.
    pub carries_key: bool,
    /// The final image, if the line has one.
    pub image: Option<DeliveredImage>,
    /// What was billed for the line, in billionths of a dollar.
    pub nanodollars: u64,
}

/// Why a line is in an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOrigin {
    /// It is the answer to a request.
    Request,
    /// It repeats the line of a request.
    Repetition,
    /// It is a second answer to a request that was served twice.
    SecondAnswer,
    /// It answers no request.
    Stray,
}

/// An image in an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredImage {
    /// The image as it was made. If the line refers to the image by a file URI, the output does not
    /// contain these bytes.
    pub bytes: Bytes,
    /// How the line holds the image.
    pub form: ImageForm,
}

impl Gemini {
    /// Returns what the batch's current output contains, whatever its form, and even if its file
    /// has expired. `batch` is `batches/<id>`. Drawing the images takes a while.
    ///
    /// # Errors
    /// When there is no such batch, or the state folder can't be read.
    pub fn delivered(&self, batch: &str) -> io::Result<Delivered> {
        let now = self.clock.now();
        let id = batch.strip_prefix("batches/").unwrap_or(batch);
        let batch = self.batches.find(id).map_err(|_| io::ErrorKind::NotFound)?;
        if !batch.has_output(now) {
            return Ok(Delivered::default());
        }
        let rows = self.batches.rows(&batch, now)?;
        Delivered::of(&self.results(batch).map_err(io::Error::other)?, &rows)
    }
}

impl Delivered {
    /// Returns the images that a client can decode and attribute, by request key. A request that
    /// was served twice has two; a repeated line counts once.
    pub fn images(&self) -> BTreeMap<&str, BTreeSet<&Bytes>> {
        let mut images: BTreeMap<&str, BTreeSet<&Bytes>> = BTreeMap::new();
        for (line, image) in self.decodable() {
            if line.carries_key && line.origin != LineOrigin::Stray {
                images.entry(&line.key).or_default().insert(&image.bytes);
            }
        }
        images
    }

    /// Returns the lines whose image a client can decode but not attribute: they carry no key, or
    /// one that no request has.
    pub fn unmatched(&self) -> impl Iterator<Item = &DeliveredLine> {
        let is_unmatched =
            |line: &DeliveredLine| !line.carries_key || line.origin == LineOrigin::Stray;
        self.decodable()
            .map(|(line, _)| line)
            .filter(move |line| is_unmatched(line))
    }

    /// Returns the lines whose image a client can't be expected to decode: it is a file URI or part
    /// of a text.
    pub fn undecodable(&self) -> impl Iterator<Item = &DeliveredLine> {
        let is_hidden = |image: &DeliveredImage| !image.form.is_decodable();
        self.lines
            .iter()
            .filter(move |line| line.image.as_ref().is_some_and(is_hidden))
    }

    /// Returns the lines that carry no key, with or without an image.
    pub fn without_key(&self) -> impl Iterator<Item = &DeliveredLine> {
        self.lines.iter().filter(|line| !line.carries_key)
    }

    /// Returns what was billed for all lines, in billionths of a dollar.
    pub fn nanodollars(&self) -> u64 {
        self.lines.iter().map(|line| line.nanodollars).sum()
    }

    /// Resolves the lines of a batch with these rows.
    ///
    /// # Errors
    /// When a request can't be read again or its image can't be encoded.
    pub(crate) fn of(results: &Results, rows: &[Row]) -> io::Result<Self> {
        let lines = whole_lines(&results.batch, rows);
        let lines = lines
            .iter()
            .map(|output_line| DeliveredLine::of(results, output_line))
            .collect::<Result<_, BoxError>>();
        Ok(Self {
            lines: lines.map_err(io::Error::other)?,
        })
    }

    fn decodable(&self) -> impl Iterator<Item = (&DeliveredLine, &DeliveredImage)> {
        let images = self
            .lines
            .iter()
            .filter_map(|line| Some((line, line.image.as_ref()?)));
        images.filter(|(_, image)| image.form.is_decodable())
    }
}

impl DeliveredLine {
    fn of(results: &Results, output_line: &OutputLine) -> Result<Self, BoxError> {
        let resolved = results.resolve(output_line)?;

        // Only an image outcome has an image. Interim images don't count.
        let image = match resolved.outcome {
            RequestOutcome::Image(rendering) => {
                let bytes = results.context(&resolved).image(rendering)?.into();
                Some(DeliveredImage {
                    bytes,
                    form: resolved.form.image,
                })
            }
            RequestOutcome::Refused(_)
            | RequestOutcome::EmptyResponse
            | RequestOutcome::InternalError
            | RequestOutcome::Failed(_)
            | RequestOutcome::NoReference
            | RequestOutcome::Unserved
            | RequestOutcome::Missing => None,
        };

        // The origin follows from the kind of output line.
        let origin = match output_line {
            OutputLine::Requested(_) => LineOrigin::Request,
            OutputLine::Repeated(_) => LineOrigin::Repetition,
            OutputLine::SecondAnswer(_) => LineOrigin::SecondAnswer,
            OutputLine::Stray(_) => LineOrigin::Stray,
        };
        let carries_key = resolved.carries_key();
        Ok(Self {
            key: resolved.label,
            origin,
            carries_key,
            image,
            nanodollars: output_line.billed(),
        })
    }
}
