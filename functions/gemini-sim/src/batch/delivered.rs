//! What the output of a batch really holds, line by line, whatever shape the lines have: so that a
//! test can hold what a client made of it against it. No call tells it.

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
        results::{Results, Written},
    },
    generation::{line_form::ImageForm, outcome::Outcome},
    service::Gemini,
};

/// The output of a batch as far as it is whole: a line of its file, or an inline response, each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The lines, in the order of the output.
    pub lines: Vec<DeliveredLine>,
}

/// One line of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredLine {
    /// The key of the request that it answers, whether the line carries it or not. Of a stray line,
    /// the key that it carries. `request 3` stands for the third of inline requests that have no
    /// key.
    pub key: String,
    /// Why it is there.
    pub origin: LineOrigin,
    /// Whether the line carries a key, as a text or as a number. One without can be attributed to
    /// no request.
    pub carries_key: bool,
    /// Its final image, if it holds one.
    pub image: Option<DeliveredImage>,
    /// What was billed for it, in billionths of a dollar.
    pub nanodollars: u64,
}

/// Why a line is in an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOrigin {
    /// A request asked for it.
    Request,
    /// It repeats the line of a request.
    Repetition,
    /// It is another answer to a request that was served twice.
    SecondAnswer,
    /// No request asked for it.
    Stray,
}

/// An image in an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredImage {
    /// The image as it was made. An output whose image is the URI of a file does not hold these
    /// bytes.
    pub bytes: Bytes,
    /// How the line holds it.
    pub form: ImageForm,
}

impl Gemini {
    /// What the output of a batch holds that has one by now, whatever shape it has, and whether its
    /// file is still kept or not. `batch` is `batches/<id>`. Drawing the images takes a while.
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
    /// The images that a client can find and attribute, by request key. A request that was served
    /// twice has two; what is repeated comes once.
    pub fn images(&self) -> BTreeMap<&str, BTreeSet<&Bytes>> {
        let mut images: BTreeMap<&str, BTreeSet<&Bytes>> = BTreeMap::new();
        for (line, image) in self.decodable() {
            if line.carries_key && line.origin != LineOrigin::Stray {
                images.entry(&line.key).or_default().insert(&image.bytes);
            }
        }
        images
    }

    /// The lines whose image a client can find but attribute to no request: they carry no key, or
    /// one that no request has.
    pub fn unmatched(&self) -> impl Iterator<Item = &DeliveredLine> {
        let is_unmatched =
            |line: &DeliveredLine| !line.carries_key || line.origin == LineOrigin::Stray;
        self.decodable()
            .map(|(line, _)| line)
            .filter(move |line| is_unmatched(line))
    }

    /// The lines whose image a client can't be expected to find: it is the URI of a file, or in a
    /// text.
    pub fn undecodable(&self) -> impl Iterator<Item = &DeliveredLine> {
        let is_hidden = |image: &DeliveredImage| !image.form.is_decodable();
        self.lines
            .iter()
            .filter(move |line| line.image.as_ref().is_some_and(is_hidden))
    }

    /// The lines that carry no key, with or without an image.
    pub fn without_key(&self) -> impl Iterator<Item = &DeliveredLine> {
        self.lines.iter().filter(|line| !line.carries_key)
    }

    /// What was billed for all lines, in billionths of a dollar.
    pub fn nanodollars(&self) -> u64 {
        self.lines.iter().map(|line| line.nanodollars).sum()
    }

    /// Draws the lines of a batch whose rows these are.
    ///
    /// # Errors
    /// When a request can't be read again or its picture can't be encoded.
    pub(crate) fn of(results: &Results, rows: &[Row]) -> io::Result<Self> {
        let lines = whole_lines(&results.batch, rows);
        let lines = lines
            .iter()
            .map(|written| DeliveredLine::of(results, written))
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
    fn of(results: &Results, written: &Written) -> Result<Self, BoxError> {
        let asked = results.asked(written)?;
        let image = match asked.outcome {
            Outcome::Image(rendering) => {
                let bytes = results.question(&asked).image(rendering)?.into();
                Some(DeliveredImage {
                    bytes,
                    form: asked.form.image,
                })
            }
            Outcome::Refused(_)
            | Outcome::EmptyResponse
            | Outcome::InternalError
            | Outcome::Failed(_)
            | Outcome::NoReference
            | Outcome::Unserved
            | Outcome::Missing => None,
        };
        let origin = match written {
            Written::AsAsked(_) => LineOrigin::Request,
            Written::Repeated(_) => LineOrigin::Repetition,
            Written::Again(_) => LineOrigin::SecondAnswer,
            Written::Stray(_) => LineOrigin::Stray,
        };
        let carries_key = asked.carries_key();
        Ok(Self {
            key: asked.label,
            origin,
            carries_key,
            image,
            nanodollars: written.billed(),
        })
    }
}
