//! Reads any bytes as a manifest. The reader must not panic, its problems must be short enough to
//! read, keys and paths must be unique, and the images must agree with what a plain parser reads in
//! the same bytes, and with their own retry lines.
#![no_main]

use std::{collections::HashSet, sync::LazyLock};

use darkroom::{
    batch_bounds::BatchBounds,
    image_paths::ImagePaths,
    manifest::{
        Context, Diagnostic, Header, Limits, PlannedImage, Reading, Severity, Sidecar, read,
        write_validation,
    },
    models::Catalog,
};
use jiff::civil::date;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

static CATALOGUE: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);

const LIMITS: Limits = Limits {
    manifest_bytes: 1 << 20,
    item_bytes: 64 << 10,
    images: 10_000,
    variants: 16,
    prompt_characters: 10_000,
    problems: 20,
};

/// The longest message that users can be expected to read, in bytes.
const MESSAGE_BYTES: usize = 4 << 10;

fuzz_target!(|manifest: &[u8]| {
    let (images, reading) = read_all(manifest);
    assert!(
        reading.errors > 0 || !images.is_empty(),
        "neither images nor errors"
    );
    check_problems(manifest, &reading);
    check_names(&images);
    if reading.errors == 0 {
        check_plain(manifest, &images, &reading);
        check_retry(&images);
    }
});

/// Reads a manifest as `plan` does.
fn read_all(manifest: &[u8]) -> (Vec<PlannedImage>, Reading) {
    let sidecar = Sidecar::default();
    let context = Context {
        bucket: "studio",
        catalogue: &CATALOGUE,
        default_model: "nano-banana-2",
        on: date(2026, 11, 21),
        allow_retired_models: false,
        sidecar: &sidecar,
        allowed_models: None,
        allow_unknown_models: false,
        copies: None,
        bounds: BatchBounds::none(),
        limits: LIMITS,
    };
    let header = Header::read(manifest, &context).unwrap();
    let mut images = Vec::new();
    let reading = read(manifest, &header, &context, |image| {
        images.push(image);
        Ok(())
    });
    (images, reading.unwrap())
}

fn check_problems(manifest: &[u8], reading: &Reading) {
    let Reading {
        problems,
        errors,
        warnings,
        ..
    } = reading;
    assert!(
        problems.len() <= 2 * LIMITS.problems + 2,
        "{} problems",
        problems.len()
    );
    let listed = |severity| {
        problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count() as u64
    };
    assert!(listed(Severity::Error) <= *errors + 1 && listed(Severity::Warning) <= *warnings + 1);
    let compressed = manifest.starts_with(b"\x1f\x8b");
    let lines = manifest
        .iter()
        .filter(|byte| matches!(byte, b'\n' | b'\r'))
        .count() as u64
        + 1;
    for Diagnostic {
        line,
        key,
        code,
        message,
        ..
    } in problems
    {
        assert!(
            (1..=lines).contains(line) || compressed && *line > 0,
            "line {line} of {lines}: {code} {message}"
        );
        assert!(
            !code.is_empty()
                && code
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
            "{code}"
        );
        assert!(
            (1..=MESSAGE_BYTES).contains(&message.len()),
            "{} bytes: {message}",
            message.len()
        );
        assert!(!message.contains(char::is_control), "{message:?}");
        assert!(key.as_ref().is_none_or(|key| key.chars().count() <= 256));
    }
    let mut table = Vec::new();
    write_validation(problems, &mut table).unwrap();
    let rows: Vec<_> = csv::Reader::from_reader(&*table)
        .into_records()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), problems.len());
}

fn check_names(images: &[PlannedImage]) {
    let (mut keys, mut files, mut paths) = (HashSet::new(), HashSet::new(), ImagePaths::default());
    for image in images {
        let key = image.key.as_str();
        assert!(
            (1..=256).contains(&key.chars().count()) && !key.contains(char::is_control),
            "{key:?}"
        );
        assert!(
            keys.insert(key.nfc().collect::<String>()),
            "key {key:?} twice"
        );
        let path = paths.assign(&image.path, &image.key);
        let segments_are_safe = path
            .split('/')
            .all(|segment| !segment.is_empty() && !segment.starts_with(['.', '-']));
        assert!(segments_are_safe && path.len() < 700, "{path:?}");
        assert!(
            files.insert(path.to_uppercase().to_lowercase()),
            "path {path:?} twice"
        );
    }
}

/// What a parser of plain JSON finds in a manifest that was accepted. Tables are compared by the unit tests alone.
fn check_plain(manifest: &[u8], images: &[PlannedImage], reading: &Reading) {
    let text = manifest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(manifest);
    let document: Option<Value> = serde_json::from_slice(text).ok();
    let items: Vec<Value> = match document {
        Some(Value::Array(items)) => items,
        Some(Value::Object(mut object)) if object.contains_key("items") => object["items"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default(),
        _ if text.trim_ascii_start().starts_with(b"{") => {
            let lines = text
                .split(|byte| *byte == b'\n')
                .filter(|line| !is_blank(line));
            let lines =
                lines.map(|line| serde_json::from_slice(line).expect("an accepted line is JSON"));
            lines
                .enumerate()
                .filter(|(at, line): &(_, Value)| *at > 0 || line.get("manifest").is_none())
                .map(|(_, line)| line)
                .collect()
        }
        _ => return,
    };
    assert_eq!(reading.items, items.len() as u64, "items");
    let mut images = images.iter().peekable();
    for item in items {
        let first = images.peek().expect("each item has an image").item.clone();
        let key = item["key"].as_str().or(item["id"].as_str());
        assert!(
            key.is_none_or(|key| key == first),
            "item {key:?} became {first:?}"
        );
        let of_item = std::iter::from_fn(|| images.next_if(|image| image.item == first));
        let count = item["n"].as_u64().or(item["count"].as_u64());
        let mut found = 0;
        for image in of_item {
            found += 1;
            assert_eq!(image.variant, found);
            if let Some(prompt) = item["prompt"].as_str() {
                assert_eq!(image.prompt.as_deref(), Some(prompt));
            }
            let request: Value =
                serde_json::from_str(image.request.get()).expect("a request is JSON");
            if let Some(native) = item.get("request") {
                let mut native = native.clone();
                native
                    .as_object_mut()
                    .map(|members| members.remove("model"));
                assert_eq!(
                    request, native,
                    "a request of Google's form is passed through"
                );
            }
        }
        assert!(
            count.is_none_or(|count| count == u64::from(found)),
            "{found} images of {item}"
        );
    }
    assert!(images.next().is_none(), "an image without item");
}

fn is_blank(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|line| line.trim().is_empty())
}

/// The lines to retry are a manifest that asks for the same images.
fn check_retry(images: &[PlannedImage]) {
    let Some(lines) = images
        .iter()
        .map(|image| image.retry.as_ref())
        .collect::<Option<Vec<&Value>>>()
    else {
        return;
    };
    let manifest: String = lines.iter().map(|line| format!("{line}\n")).collect();
    if manifest.len() as u64 > LIMITS.manifest_bytes
        || lines
            .iter()
            .any(|line| line.to_string().len() as u64 > LIMITS.item_bytes)
    {
        return;
    }
    let (again, reading) = read_all(manifest.as_bytes());
    assert_eq!(reading.errors, 0, "{:?}\n{manifest}", reading.problems);
    assert_eq!(again.len(), images.len());
    for (first, again) in images.iter().zip(&again) {
        assert_eq!(
            (&first.key, &first.path, &first.model),
            (&again.key, &again.path, &again.model)
        );
        assert_eq!((&first.refs, &first.prompt), (&again.refs, &again.prompt));
        let value =
            |image: &PlannedImage| serde_json::from_str::<Value>(image.request.get()).unwrap();
        assert_eq!(value(first), value(again));
    }
}
