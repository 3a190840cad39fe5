//! Good manifests: every sample is accepted with its sidecar.

use std::{fs, path::Path};

use darkroom::{
    batch_bounds::BatchBounds,
    image_paths::ImagePaths,
    manifest::{Context, Header, Limits, Reading, Severity, Sidecar, StoredTemplate, read},
    models::Catalog,
};
use jiff::civil::date;

/// Every sample, with its number of images and its warnings.
const SAMPLES: [(&str, u64, &[&str]); 38] = [
    ("array.json", 2, &[]),
    ("bedrock.jsonl", 2, &[]),
    ("bom-crlf.csv", 3, &[]),
    ("catalog.csv", 27, &[]),
    ("characters.jsonl", 11, &[]),
    ("compressed.csv.gz", 2, &[]),
    ("compressed.jsonl.gz", 2, &[]),
    ("estimate.json", 4, &[]),
    (
        "export-etsy.csv",
        2,
        &["unused_pictures", "unused_variable"],
    ),
    (
        "export-merchant-center.tsv",
        2,
        &["unused_pictures", "unused_variable"],
    ),
    (
        "export-meta.csv",
        2,
        &["unused_pictures", "unused_variable"],
    ),
    (
        "export-shopify.csv",
        2,
        &["continuation_rows", "unused_pictures", "unused_variable"],
    ),
    (
        "export-woocommerce.csv",
        3,
        &["unused_pictures", "unused_variable"],
    ),
    ("first.csv", 5, &[]),
    ("header-line.jsonl", 2, &[]),
    ("keys-of-other-case.csv", 3, &[]),
    ("lanes.jsonl", 5, &[]),
    ("library.json", 3, &[]),
    ("line-breaks.csv", 2, &[]),
    ("matrix.json", 56, &[]),
    ("mixed.jsonl", 4, &[]),
    ("native-extra-members.jsonl", 1, &[]),
    ("native-metadata-key.jsonl", 1, &[]),
    ("native.jsonl", 4, &[]),
    ("old-mac.csv", 2, &[]),
    (
        "openai.jsonl",
        4,
        &["foreign_model", "inexact_size", "left_aside"],
    ),
    ("proof.json", 20, &[]),
    ("quote-within.csv", 2, &[]),
    ("seed-of-several.jsonl", 3, &["unsupported_control"]),
    ("semicolons.csv", 3, &[]),
    ("shop.csv", 3, &["unused_variable"]),
    ("skus.csv", 4, &[]),
    ("sweep.json", 10, &[]),
    ("tabs.tsv", 2, &[]),
    ("thinking.csv", 3, &[]),
    ("unicode.csv", 2, &[]),
    ("variants.csv", 6, &["unsupported_control"]),
    ("vertex.jsonl", 2, &["missing_key"]),
];

/// The metadata with which the exports are dropped.
const METADATA: [(&str, &str, &str); 5] = [
    ("export-etsy.csv", "{sku}", "{title}, on a pale oak table"),
    (
        "export-merchant-center.tsv",
        "{id}",
        "{title} in size {size}, on a hanger",
    ),
    ("export-meta.csv", "{id}", "{title}, {color}, on a plinth"),
    (
        "export-shopify.csv",
        "{handle}",
        "{title} on a white background",
    ),
    (
        "export-woocommerce.csv",
        "{sku}",
        "{name} in a kitchen, morning light",
    ),
];

/// Returns the folder of the samples.
pub(crate) fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/manifests")
}

/// Returns the sidecar of a sample, from its folder.
fn sidecar(name: &str) -> Sidecar {
    let text = |path: &Path| fs::read_to_string(path).ok();
    let key = format!("inbox/{name}");
    let job = text(&folder().join(Sidecar::job_key(name)));
    let templates = fs::read_dir(folder().join("templates")).unwrap();
    let keys: Vec<String> = templates
        .map(|entry| {
            format!(
                "templates/{}",
                entry.unwrap().file_name().into_string().unwrap()
            )
        })
        .collect();
    let stored = |(name, key): (String, String)| {
        let text = text(&folder().join(&key));
        (name, StoredTemplate { key, text })
    };
    let templates = Sidecar::template_names(&key, &keys)
        .into_iter()
        .map(stored)
        .collect();
    let export = METADATA.iter().find(|(export, ..)| *export == name);
    let said = export
        .map(|(_, key, template)| [("key", *key), ("template", *template)])
        .into_iter()
        .flatten();
    let metadata = said
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Sidecar {
        metadata,
        job,
        folder_defaults: None,
        templates,
    }
}

/// Reads a sample as `plan` does, and returns the paths of its images.
fn read_sample(name: &str) -> (Reading, Vec<String>) {
    let (catalog, sidecar) = (Catalog::built_in(), sidecar(name));
    let context = Context {
        bucket: "studio",
        catalog: &catalog,
        default_model: "nano-banana-2",
        on: date(2026, 11, 21),
        allow_retired_models: false,
        sidecar: &sidecar,
        allowed_models: None,
        allow_unknown_models: false,
        copies: None,
        bounds: BatchBounds::none(),
        limits: Limits::default(),
        lanes: None,
    };
    let bytes = fs::read(folder().join(name)).unwrap();
    let header = Header::read(&*bytes, &context).unwrap();
    let (mut assigned, mut paths) = (ImagePaths::default(), Vec::new());
    let reading = read(&*bytes, &header, &context, |image| {
        paths.push(assigned.assign(&image.path, &image.key));
        Ok(())
    });
    (reading.unwrap(), paths)
}

#[test]
fn every_sample_is_accepted_with_exactly_these_warnings() {
    for (name, images, warnings) in SAMPLES {
        let (reading, _) = read_sample(name);
        assert_eq!(reading.errors, 0, "{name}: {:?}", reading.problems);
        assert_eq!(reading.images, images, "{name}");
        let mut found: Vec<&str> = reading
            .problems
            .iter()
            .map(|problem| problem.code.as_str())
            .collect();
        assert!(
            reading
                .problems
                .iter()
                .all(|problem| problem.severity == Severity::Warning)
        );
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, warnings, "{name}: {:?}", reading.problems);
    }
}

#[test]
fn every_file_of_the_folder_is_a_sample() {
    let files = fs::read_dir(folder())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_file());
    let names = files.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".job.json")).collect();
    names.sort();
    assert_eq!(names, SAMPLES.map(|(name, ..)| name));
}

#[test]
fn a_matrix_and_a_catalog_with_a_template_give_images_readable_names() {
    let (_, sweep) = read_sample("matrix.json");
    assert!(
        sweep.iter().any(|path| path.starts_with("kitchen/Grind")),
        "{sweep:?}"
    );
    let (_, shop) = read_sample("shop.csv");
    assert_eq!(shop, ["sneaker-low/1", "loafer-black/1", "bag-tan/1"]);
    let (reading, skus) = read_sample("skus.csv");
    assert_eq!(skus[0], "SKU-1001/1");
    assert_eq!(
        reading.templates.into_iter().collect::<Vec<_>>(),
        ["lifestyle", "white-bg"]
    );
}
