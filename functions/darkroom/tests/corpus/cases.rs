//! Files as they occur in practice, in `tests/corpus/cases`, each named by its peculiarity.

use std::{collections::BTreeMap, fs, path::Path};

use darkroom::{
    batch_bounds::BatchBounds,
    manifest::{Context, Header, Limits, PlannedImage, Reading, Sidecar, read},
    models::Catalog,
};
use jiff::civil::date;

/// A case that was read.
struct Case {
    images: Vec<PlannedImage>,
    reading: Reading,
}

impl Case {
    /// Reads a case with this metadata, and with its job document if there is one.
    fn read(name: &str, metadata: &[(&str, &str)]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/cases");
        let bytes = fs::read(folder.join(name)).unwrap();
        let metadata = metadata
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let job = fs::read_to_string(folder.join(Sidecar::job_key(name))).ok();
        let (catalog, copies) = (Catalog::built_in(), BTreeMap::new());
        let context = Context {
            bucket: "studio",
            catalog: &catalog,
            default_model: "nano-banana-2",
            on: date(2026, 11, 26),
            allow_retired_models: false,
            sidecar: &Sidecar {
                metadata,
                job,
                folder_defaults: None,
                templates: BTreeMap::new(),
            },
            allowed_models: None,
            allow_unknown_models: false,
            copies: Some(&copies),
            bounds: BatchBounds::none(),
            limits: Limits::default(),
            lanes: None,
        };
        let header = Header::read(&*bytes, &context).unwrap();
        let mut images = Vec::new();
        let reading = read(&*bytes, &header, &context, |image| {
            images.push(image);
            Ok(())
        });
        Self {
            images,
            reading: reading.unwrap(),
        }
    }

    /// Reads a case that must have no errors, and exactly the warnings with these codes.
    fn good(name: &str, metadata: &[(&str, &str)], warnings: &[&str]) -> Vec<PlannedImage> {
        let case = Self::read(name, metadata);
        assert_eq!(case.reading.errors, 0, "{:#?}", case.reading.problems);
        let codes: Vec<&str> = case
            .reading
            .problems
            .iter()
            .map(|problem| problem.code.as_str())
            .collect();
        assert_eq!(codes, warnings, "{:#?}", case.reading.problems);
        case.images
    }

    /// Returns the errors of a case, as `line code message`.
    fn bad(name: &str, metadata: &[(&str, &str)]) -> Vec<String> {
        let case = Self::read(name, metadata);
        assert!(case.reading.errors > 0, "{name} was accepted");
        let problems = case.reading.problems.iter();
        problems
            .map(|problem| format!("{} {} {}", problem.line, problem.code, problem.message))
            .collect()
    }
}

fn keys(images: &[PlannedImage]) -> Vec<&str> {
    images.iter().map(|image| image.item.as_str()).collect()
}

fn ratios(images: &[PlannedImage]) -> Vec<&str> {
    images
        .iter()
        .map(|image| image.aspect_ratio.as_deref().unwrap_or_default())
        .collect()
}

fn prompt(image: &PlannedImage) -> &str {
    image.prompt.as_deref().unwrap_or_default()
}

#[test]
fn body_html_variable() {
    let images = Case::good("body-html-variable.csv", &[("key", "{handle}")], &[]);
    assert_eq!(
        prompt(&images[0]),
        "A photo of Red Shoe: <p>Soft &amp; light</p>"
    );
}

#[test]
fn count_is_stock() {
    let case = Case::read("count-is-stock.csv", &[("key", "{sku}")]);
    assert_eq!((case.images.len(), case.reading.errors), (10, 0));
    let said = case
        .reading
        .problems
        .iter()
        .find(|problem| problem.code == "count_column")
        .unwrap();
    assert!(
        said.message.contains("asks for 10 images in 2 rows"),
        "{}",
        said.message
    );
}

#[test]
fn decimal_comma() {
    let images = Case::good("decimal-comma.csv", &[], &["unsupported_control"]);
    assert_eq!(images.len(), 2);
    assert!(
        images[0].request.get().contains(r#""temperature":0.5"#),
        "{}",
        images[0].request
    );
}

#[test]
fn delimiter_comma_in_quoted_name() {
    let images = Case::good(
        "delimiter-comma-in-quoted-name.csv",
        &[],
        &["unused_variable"],
    );
    assert_eq!(
        (prompt(&images[0]), images[0].vars["preis_netto"].as_str()),
        ("Eine Tasse", "12,50")
    );
}

#[test]
fn excel_ratio_as_time() {
    let images = Case::good("excel-ratio-as-time.csv", &[], &["ratio_as_time"]);
    assert_eq!(
        ratios(&images),
        ["16:9", "4:5", "1:1", "4:5", "21:9", "1:1"]
    );
}

#[test]
fn excel_sep_line() {
    let images = Case::good("excel-sep-line.csv", &[], &[]);
    assert_eq!(
        (keys(&images), images[0].line),
        (vec!["tasse", "tasse", "gasse"], 3)
    );
    assert_eq!(prompt(&images[0]), "Eine weiße Tasse; von oben");
}

#[test]
fn excel_short_rows() {
    assert_eq!(Case::good("excel-short-rows.csv", &[], &[]).len(), 19);
}

#[test]
fn header_capitals_with_path() {
    let image = &Case::good("header-capitals-with-path.csv", &[], &[])[0];
    assert_eq!(
        (image.model.as_str(), image.image_size.as_deref()),
        ("gemini-3-pro-image", Some("4K"))
    );
    assert_eq!(
        (image.aspect_ratio.as_deref(), image.path.as_str()),
        (Some("16:9"), "x/a")
    );
}

#[test]
fn header_capitals() {
    assert_eq!(
        ratios(&Case::good("header-capitals.csv", &[], &[])),
        ["4:5"]
    );
}

#[test]
fn header_repeated() {
    assert_eq!(
        keys(&Case::good(
            "header-repeated.csv",
            &[],
            &["repeated_header"]
        )),
        ["a", "b"]
    );
}

#[test]
fn header_typo_let_through() {
    let found = Case::bad("header-typo-let-through.csv", &[]);
    assert!(
        found[0].contains("did you mean aspect_ratio?")
            && found[0].contains("did you mean image_size?"),
        "{found:?}"
    );
}

#[test]
fn header_zero_width_space() {
    assert_eq!(
        prompt(&Case::good("header-zero-width-space.csv", &[], &[])[0]),
        "A red shoe"
    );
}

#[test]
fn json_id_as_number() {
    assert_eq!(
        keys(&Case::good("json-id-as-number.json", &[], &[])),
        ["1001", "1002"]
    );
}

#[test]
fn metadata_dry_run_ignored() {
    for (name, value, advice) in [
        ("dry-run", "true", "mode=dry_run"),
        ("dry_run", "true", "mode=dry_run"),
        ("dryrun", "1", "mode=dry_run"),
        ("estimate", "true", "mode=dry_run"),
        ("budget", "0.01", "budget-usd"),
        ("max-usd", "5", "budget-usd"),
        ("max-cost", "5", "budget-usd"),
        ("limit", "5", "budget-usd"),
        ("ratio", "4:5", "aspect-ratio"),
        ("resolution", "2K", "image-size"),
    ] {
        let found = Case::bad("metadata-dry-run-ignored.csv", &[(name, value)]);
        assert!(found[0].contains(advice), "{found:?}");
    }
}

#[test]
fn native_extra_members() {
    let image = &Case::good("native-extra-members.jsonl", &[], &[])[0];
    assert_eq!(
        (
            image.vars["product_id"].as_str(),
            image.vars["image_candidates"].as_str()
        ),
        ("p1", r#"["x", "y"]"#)
    );
}

#[test]
fn native_metadata_key() {
    assert_eq!(
        keys(&Case::good("native-metadata-key.jsonl", &[], &[])),
        ["a"]
    );
}

#[test]
fn native_one_bad_of_eight() {
    let found = Case::bad("native-one-bad-of-eight.jsonl", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("5 ")
            && found[0].contains("generationConfig.imageConfig.personGeneration"),
        "{found:?}"
    );
    let warned = Case::good(
        "native-one-bad-of-eight.jsonl",
        &[("request-check", "warn")],
        &["unknown_request_field"],
    );
    assert_eq!(warned.len(), 8);
}

#[test]
fn seed_of_several() {
    let images = Case::good("seed-of-several.jsonl", &[], &["unsupported_control"]);
    let seeds: Vec<bool> = (7..)
        .zip(&images)
        .map(|(seed, image)| image.request.get().contains(&format!("\"seed\":{seed}")))
        .collect();
    assert_eq!(seeds, [true; 3]);
}

#[test]
fn pandas_index_column() {
    assert_eq!(
        keys(&Case::good(
            "pandas-index-column.csv",
            &[],
            &["nameless_column"]
        )),
        ["a", "b"]
    );
}

#[test]
fn pandas_whole_floats() {
    let images = Case::good("pandas-whole-floats.csv", &[], &["unsupported_control"]);
    assert_eq!(keys(&images), ["a", "a", "b"]);
    assert!(
        images[0].request.get().contains(r#""seed":42"#),
        "{}",
        images[0].request
    );
}

#[test]
fn row_of_hard_spaces() {
    assert_eq!(keys(&Case::good("row-of-hard-spaces.csv", &[], &[])), ["a"]);
}

#[test]
fn shop_ordinary_columns() {
    let image = &Case::good(
        "shop-ordinary-columns.csv",
        &[],
        &["unused_pictures", "unused_variable"],
    )[0];
    assert_eq!(
        (
            image.vars["no"].as_str(),
            image.vars["image"].as_str(),
            image.vars.len()
        ),
        ("1", "x.jpg", 5)
    );
    assert!(image.refs.is_empty());
}

#[test]
fn shop_shopify() {
    let images = Case::good(
        "shop-shopify.csv",
        &[],
        &["continuation_rows", "unused_variable"],
    );
    assert_eq!(keys(&images), ["ocean-tee", "olive-hat"]);
    assert_eq!(
        prompt(&images[0]),
        "Studio photo of Ocean Tee, white background"
    );
    let web: Vec<&str> = images[0].web.iter().map(url::Url::as_str).collect();
    assert_eq!(
        web,
        [
            "https://cdn.example/1.jpg",
            "https://cdn.example/2.jpg",
            "https://cdn.example/3.jpg"
        ]
    );
    assert_eq!(images[1].web.len(), 1);
}

#[test]
fn size_by_other_names() {
    let found = Case::bad("size-by-other-names.csv", &[]).join("\n");
    assert!(
        found.contains("no negative prompt") && found.contains("\"quality\" is \"hd\""),
        "{found}"
    );
}

#[test]
fn unused_column_twice() {
    assert_eq!(
        keys(&Case::good(
            "unused-column-twice.csv",
            &[],
            &["unused_variable"]
        )),
        ["a"]
    );
}

#[test]
fn zip_instead() {
    let found = Case::bad("zip-instead.zip", &[]);
    assert!(
        found[0].contains("unsupported_file the file is a zip archive: unpack it"),
        "{found:?}"
    );
}
