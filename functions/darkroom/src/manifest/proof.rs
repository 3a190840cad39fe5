//! A proof: a few images of a job that are made first, so that a user can look at them before the
//! rest is bought.
//!
//! ```json
//! {"count": 4, "sample": "spread", "lane": "interactive", "hold": true}
//! ```

mod selection;

use serde_json::value::RawValue;

pub use self::selection::ProofSelection;
pub(super) use self::selection::{MAX_SAMPLES, next_stride};
use super::{
    diagnostics::{ItemDiagnostics, quote, quote_json},
    dialect::{field::bad_name, item},
    strict_json,
};
use crate::{lane::Lane, models::nearest};

/// The most images that `count` may ask for, and the most keys. A user looks at each image.
const MAX_IMAGES: u64 = 100;

const FIELDS: [&str; 5] = ["count", "keys", "sample", "lane", "hold"];

/// The proof that a manifest asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Which images are in it.
    pub images: ProofImages,
    /// The lane in which they are requested.
    pub lane: Lane,
    /// Whether the other images wait until the proof is approved.
    pub hold: bool,
}

/// Which images are in a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofImages {
    /// The first images of the manifest, 1 to 100.
    First(u64),
    /// Evenly spaced images, 1 to 100. The first and the last one are among them.
    Spread(u64),
    /// The images with these keys, 1 to 100. The key of an item means all its images.
    Keys(Vec<String>),
}

impl Proof {
    /// Reads `job.proof`. `None` if it is null or has errors.
    pub(super) fn read(text: &str, diagnostics: &mut ItemDiagnostics) -> Option<Self> {
        if text == "null" {
            return None;
        }
        if !text.starts_with('{') {
            let message = format!(
                "job.proof must be an object such as {{\"count\": 4}}, not {}",
                quote_json(text)
            );
            diagnostics.error("bad_value", message);
            return None;
        }

        // The errors of all fields are reported together.
        let mut found = ItemDiagnostics::default();
        let (mut count, mut keys, mut sample, mut lane, mut hold) = (None, None, None, None, None);
        for (name, value) in strict_json::members_of("job.proof", text, &mut found) {
            let value = value.get();
            match name.as_ref() {
                "count" => count = read_count(value, &mut found),
                "keys" => keys = read_keys(value, &mut found),
                "sample" => sample = Sample::read(value, &mut found),
                "lane" => lane = read_lane(value, &mut found),
                "hold" => {
                    hold = item::read("job.proof.hold", value, "true or false", &mut found);
                }
                _ => {
                    let (code, message) = bad_name(&name, FIELDS.into_iter());
                    found.error(code, format!("in job.proof: {message}"));
                }
            }
        }

        // The members must go together.
        let images = match (count, keys) {
            (Some(_), Some(_)) => {
                found.error(
                    "bad_value",
                    "job.proof has count and keys, and each of them decides the images: keep one",
                );
                None
            }
            (None, Some(_)) if sample.is_some() => {
                found.error(
                    "bad_value",
                    "job.proof.sample has no effect on keys: remove it",
                );
                None
            }
            (Some(count), None) => Some(match sample.unwrap_or_default() {
                Sample::First => ProofImages::First(count),
                Sample::Spread => ProofImages::Spread(count),
            }),
            (None, Some(keys)) => Some(ProofImages::Keys(keys)),
            (None, None) => {
                // A wrong value has been reported.
                if !found.failed() {
                    found.error(
                        "bad_value",
                        "job.proof names no images: add count, such as {\"count\": 4}, or keys",
                    );
                }
                None
            }
        };
        let failed = found.failed();
        diagnostics.adopt(found, "job");
        Some(Self {
            images: images.filter(|_| !failed)?,
            lane: lane.unwrap_or(Lane::Interactive),
            hold: hold.unwrap_or(true),
        })
    }
}

/// Which images `count` means.
#[derive(Clone, Copy, Debug, Default)]
enum Sample {
    #[default]
    First,
    Spread,
}

impl Sample {
    fn read(value: &str, diagnostics: &mut ItemDiagnostics) -> Option<Self> {
        let expected = "\"first\" or \"spread\"";
        let sample: Option<String> = item::read("job.proof.sample", value, expected, diagnostics);
        match sample?.as_str() {
            "first" => Some(Self::First),
            "spread" => Some(Self::Spread),
            other => {
                let message = format!("job.proof.sample must be {expected}, not {}", quote(other));
                diagnostics.error("bad_value", message);
                None
            }
        }
    }
}

fn read_count(value: &str, diagnostics: &mut ItemDiagnostics) -> Option<u64> {
    let expected = "a whole number from 1 to 100";
    let count: u64 = item::read_whole("job.proof.count", value, expected, diagnostics)?;
    if (1..=MAX_IMAGES).contains(&count) {
        return Some(count);
    }
    let message = format!("job.proof.count must be {expected}, not {count}");
    diagnostics.error("bad_value", message);
    None
}

fn read_keys(value: &str, diagnostics: &mut ItemDiagnostics) -> Option<Vec<String>> {
    if value == "null" {
        return None;
    }
    let list: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
    if !(1..=MAX_IMAGES).contains(&(list.len() as u64)) {
        let message = format!(
            "job.proof.keys must be a list of 1 to {MAX_IMAGES} keys, not {}",
            quote_json(value)
        );
        diagnostics.error("bad_value", message);
        return None;
    }
    list.into_iter()
        .map(|key| match key.get() {
            "null" => {
                diagnostics.error("bad_value", "job.proof.keys has the key null: remove it");
                None
            }
            key => item::read_key("each of job.proof.keys", key, diagnostics),
        })
        .collect()
}

/// Reads the lane of the proof. It can't be `auto`, because the time limit is about the whole job.
fn read_lane(value: &str, diagnostics: &mut ItemDiagnostics) -> Option<Lane> {
    let expected = "batch, flex or interactive";
    let lane: String = item::read("job.proof.lane", value, expected, diagnostics)?;
    let read = lane.parse().ok();
    if read.is_none() {
        let hint = match nearest(&lane, Lane::ALL.map(Lane::name)).first() {
            Some(near) => format!(": did you mean {near}?"),
            None => String::new(),
        };
        let message = format!(
            "job.proof.lane must be {expected}, not {}{hint}",
            quote(&lane)
        );
        diagnostics.error("bad_value", message);
    }
    read
}
