//! Estimates agree with published totals: 10,000 images of 1K at the prices of 23 March 2026.
//!
//! The published totals are $670 and $340 for 3.1 Flash Image, and $1,340 and $670 for 3 Pro Image,
//! interactive and in batches. They multiply the price of one image as the price page prints it,
//! rounded to a tenth of a cent, and exclude input tokens and thinking tokens. A bill counts
//! tokens, so it differs by that rounding: 1,120 tokens cost $0.0672 where the page prints $0.067.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use darkroom::{
    batch_bounds::BatchBounds,
    billing::Charge,
    cost::{Estimate, Usage},
    lane::Lane,
    manifest::{self, Context, Header, Limits, Sidecar},
    models::Catalog,
    money::Usd,
};

const IMAGES: u64 = 10_000;

/// The model, and the price of [`IMAGES`] images, interactive and in batches: as published, and
/// computed from tokens.
const PUBLISHED: [(&str, [&str; 2], [&str; 2]); 2] = [
    (
        "gemini-3.1-flash-image-preview",
        ["670", "340"],
        ["672", "336"],
    ),
    (
        "gemini-3-pro-image-preview",
        ["1340", "670"],
        ["1344", "672"],
    ),
];

fn catalog() -> Catalog {
    Catalog::parse(include_str!("prices/2026-03-23.toml")).unwrap()
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

/// The number of images and the estimate of a manifest of [`IMAGES`] images of `model` on that day.
fn estimated(model: &str, prompt: &str) -> (u64, Estimate) {
    let catalog = catalog();
    let sidecar = Sidecar::default();
    let context = Context {
        bucket: "studio",
        catalog: &catalog,
        default_model: model,
        on: "2026-03-23".parse().unwrap(),
        allow_retired_models: false,
        allowed_models: None,
        allow_unknown_models: false,
        sidecar: &sidecar,
        copies: None,
        bounds: BatchBounds::none(),
        limits: Limits::default(),
        lanes: None,
    };
    let line = |number| format!(r#"{{"key":"k{number}","prompt":"{prompt}","image_size":"1K"}}"#);
    let text: String = (0..IMAGES).map(|number| line(number) + "\n").collect();
    let header = Header::read(text.as_bytes(), &context).unwrap();
    let reading = manifest::read(text.as_bytes(), &header, &context, |_| Ok(())).unwrap();
    assert_eq!(
        (reading.errors, reading.warnings),
        (0, 0),
        "{:?}",
        reading.problems
    );
    assert_eq!(reading.breakdown.of_model(model), reading.estimate);
    (reading.images, reading.estimate)
}

#[test]
fn ten_thousand_images_are_estimated_at_the_published_price_and_their_prompts() {
    for (model, [interactive, batch], _) in PUBLISHED {
        // Forty letters are ten tokens.
        let (images, estimate) = estimated(model, "a red stone on a white table, lit softly");
        let catalog = catalog();
        let rates = catalog.model(model).unwrap();
        let input = |rates: &darkroom::models::Rates| rates.input.per_million(10) * IMAGES;
        assert_eq!(images, IMAGES);
        assert_eq!(
            estimate.interactive_usd,
            usd(interactive) + input(&rates.standard),
            "{model}"
        );
        assert_eq!(
            estimate.batch_usd,
            usd(batch) + input(&rates.batch),
            "{model}"
        );
    }
}

#[test]
fn ten_thousand_images_are_billed_by_their_tokens() {
    let usage = Usage {
        prompt_tokens: 0,
        output_image_tokens: 1120,
        output_text_tokens: 0,
        thought_tokens: 0,
    };
    for (model, [printed, printed_batch], [interactive, batch]) in PUBLISHED {
        let one = Charge::of(&usage, catalog().model(model).unwrap(), Lane::Batch);
        assert_eq!(
            (one.interactive * IMAGES, one.actual * IMAGES),
            (usd(interactive), usd(batch)),
            "{model}"
        );
        // The printed price of an image is that, rounded to a tenth of a cent.
        for (exact, printed) in [(one.interactive, printed), (one.actual, printed_batch)] {
            assert_eq!(
                exact.dollars().round_dp(3),
                (usd(printed).dollars() / rust_decimal::Decimal::from(IMAGES))
            );
        }
    }
}

#[test]
fn these_prices_have_not_changed_since() {
    let today = Catalog::built_in();
    for (model, ..) in PUBLISHED {
        let then = catalog();
        let then = then.model(model).unwrap();
        let now = today.model(model.trim_end_matches("-preview")).unwrap();
        assert_eq!(
            (&then.standard, &then.batch),
            (&now.standard, &now.batch),
            "{model}"
        );
        let (one, other) = (
            then.size(Some("1K")).unwrap(),
            now.size(Some("1K")).unwrap(),
        );
        assert_eq!(
            (one.tokens, one.standard, one.batch),
            (other.tokens, other.standard, other.batch),
            "{model}"
        );
    }
}
