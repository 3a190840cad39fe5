//! Tests of whole manifests.

mod bounds;
mod dialects;
mod flat;
mod lanes;
mod native_requests;
mod round_trip;
mod rows;
mod rules;
mod samples;
mod tables;
mod wire;

use std::sync::LazyLock;

use jiff::civil::date;

use super::*;
use crate::{batch_bounds::BatchBounds, models::Catalog};

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);
static NOTHING: LazyLock<Sidecar> = LazyLock::new(Sidecar::default);

fn context() -> Context<'static> {
    Context {
        bucket: "studio",
        catalog: &CATALOG,
        default_model: "nano-banana-2",
        on: date(2026, 11, 21),
        allow_retired_models: false,
        sidecar: &NOTHING,
        allowed_models: None,
        allow_unknown_models: false,
        copies: None,
        bounds: BatchBounds::none(),
        limits: Limits::default(),
        lanes: None,
    }
}

/// Reads a manifest as `plan` does.
fn read_all(manifest: &[u8], context: &Context<'_>) -> (Vec<PlannedImage>, Reading) {
    let header = Header::read(manifest, context).unwrap();
    let mut images = Vec::new();
    let reading = read(manifest, &header, context, |image| {
        images.push(image);
        Ok(())
    });
    (images, reading.unwrap())
}

/// The images of a manifest without errors.
fn images(manifest: &str) -> Vec<PlannedImage> {
    let (images, reading) = read_all(manifest.as_bytes(), &context());
    assert_eq!(reading.errors, 0, "{:#?}", reading.problems);
    images
}

/// The problems of a manifest, as `line code message`.
fn problems(manifest: &str) -> Vec<String> {
    let (_, reading) = read_all(manifest.as_bytes(), &context());
    let line =
        |problem: &Diagnostic| format!("{} {} {}", problem.line, problem.code, problem.message);
    reading.problems.iter().map(line).collect()
}

/// The codes of a manifest's problems with their lines.
fn codes(manifest: &str) -> Vec<(u64, String)> {
    let (_, reading) = read_all(manifest.as_bytes(), &context());
    reading
        .problems
        .into_iter()
        .map(|problem| (problem.line, problem.code))
        .collect()
}

fn keys(images: &[PlannedImage]) -> Vec<&str> {
    images.iter().map(|image| image.key.as_str()).collect()
}
