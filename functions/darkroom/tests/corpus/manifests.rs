//! Manifests: the stored cases, and the `validation.csv` of any manifest.

use darkroom::{
    batch_bounds::BatchBounds,
    manifest::{Context, Header, Limits, Sidecar, read, write_validation},
    models::Catalog,
};
use jiff::civil::date;

use super::{
    bytes::{Make, Slow, text},
    memory::{alone, peak},
    shelf,
};

/// The sizes of the pieces in which every case is read.
const CHUNKS: [usize; 4] = [usize::MAX, 64 << 10, 7, 1];

/// The most memory that reading a manifest may take: four times its longest item, while that is
/// read, parsed and written as a request, and 64 MiB for the listed problems, the keys and one
/// item's values.
pub(crate) fn bound() -> usize {
    4 * usize::try_from(Limits::default().item_bytes).unwrap() + (64 << 20)
}

#[test]
fn every_stored_manifest_has_its_expected_validation() {
    let catalog = Catalog::built_in();
    let mut wrong = Vec::new();
    for case in shelf::cases("events/manifests/bad") {
        let bytes = case.bytes.clone();
        let make: Make = Box::new(move || text(&*bytes));
        alone(|| {
            for size in CHUNKS {
                let (found, peak) = peak(|| validation(&make, size, &catalog));
                assert!(peak <= bound(), "{}: {peak} bytes", case.name);
                if let Err(problem) = case.check(&found) {
                    wrong.push(format!("in pieces of {size}, {problem}"));
                    break;
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Returns the `validation.csv` that a user gets, as text.
pub(crate) fn validation(make: &Make, size: usize, catalog: &Catalog) -> String {
    let sidecar = Sidecar::default();
    let context = Context {
        bucket: "studio",
        catalog,
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
    let header = Header::read(Slow::new(make(), size), &context).unwrap();
    let reading = read(Slow::new(make(), size), &header, &context, |_| Ok(())).unwrap();
    let mut table = Vec::new();
    write_validation(&reading.problems, &mut table).unwrap();
    // Stored files have the line breaks of the system that checked them out.
    String::from_utf8(table).unwrap().replace("\r\n", "\n")
}
