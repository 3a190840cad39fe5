//! The reader of manifests: what `plan` does with a manifest apart from what it writes.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use darkroom::{
    batch_bounds::BatchBounds,
    manifest::{self, Context, Limits, OpenedManifest, SourceSet},
    models::Catalog,
    names::ObjectUri,
};
use jiff::civil::date;
use serde_json::json;

use crate::Work;

/// The number of images of each manifest that is made here.
pub(crate) const ITEMS: usize = 2_000;

/// Samples of `events/manifests` in several forms and dialects, and the number of their images.
const SAMPLES: [&str; 10] = [
    "bedrock.jsonl",
    "catalog.csv",
    "characters.jsonl",
    "compressed.csv.gz",
    "matrix.json",
    "native.jsonl",
    "openai.jsonl",
    "proof.json",
    "skus.csv",
    "variants.csv",
];
pub(crate) const SAMPLE_IMAGES: usize = 2 + 27 + 11 + 2 + 56 + 4 + 4 + 20 + 4 + 6;

/// A table with two variables and a template.
pub(crate) fn table() -> anyhow::Result<Work> {
    let mut table = "key,template,aspect_ratio,color,material\n".to_owned();
    for number in 0..ITEMS {
        table += &format!(
            "SKU-{number:06},\"a {{color}} sneaker of {{material}}, three-quarter view\",4:5,\
             \"off white, {number}\",canvas\n"
        );
    }
    Ok(read("table.csv", table))
}

/// JSON Lines with prompts.
pub(crate) fn lines() -> anyhow::Result<Work> {
    let mut lines = String::new();
    for number in 0..ITEMS {
        let item = json!({
            "key": format!("shoe/{number:06}"),
            "prompt": "a canvas sneaker in \"off white\", three-quarter view, white background",
            "aspect_ratio": "4:5",
            "refs": ["refs/shoe.png"],
        });
        lines += &format!("{item}\n");
    }
    Ok(read("lines.jsonl", lines))
}

/// A JSON document with defaults and items.
pub(crate) fn envelope() -> anyhow::Result<Work> {
    let item = |number: usize| {
        let scene = format!("a café, {number}");
        json!({ "key": format!("w{number}"), "vars": { "scene": scene } })
    };
    let manifest = json!({
        "version": 1,
        "defaults": { "template": "Milo the fox. {scene}.", "aspect_ratio": "4:5" },
        "items": (0..ITEMS).map(item).collect::<Vec<_>>(),
    });
    Ok(read("envelope.json", manifest.to_string()))
}

/// A matrix of three axes.
pub(crate) fn matrix() -> anyhow::Result<Work> {
    let values = |what: &str, count: usize| -> Vec<String> {
        (0..count).map(|n| format!("{what} {n}")).collect()
    };
    let manifest = json!({
        "templates": { "hero": "{product} in {scene}, {light}" },
        "matrix": {
            "template": ["hero"],
            "product": values("product", 20),
            "scene": values("scene", 10),
            "light": values("light", 10),
        },
    });
    Ok(read("matrix.json", manifest.to_string()))
}

/// Samples of the repository.
pub(crate) fn samples() -> anyhow::Result<Work> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/manifests");
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(folder.join("templates"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        texts.insert(format!("templates/{name}"), fs::read_to_string(&path)?);
    }
    let mut all = Vec::new();
    for name in SAMPLES {
        all.push(Stored {
            name,
            manifest: fs::read(folder.join(name))?,
            texts: texts.clone(),
        });
    }
    Ok(Box::new(move || {
        all.iter().map(images).sum::<anyhow::Result<usize>>()
    }))
}

/// A manifest in memory, and the texts that belong to it, by key.
struct Stored {
    name: &'static str,
    manifest: Vec<u8>,
    texts: BTreeMap<String, String>,
}

impl SourceSet for Stored {
    type Error = anyhow::Error;

    fn manifest(&self) -> anyhow::Result<impl Read> {
        Ok(&*self.manifest)
    }

    fn text(&self, key: &str) -> anyhow::Result<Option<String>> {
        Ok(self.texts.get(key).cloned())
    }

    fn template_keys(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.texts.keys().cloned().collect())
    }
}

/// Returns the work of reading a manifest.
fn read(name: &'static str, manifest: String) -> Work {
    let stored = Stored {
        name,
        manifest: manifest.into_bytes(),
        texts: BTreeMap::new(),
    };
    Box::new(move || images(&stored))
}

/// Opens and reads a manifest. Returns the number of its images.
fn images(stored: &Stored) -> anyhow::Result<usize> {
    let uri = ObjectUri {
        bucket: "studio".to_owned(),
        key: format!("inbox/{}", stored.name),
    };
    let opened = OpenedManifest::open(stored, &uri, BTreeMap::new(), None)?;
    let catalog = Catalog::built_in();
    let context = Context {
        bucket: &uri.bucket,
        catalog: &catalog,
        default_model: "nano-banana-2",
        on: date(2026, 11, 21),
        allow_retired_models: false,
        sidecar: &opened.sidecar,
        allowed_models: None,
        allow_unknown_models: false,
        copies: None,
        bounds: BatchBounds::none(),
        limits: Limits::default(),
        lanes: None,
    };
    let mut passed = 0;
    let reading = manifest::read(stored.manifest()?, &opened.header, &context, |_| {
        passed += 1;
        Ok(())
    })?;
    anyhow::ensure!(
        reading.errors == 0,
        "{}: {:?}",
        stored.name,
        reading.problems
    );
    Ok(passed)
}
