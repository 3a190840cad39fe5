//! Whole manifests, in and out.

mod bounds;
mod dialects;
mod flat;
mod native_requests;
mod round_trip;
mod rules;
mod samples;
mod tables;
mod wire;

use std::sync::LazyLock;

use jiff::civil::date;

use super::*;

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);
static NOTHING: LazyLock<Beside> = LazyLock::new(Beside::default);

fn context() -> Context<'static> {
    Context {
        bucket: "studio",
        catalog: &CATALOG,
        default_model: "nano-banana-2",
        on: date(2026, 11, 21),
        allow_retired_models: false,
        beside: &NOTHING,
        allow_unknown_models: false,
        copies: None,
        bounds: BatchBounds::none(),
        limits: Limits::default(),
    }
}

/// Reads a manifest as `plan` does.
fn read_all(manifest: &[u8], context: &Context<'_>) -> (Vec<Expected>, Reading) {
    let header = Header::read(manifest, context).unwrap();
    let mut images = Vec::new();
    let reading = read(manifest, &header, context, |image| {
        images.push(image);
        Ok(())
    });
    (images, reading.unwrap())
}

/// The images of a manifest without errors.
fn images(manifest: &str) -> Vec<Expected> {
    let (images, reading) = read_all(manifest.as_bytes(), &context());
    assert_eq!(reading.errors, 0, "{:#?}", reading.problems);
    images
}

/// The problems of a manifest, as `line code message`.
fn problems(manifest: &str) -> Vec<String> {
    let (_, reading) = read_all(manifest.as_bytes(), &context());
    let line = |problem: &Problem| format!("{} {} {}", problem.line, problem.code, problem.message);
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

fn keys(images: &[Expected]) -> Vec<&str> {
    images.iter().map(|image| image.key.as_str()).collect()
}
