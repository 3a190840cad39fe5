//! No text leaves its element, and the sections have the rows that were written.

use std::io::Read;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    cost::Estimate,
    lane::Lane,
    manifest::Reading,
    models::Catalog,
    money::Usd,
    names::{JobId, RequestKey, ShardId},
    plan::{ModelShare, PlanLine, PlanSummary},
    report::Counts,
    results::{
        Reason, ResultLine, Status, StoredImage,
        image::{MediaType, Provenance},
    },
    status::{JobPhase, JobStatus},
    thumbnails::{Thumbnail, Thumbnails},
};

const MODEL: &str = "gemini-nano-banana-2.1";

/// The number of positions of a row.
const POSITIONS: usize = 25;

fn head(job: &str, variables: &[&str]) -> Head {
    let at: Timestamp = "2026-11-27T09:00:00Z".parse().unwrap();
    let mut plan = PlanSummary::of(&Reading::default(), 1, at);
    plan.images = 2;
    let share = |model: &str| ModelShare {
        model: model.to_owned(),
        images: 1,
        estimate: Estimate::default(),
        thinking: plan.thinking,
    };
    plan.models = vec![share("gemini-2.5-flash-image"), share("gemini-unknown")];
    let manifest = "s3://studio/inbox/catalog.csv".parse().unwrap();
    let status = JobStatus {
        plan: Some(plan),
        ..JobStatus::new(&JobId::new(job), &manifest, JobPhase::Partial, at)
    };
    let variables = variables.iter().map(|name| (*name).to_owned()).collect();
    Head::of(&status, variables, &Catalog::built_in())
}

fn plan(text: &str) -> PlanLine {
    PlanLine {
        key: RequestKey::new(text),
        item: text.to_owned(),
        key_name: None,
        vars: [("color".to_owned(), text.to_owned())].into(),
        variant: 2,
        line: 3,
        shard: ShardId::first(0),
        model: MODEL.to_owned(),
        lane: Lane::Batch,
        proof: false,
        aspect_ratio: Some("4:5".to_owned()),
        image_size: None,
        thinking: None,
        path: text.to_owned(),
        prompt: Some(text.to_owned()),
        refs: vec!["s3://studio/refs/a b.png".parse().unwrap()],
        estimate: Estimate::default(),
        retry: Some(json!({ "key": text, "prompt": text })),
    }
}

fn image(key: &str) -> StoredImage {
    StoredImage {
        uri: format!("s3://studio/{key}").parse().unwrap(),
        etag: "\"e\"".to_owned(),
        mime_type: MediaType::Png,
        width: 928,
        height: 1152,
        bytes: 48_635,
        provenance: Some(Provenance {
            iptc: true,
            c2pa: false,
        }),
    }
}

fn result(text: &str) -> ResultLine {
    ResultLine {
        image: Some(image("jobs/j/images/a b/c.png")),
        extras: vec![image("jobs/j/images/a b/c.x1.png"), image("elsewhere.png")],
        lane: Some(Lane::Interactive),
        attempts: Some(2),
        cost_usd: "0.0168005".parse::<Usd>().ok(),
        error: Some(Reason {
            code: text.to_owned(),
            message: text.to_owned(),
            retryable: false,
        }),
        warnings: vec![text.to_owned()],
        ..ResultLine::new(RequestKey::new(text), Status::Succeeded)
    }
}

fn thumbnails() -> Thumbnails {
    let thumbnail = Thumbnail {
        width: 512,
        height: 410,
        bytes: 20_111,
    };
    Thumbnails {
        made: [("a b/c.png".to_owned(), thumbnail)].into(),
        ..Thumbnails::default()
    }
}

/// Writes a page with these rows.
fn page(head: &Head, rows: &[Row<'_>]) -> String {
    let (mut page, mut bytes) = Page::begin(head);
    for row in rows {
        bytes.extend(page.row(row).unwrap().unwrap_or_default());
    }
    bytes.extend(page.end(&Sums::default()).unwrap());
    String::from_utf8(bytes).unwrap()
}

/// Decodes all rows of a page, filled up to the full number of positions.
fn decode(page: &str) -> Vec<Vec<Value>> {
    let lines = stored::data_elements(page).unwrap().lines();
    let sections = lines.filter_map(|line| {
        let content = line.strip_prefix(r#"<script type="text/plain" class="rows">"#)?;
        content.strip_suffix("</script>")
    });
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for section in sections {
        let bytes = base64_simd::STANDARD.decode_to_vec(section).unwrap();
        let mut json = String::new();
        GzDecoder::new(&bytes[..])
            .read_to_string(&mut json)
            .unwrap();
        let section: Vec<Vec<Value>> = serde_json::from_str(&json).unwrap();
        assert!(!section.is_empty() && section.len() <= SECTION_ROWS);
        rows.extend(section);
    }
    for row in &mut rows {
        row.resize(POSITIONS, Value::Null);
    }
    rows
}

/// Returns the page without the content of its data elements, and its title.
fn frame(page: &str, title: &str) -> String {
    let data = stored::data_elements(page).unwrap();
    page.replace(data, "")
        .replace(&format!("<title>{title}</title>"), "")
}

#[test]
fn a_row_has_its_fields_at_their_positions() {
    let head = head("j", &["size", "color"]);
    let (plan, line) = (plan("k"), result("t"));
    let row = Row::of_result(&head, &plan, &line, &thumbnails());
    let text = serde_json::to_string(&row).unwrap();
    let model = head.models.iter().position(|model| model.id == MODEL);
    let expected = json!([
        "k", "k", 2, 3, "succeeded", "images/a b/c.png", 928, 1152, 48635, "thumbs/a b/c.png.jpg",
        model, "interactive", "4:5", null, 2, 16800, "t", "t", "k", ["s3://studio/refs/a b.png"],
        [null, "k"], {"key": "k", "prompt": "k"}, ["iptc"], ["t"], ["images/a b/c.x1.png"]
    ]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
}

#[test]
fn a_row_without_a_result_ends_with_its_last_known_field() {
    let head = head("j", &[]);
    let plan = PlanLine {
        retry: None,
        refs: Vec::new(),
        ..plan("k")
    };
    let cut = |is_held| serde_json::to_value(Row::waiting(&head, &plan, is_held)).unwrap();
    let (waiting, held) = (cut(false), cut(true));
    assert_eq!(waiting.as_array().unwrap().len(), 19);
    assert_eq!((&waiting[4], &held[4]), (&json!("waiting"), &json!("held")));
    assert_eq!((&waiting[11], &waiting[18]), (&json!("batch"), &json!("k")));
}

#[test]
fn the_head_has_live_models_and_those_in_use_with_their_prices() {
    let head = head("j", &["color"]);
    let value = serde_json::to_value(&head).unwrap();
    assert_eq!(
        (&value["phase"], &value["closed"], &value["images"]),
        (&json!("partial"), &json!(true), &json!(2))
    );
    let model = |id: &str| {
        let models = value["models"].as_array().unwrap();
        models.iter().find(|model| model["id"] == id).cloned()
    };
    let live = model(MODEL).unwrap();
    assert_eq!(live["name"], "nano-banana-2");
    assert_eq!(live["prices"]["batch"]["1K"], 16_800);
    let pro = model("gemini-3-pro-image").unwrap();
    assert_eq!(pro["lanes"], json!(["batch", "flex", "interactive"]));
    assert_eq!(pro["prices"]["flex"]["4K"], 120_000);
    // Shut down a month before, and not used by the job.
    assert!(model("gemini-3.1-flash-image").is_none());
    assert!(model("gemini-2.5-flash-image").is_some());
    assert_eq!(model("gemini-unknown").unwrap()["name"], "gemini-unknown");
}

#[test]
fn the_sums_count_rows_without_a_result_too() {
    let counts = Counts {
        expected: 3,
        succeeded: 2,
        blocked: 1,
        ..Counts::default()
    };
    let cost = "0.671".parse().unwrap();
    let sums = Sums::new(&counts, (4, 5), cost, Default::default());
    assert_eq!(
        serde_json::to_string(&sums).unwrap(),
        r#"{"counts":{"expected":12,"succeeded":2,"failed":0,"blocked":1,"no_image":0,"expired":0,"cancelled":0,"skipped":0,"waiting":4,"held":5},"cost":671000,"provenance":{"iptc":0,"c2pa":0,"none":0}}"#
    );
}

#[test]
fn sections_are_complete_at_their_bounds_and_keep_the_order() {
    let head = head("j", &[]);
    let plans: Vec<PlanLine> = (0..1_234)
        .map(|number| plan(&format!("k{number}")))
        .collect();
    let rows: Vec<Row<'_>> = plans
        .iter()
        .map(|plan| Row::waiting(&head, plan, false))
        .collect();
    let page = page(&head, &rows);
    assert_eq!(page.matches(r#"class="rows""#).count(), 3);
    let keys = decode(&page).into_iter().map(|row| row[0].clone());
    assert!(keys.eq((0..1_234).map(|number| json!(format!("k{number}")))));

    // Long prompts end a section earlier.
    let long = PlanLine {
        prompt: Some("x".repeat(SECTION_BYTES / 3)),
        ..plan("k")
    };
    let rows = vec![Row::waiting(&head, &long, false); 7];
    let page = self::page(&head, &rows);
    assert_eq!(
        (page.matches(r#"class="rows""#).count(), decode(&page).len()),
        (3, 7)
    );
}

#[test]
fn the_policy_allows_exactly_the_scripts_and_the_style_of_the_page() {
    let page = page(&head("j", &[]), &[]);
    assert!(
        page.contains(r#"content="default-src 'none'; img-src 'self' data:; style-src 'sha256-"#)
    );
    for (open, close) in [("<style>", "</style>"), ("<script>", "</script>")] {
        let (_, rest) = page.split_once(open).unwrap();
        let (content, rest) = rest.split_once(close).unwrap();
        let digest = <sha2::Sha256 as sha2::Digest>::digest(content);
        let hash = base64_simd::STANDARD.encode_to_string(digest);
        assert!(page.contains(&format!("'sha256-{hash}'")), "{open}");
        assert!(!rest.contains(open), "more than one {open}");
    }
}

#[test]
fn the_sources_of_the_page_are_small_and_stay_in_their_elements() {
    for (source, limit) in [
        (include_str!("page.js"), 15_000),
        (include_str!("page.css"), 8_000),
        (include_str!("page.html"), 15_000),
    ] {
        assert!(source.len() <= limit, "{} of {limit} bytes", source.len());
        assert!(!source.contains('\r'));
    }
    for source in [include_str!("page.js"), include_str!("page.css")] {
        let lower = source.to_lowercase();
        for end in ["</script", "</style", "<!--"] {
            assert!(!lower.contains(end), "{end}");
        }
    }
    // The data elements are recognized by these.
    assert!(!include_str!("page.html").contains("application/json"));
}

#[test]
fn a_review_shows_the_same_data_under_a_policy_of_its_header() {
    let page = page(
        &head("a<b", &[]),
        &[Row::waiting(&head("j", &[]), &plan("k"), false)],
    );
    let data = stored::data_elements(&page).unwrap();
    let (shell, policy) = review_shell(data, "watch();");
    assert!(shell.starts_with("<!doctype html>\n<html lang=\"en\" data-review=\"1\">"));
    assert!(!shell.contains("http-equiv"));
    assert!(shell.contains("<title>a&lt;b</title>"));
    assert!(shell.contains("<script>watch();</script>"));
    assert_eq!(stored::data_elements(&shell), Some(data));
    assert_eq!(policy.matches("'sha256-").count(), 3);
    assert!(policy.contains("connect-src 'self'") && policy.contains("default-src 'none'"));
}

#[test]
fn a_page_with_anything_else_among_its_data_is_refused() {
    let (head, plan) = (head("j", &[]), plan("k"));
    let page = page(&head, &[Row::waiting(&head, &plan, false)]);
    let section = r#"<script type="text/plain" class="rows">"#;
    let sums = r#"<script type="application/json" id="sums">"#;
    assert!(stored::data_elements(&page).is_some());
    for (from, to) in [
        (
            section,
            "<script>alert(1)</script>\n<script type=\"text/plain\" class=\"rows\">",
        ),
        (section, "\n<script type=\"text/plain\" class=\"rows\">"),
        (
            section,
            "<script type=\"text/plain\" class=\"rows\" src=\"x\">",
        ),
        (
            section,
            "<script type=\"text/plain\" class=\"rows\">=</script><b>",
        ),
        (section, "<script type=\"text/plain\" class=\"rows\">%"),
        (
            sums,
            "<script type=\"application/json\" id=\"sums\">{}</script><b x=\"",
        ),
        (sums, "<script type=\"application/json\" id=\"sums\">1"),
        (r#"id="job">{"#, r#"id="job">{"x":"</script><b>","#),
        (r#"id="job">{"#, r#"id="job">{{"#),
        (r#"id="sums""#, r#"id="none""#),
        (r#"id="job""#, r#"id="none""#),
    ] {
        let changed = page.replacen(from, to, 1);
        assert_ne!(changed, page, "{from}");
        assert_eq!(stored::data_elements(&changed), None, "{to}");
    }
    let cut = &page[..page.find(r#"id="sums""#).unwrap() + 20];
    assert_eq!(stored::data_elements(cut), None);
    assert_eq!(stored::data_elements(""), None);
}

/// Texts that are likely to end an element, and any other.
fn hostile() -> impl Strategy<Value = String> {
    let parts = prop_oneof![
        Just("</script>"),
        Just("<script>alert(1)</script>"),
        Just("<!--"),
        Just("]]>"),
        Just("\n<script type=\"application/json\" id=\"sums\">{}</script>\n"),
        Just("<script type=\"application/json\" id=\"job\">"),
        Just("</title><img src=x onerror=alert(1)>"),
        Just("\"'`&lt;"),
        Just("\u{2028}\u{2029}\u{0}\r\n\\"),
    ];
    let listed = proptest::collection::vec(parts, 1..4).prop_map(|parts| parts.concat());
    prop_oneof![listed, any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the texts are, the page around its data is the same, and the data comes back.
    #[test]
    fn no_text_leaves_its_element(text in hostile(), job in hostile(), name in hostile()) {
        let head = head(&job, &[&name, "color"]);
        let (plan, line) = (plan(&text), result(&text));
        let rows = [
            Row::of_result(&head, &plan, &line, &thumbnails()),
            Row::waiting(&head, &plan, true),
        ];
        let page = page(&head, &rows);
        let title = job.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let plain = super::tests::page(&super::tests::head("j", &[]), &[]);
        prop_assert_eq!(frame(&page, &title), frame(&plain, "j"));

        for (row, decoded) in rows.iter().zip(decode(&page)) {
            let Value::Array(mut written) = serde_json::to_value(row).unwrap() else {
                panic!("a row is an array");
            };
            written.resize(POSITIONS, Value::Null);
            prop_assert_eq!(written, decoded);
        }
        let data = stored::data_elements(&page).unwrap();
        let json = stored::job_of(data).unwrap();
        let shown: Value = serde_json::from_str(json).unwrap();
        prop_assert_eq!(&shown["job"], &json!(job));
        prop_assert_eq!(&shown["variables"][0], &json!(name));
    }
}
