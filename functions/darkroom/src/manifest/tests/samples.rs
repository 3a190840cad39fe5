//! The sample manifests.

use std::path::Path;

use super::*;

macro_rules! sample {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../../../events/manifests/", $name)),
        )
    };
}

pub(super) const SAMPLES: [(&str, &str); 4] = [
    sample!("catalog.csv"),
    sample!("sweep.json"),
    sample!("characters.jsonl"),
    sample!("native.jsonl"),
];

#[test]
fn every_sample_is_accepted_without_a_warning() {
    for (name, manifest) in SAMPLES {
        assert!(
            problems(manifest).is_empty(),
            "{name}: {:?}",
            problems(manifest)
        );
    }
}

#[test]
fn the_catalog_asks_for_at_least_two_dozen_images_of_two_models() {
    let images = images(SAMPLES[0].1);
    assert!(images.len() >= 24, "{}", images.len());
    for model in ["gemini-nano-banana-2.1", "gemini-3-pro-image"] {
        assert!(images.iter().any(|image| image.model == model), "{model}");
    }
}

#[test]
fn every_picture_that_a_sample_names_is_in_its_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/manifests");
    for (name, manifest) in SAMPLES {
        for reference in images(manifest).iter().flat_map(|image| &image.refs) {
            assert_eq!(reference.bucket, "studio", "{name}");
            let size = folder
                .join(&reference.key)
                .metadata()
                .unwrap_or_else(|error| panic!("{name} {reference}: {error}"));
            assert!((1..60 << 10).contains(&size.len()), "{reference}");
        }
    }
}
