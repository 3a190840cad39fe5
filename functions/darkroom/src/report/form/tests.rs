//! Every line has the same members, and every row has as many cells as the header.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    cost::{Estimate, Usage},
    csv_injection::escape_formulas,
    lane::Lane,
    money::Usd,
    names::{BatchName, RequestKey, ShardId},
    report::Unaccounted,
    results::{
        Reason, ResultLine, Status, StoredImage,
        image::{MediaType, Provenance},
    },
};

type Vars<'a> = &'a [(&'a str, &'a str)];

fn form(keys: &[&str], variables: &[&str]) -> ResultForm {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    ResultForm::new(CustomNames {
        keys: owned(keys),
        variables: owned(variables),
    })
}

fn vars(vars: Vars<'_>) -> BTreeMap<String, String> {
    vars.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn plan(key_name: Option<&str>) -> PlanLine {
    PlanLine {
        key: RequestKey::new("café/1.v02"),
        item: "café/1".to_owned(),
        key_name: key_name.map(str::to_owned),
        vars: BTreeMap::new(),
        variant: 2,
        line: 3,
        shard: ShardId::first(0),
        model: "m".to_owned(),
        lane: Lane::Batch,
        proof: false,
        aspect_ratio: None,
        image_size: None,
        thinking: None,
        path: "café/1.v02".to_owned(),
        prompt: None,
        refs: Vec::new(),
        estimate: Estimate::default(),
        retry: None,
    }
}

fn image() -> StoredImage {
    StoredImage {
        uri: "s3://studio/jobs/j/images/a.png".parse().unwrap(),
        etag: "\"e\"".into(),
        mime_type: MediaType::Png,
        width: 4,
        height: 3,
        bytes: 24,
        provenance: Some(Provenance {
            iptc: true,
            c2pa: false,
        }),
    }
}

/// A line in which every member is present.
fn full(given: Vars<'_>) -> ResultLine {
    ResultLine {
        variant: Some(2),
        line: Some(3),
        image: Some(image()),
        extras: vec![image()],
        model: Some("m".to_owned()),
        model_version: Some("m-1".to_owned()),
        response_id: Some("r-1".to_owned()),
        finish_reason: Some("STOP".to_owned()),
        lane: Some(Lane::Batch),
        batch_name: Some(BatchName::new("batches/b")),
        shard: Some(ShardId::first(0)),
        attempts: Some(1),
        prompt: Some("a café".to_owned()),
        vars: vars(given),
        usage: Some(Usage::default()),
        cost_usd: Some(Usd::ZERO),
        error: Some(Reason {
            code: "C".to_owned(),
            message: "m".to_owned(),
            retryable: false,
        }),
        warnings: vec!["odd".to_owned()],
        ..bare(&[])
    }
}

/// A line with the required members only.
fn bare(given: Vars<'_>) -> ResultLine {
    ResultLine {
        vars: vars(given),
        ..ResultLine::new(RequestKey::new("café/1.v02"), Status::Skipped)
    }
}

fn finished(line: ResultLine) -> Finished {
    Finished {
        line,
        lane: Lane::Batch,
        charges: Vec::new(),
        unaccounted: Unaccounted::default(),
    }
}

fn text(form: &ResultForm, key_name: Option<&str>, line: ResultLine) -> String {
    let line = form.line(&plan(key_name), &finished(line)).unwrap();
    String::from_utf8(line).unwrap()
}

fn parsed(form: &ResultForm, key_name: Option<&str>, line: ResultLine) -> Map<String, Value> {
    serde_json::from_str(&text(form, key_name, line)).unwrap()
}

/// Returns the names of a line's members in their order, which a parsed object does not keep. Names
/// within `vars` have a dot.
fn names(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut depth, mut in_vars) = (0, false);
    for token in line.split_inclusive(['{', '}', ',']) {
        if let Some((name, rest)) = token.split_once("\":")
            && let Some(name) = name.strip_prefix('"')
        {
            match depth {
                1 => {
                    in_vars = name == "vars" && rest.starts_with('{');
                    found.push(name.to_owned());
                }
                2 if in_vars => found.push(format!("vars.{name}")),
                _ => {}
            }
        }
        depth += i32::from(token.ends_with('{')) - i32::from(token.ends_with('}'));
    }
    found
}

/// Returns the cells of a table that begins with a byte order mark.
fn cells(table: &[u8]) -> Vec<Vec<String>> {
    let table = table.strip_prefix(b"\xef\xbb\xbf").unwrap();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(table);
    reader
        .records()
        .map(|record| record.unwrap().iter().map(str::to_owned).collect())
        .collect()
}

#[test]
fn every_line_has_the_same_members_in_the_same_order() {
    let form = form(&["custom_id", "id"], &["title", "color"]);
    let lines = [
        (None, full(&[("color", "red"), ("title", "shoe")])),
        (Some("id"), full(&[("color", "red")])),
        (Some("custom_id"), bare(&[("title", "shoe")])),
        (None, bare(&[])),
    ];
    let texts: Vec<String> = lines
        .into_iter()
        .map(|(key_name, line)| text(&form, key_name, line))
        .collect();
    for line in &texts {
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        assert_eq!(
            names(line),
            [
                "key",
                "custom_id",
                "id",
                "variant",
                "line",
                "status",
                "image",
                "extras",
                "model",
                "model_version",
                "response_id",
                "finish_reason",
                "lane",
                "batch_name",
                "shard",
                "attempts",
                "prompt",
                "vars",
                "vars.title",
                "vars.color",
                "usage",
                "cost_usd",
                "error",
                "warnings"
            ]
        );
    }
}

#[test]
fn empty_members_are_null_and_empty_lists_are_lists() {
    let line = parsed(&form(&["id"], &["title"]), None, bare(&[]));
    for (name, value) in line {
        let expected = match name.as_str() {
            "key" => json!("café/1.v02"),
            "status" => json!("skipped"),
            "extras" | "warnings" => json!([]),
            "vars" => json!({ "title": null }),
            _ => Value::Null,
        };
        assert_eq!(value, expected, "{name}");
    }
}

#[test]
fn custom_keys_and_variables_have_their_values() {
    let line = parsed(
        &form(&["id", "custom_id"], &["b", "a"]),
        Some("id"),
        full(&[("a", "1"), ("b", "2")]),
    );
    assert_eq!(
        (&line["id"], &line["custom_id"]),
        (&json!("café/1"), &Value::Null)
    );
    assert_eq!(line["vars"], json!({"b": "2", "a": "1"}));
}

#[test]
fn a_job_without_variables_has_no_object_for_them() {
    let form = ResultForm::default();
    assert_eq!(parsed(&form, None, full(&[]))["vars"], Value::Null);
    assert_eq!(form.header().unwrap(), "\u{feff}key,variant,status,image_uri,width,height,model,lane,attempts,finish_reason,error_code,error_message,cost_usd\n".as_bytes());
}

#[test]
fn a_line_keeps_names_that_the_list_of_its_job_lacks() {
    // A job without a list.
    let line = parsed(&ResultForm::default(), Some("id"), full(&[("a", "1")]));
    assert_eq!(
        (&line["id"], &line["vars"]),
        (&json!("café/1"), &json!({"a": "1"}))
    );
    // A list that was full.
    let line = parsed(&form(&[], &["a"]), None, full(&[("b", "2")]));
    assert_eq!(line["vars"], json!({"a": null, "b": "2"}));
}

#[test]
fn a_variable_whose_column_name_is_taken_gets_a_prefix() {
    let form = form(&[], &["title", "status", "vars.status", "Width", "länge"]);
    let mut table = form.header().unwrap();
    table.extend(
        form.row(&finished(full(&[
            ("title", "Café \"Noir\"\nlarge"),
            ("status", "=1+1"),
        ])))
        .unwrap(),
    );
    let [header, row] = &cells(&table)[..] else {
        panic!("{table:?}")
    };
    assert_eq!(
        header[13..],
        [
            "title",
            "vars.status",
            "vars.vars.status",
            "vars.Width",
            "länge"
        ]
    );
    assert_eq!(row[0], "café/1.v02");
    assert_eq!(row[13..], ["Café \"Noir\"\nlarge", "'=1+1", "", "", ""]);
}

#[test]
fn the_byte_order_mark_occurs_once_at_the_beginning() {
    let form = form(&[], &["title"]);
    let header = form.header().unwrap();
    let row = form.row(&finished(full(&[]))).unwrap();
    let marks = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches('\u{feff}').count();
    assert!(header.starts_with(b"\xef\xbb\xbfkey,"));
    assert_eq!((marks(&header), marks(&row)), (1, 0));
}

proptest! {
    #[test]
    fn any_items_give_lines_with_equal_members_and_rows_with_equal_cells(
        items in proptest::collection::vec(
            (proptest::option::of(0..3_usize), proptest::collection::btree_map("[a-e]|status|\\PC{1,8}", ".{0,12}", 0..6), any::<bool>()),
            1..8,
        ),
    ) {
        let keys = ["id", "custom_id", "recordId"];
        let mut variables: Vec<String> = items.iter().flat_map(|(_, vars, _)| vars.keys().cloned()).collect();
        variables.sort();
        variables.dedup();
        let form = ResultForm::new(CustomNames { keys: keys.map(str::to_owned).to_vec(), variables: variables.clone() });

        let mut table = form.header().unwrap();
        let mut members = None;
        for (key, vars, is_full) in &items {
            let line = if *is_full { full(&[]) } else { bare(&[]) };
            let line = finished(ResultLine { vars: vars.clone(), ..line });
            table.extend(form.row(&line).unwrap());
            let line: Map<String, Value> =
                serde_json::from_slice(&form.line(&plan(key.map(|key| keys[key])), &line).unwrap()).unwrap();
            let of_vars = line["vars"].as_object().map(|vars| vars.keys().cloned().collect::<Vec<_>>());
            let found = (line.keys().cloned().collect::<Vec<_>>(), of_vars);
            prop_assert_eq!(members.get_or_insert_with(|| found.clone()), &found);
        }

        let table = cells(&table);
        let mut names: Vec<String> = table[0].iter().map(|name| name.to_lowercase()).collect();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), 13 + variables.len());
        for ((_, vars, _), row) in items.iter().zip(&table[1..]) {
            let values = variables.iter().map(|name| escape_formulas(vars.get(name).map_or("", String::as_str)).into_owned());
            prop_assert_eq!(&row[13..], &values.collect::<Vec<_>>()[..]);
        }
        prop_assert_eq!(table.len(), items.len() + 1);
    }
}
