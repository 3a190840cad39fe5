//! What the manifests of a folder get where they set nothing themselves.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::manifest::job_document_problems;

/// The fields that a folder may set, and whether each concerns the job or its items.
///
/// Fields that tell one job or one image from another (`name`, `run`, `key`, `n`), that describe one
/// table (`columns`, `continuation_rows`), or that are found by folder already (templates) are not
/// among them.
const FIELDS: [(&str, Part); 14] = [
    ("budget_usd", Part::Job),
    ("mode", Part::Job),
    ("request_check", Part::Job),
    ("lane", Part::Job),
    ("within", Part::Job),
    ("rescue", Part::Job),
    ("flex_fallback", Part::Job),
    ("proof", Part::Job),
    ("model", Part::Item),
    ("aspect_ratio", Part::Item),
    ("image_size", Part::Item),
    ("thinking", Part::Item),
    ("temperature", Part::Item),
    ("system", Part::Item),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Job,
    Item,
}

/// Returns what is wrong with one default, if anything is.
pub(super) fn problem(name: &str, value: &Value) -> Option<String> {
    if !FIELDS.iter().any(|(known, _)| *known == name) {
        let known = FIELDS.map(|(known, _)| known).join(", ");
        return Some(format!(
            "{name:?} can't be a default of a folder: expected one of {known}"
        ));
    }
    let alone = BTreeMap::from([(name.to_owned(), value.clone())]);
    let problems = job_document_problems(&document(&alone));
    problems.into_iter().next().map(|problem| problem.message)
}

/// Returns the defaults in the form of a job document. The same defaults give the same text, which
/// is a part of the identity of the folder's jobs.
pub(super) fn document(defaults: &BTreeMap<String, Value>) -> String {
    let (mut job, mut items) = (Map::new(), Map::new());
    for (name, value) in defaults {
        let part = FIELDS.iter().find(|(known, _)| known == name);
        let fields = match part {
            Some((_, Part::Item)) => &mut items,
            Some((_, Part::Job)) | None => &mut job,
        };
        fields.insert(name.clone(), value.clone());
    }
    json!({"job": job, "defaults": items}).to_string()
}
