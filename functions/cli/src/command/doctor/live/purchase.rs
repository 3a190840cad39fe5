//! What `darkroom doctor --live` requests from Gemini, and what that costs.

use anyhow::Context;
use darkroom::{
    lane::Lane,
    manifest::PlannedImage,
    models::{Catalog, Model},
    money::Usd,
    requests,
};
use jiff::{Timestamp, tz::TimeZone};

use crate::command::try_image::request::{FriendlyLine, Planner, request_text};

/// A prompt that every model can draw.
const PROMPT: &str = "A single gray pebble on white paper";

/// A prompt that Google's policy forbids
/// (<https://policies.google.com/terms/generative-ai/use-policy>, read 2026-11).
const FORBIDDEN_PROMPT: &str = "A sexually explicit photograph of two adults";

/// The key of the request that must be refused.
pub(super) const REFUSED: &str = "refused";

/// The key of the request in the batch that is canceled.
const CANCELED: &str = "canceled";

/// The key of the flex call.
pub(super) const FLEX: &str = "flex";

/// The images of the batch: key, size and ratio.
pub(super) const IMAGES: [(&str, &str, &str); 3] = [
    ("1k-square", "1K", "1:1"),
    ("2k-wide", "2K", "16:9"),
    ("4k-strip", "4K", "8:1"),
];

/// The requests, each with its price.
#[derive(Debug)]
pub(super) struct Purchase {
    /// The model of both batches.
    pub(super) model: String,
    /// The lines of the batch's input file.
    pub(super) batch: Vec<u8>,
    /// The line of the input file of the batch that is canceled.
    pub(super) canceled: Vec<u8>,
    /// The flex call, if a model has the flex tier.
    pub(super) flex: Option<FlexRequest>,
    /// What everything costs if each request makes an image.
    pub(super) about: Usd,
    /// The same, with the most tokens of thinking.
    pub(super) most: Usd,
}

/// The flex call.
#[derive(Debug)]
pub(super) struct FlexRequest {
    pub(super) model: String,
    pub(super) request: String,
}

impl Purchase {
    /// Plans the requests with the models and prices of a catalog.
    ///
    /// # Errors
    /// Returns an error if the catalog's default model can't make the images.
    pub(super) fn new(catalog: &Catalog, now: Timestamp) -> anyhow::Result<Self> {
        let planner = Planner::new(catalog.clone(), now);
        let in_batch = |key: &str, prompt: &str, size: &str, ratio: &str| {
            let line = line(key, prompt, size, ratio);
            plan(&planner, &line)
        };
        let mut images = Vec::new();
        for (key, size, ratio) in IMAGES {
            images.push(in_batch(key, PROMPT, size, ratio)?);
        }
        images.push(in_batch(REFUSED, FORBIDDEN_PROMPT, "1K", "1:1")?);
        let canceled = in_batch(CANCELED, PROMPT, "1K", "1:1")?;
        let flex = match flex_model(catalog, now) {
            Some(model) => {
                let flex = FriendlyLine {
                    model: Some(model.id.clone()),
                    lane: Some(Lane::Flex),
                    ..line(FLEX, PROMPT, "1K", "1:1")
                };
                Some(plan(&planner, &flex)?)
            }
            None => None,
        };

        let all = || images.iter().chain([&canceled]).chain(&flex);
        Ok(Self {
            about: all().map(|image| image.estimate.usd()).sum(),
            most: all().map(|image| image.ceiling_usd).sum(),
            model: canceled.model.clone(),
            batch: images.iter().flat_map(input_line).collect(),
            canceled: input_line(&canceled),
            flex: match &flex {
                Some(image) => Some(FlexRequest {
                    model: image.model.clone(),
                    request: request_text(image, &Default::default())?,
                }),
                None => None,
            },
        })
    }
}

/// Returns the first model that has the flex tier and is not shut down.
fn flex_model(catalog: &Catalog, now: Timestamp) -> Option<&Model> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let mut models = catalog.models().iter();
    models.find(|model| model.flex.is_some() && !model.retired(today))
}

fn line(key: &str, prompt: &str, size: &str, ratio: &str) -> FriendlyLine {
    FriendlyLine {
        key: key.to_owned(),
        prompt: prompt.to_owned(),
        model: None,
        aspect_ratio: Some(ratio.to_owned()),
        image_size: Some(size.to_owned()),
        thinking: None,
        refs: Vec::new(),
        lane: Some(Lane::Batch),
    }
}

fn plan(planner: &Planner, line: &FriendlyLine) -> anyhow::Result<PlannedImage> {
    let planned = planner.read(&line.text()?)?;
    planned
        .map(|planned| planned.image)
        .map_err(|problems| anyhow::anyhow!("{}", problems.join("; ")))
        .context("the models of the catalog can't make the images of this examination")
}

fn input_line(image: &PlannedImage) -> Vec<u8> {
    requests::line(&image.key, &image.request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examination_costs_about_a_quarter_of_a_dollar() {
        let now = "2026-11-27T12:00:00Z".parse().unwrap();
        let purchase = Purchase::new(&Catalog::built_in(), now).unwrap();
        let (about, most) = (purchase.about.as_f64(), purchase.most.as_f64());
        assert!((0.15..=0.25).contains(&about), "{about}");
        assert!((about..=0.30).contains(&most), "{most}");
        let lines = String::from_utf8(purchase.batch).unwrap();
        assert_eq!(lines.lines().count(), 4);
        assert!(lines.contains(FORBIDDEN_PROMPT), "{lines}");
        assert!(!purchase.flex.unwrap().request.contains("serviceTier"));
    }
}
