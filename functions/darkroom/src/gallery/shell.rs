//! The parts of the page that are the same for every job, and its content security policy.

use sha2::{Digest, Sha256};

use super::{Head, Sums, stored};

/// The static markup of the body.
const MARKUP: &str = include_str!("page.html");

/// The style sheet.
const STYLE: &str = include_str!("page.css");

/// The script.
const SCRIPT: &str = include_str!("page.js");

/// Returns the page up to the first section.
pub(super) fn beginning(head: &Head) -> String {
    let policy = policy(&[SCRIPT], "");
    let policy = format!(r#"<meta http-equiv="Content-Security-Policy" content="{policy}">"#);
    let json = json(head);
    open("", &policy, head.job.as_str()) + &stored::job(&json)
}

/// Returns the sums and the rest of the page.
pub(super) fn end(sums: &Sums) -> String {
    stored::sums(&json(sums)) + &close(&[SCRIPT])
}

/// Returns a page that shows checked data elements ([`stored::data_elements`]) in `darkroom
/// review`, and the value of the header `Content-Security-Policy` that it is served with.
/// `review_script` runs after the page's script.
pub fn review_shell(data: &str, review_script: &str) -> (String, String) {
    let scripts = [SCRIPT, review_script];
    let head = stored::job_of(data).and_then(|json| serde_json::from_str(json).ok());
    let head: serde_json::Value = head.unwrap_or_default();
    let job = head["job"].as_str().unwrap_or("Darkroom");
    let page = open(r#" data-review="1""#, "", job) + data + &close(&scripts);
    (
        page,
        policy(&scripts, "connect-src 'self'; frame-ancestors 'none'; "),
    )
}

/// Returns the page up to the data. `policy` is the element with its policy, if it has one.
fn open(attributes: &str, policy: &str, title: &str) -> String {
    let title = escape(title);
    format!(
        r#"<!doctype html>
<html lang="en"{attributes}>
<head>
<meta charset="utf-8">
{policy}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
{MARKUP}
"#
    )
}

/// Returns the page after the data.
fn close(scripts: &[&str]) -> String {
    let elements = scripts.iter();
    let elements: String = elements
        .map(|script| format!("<script>{script}</script>\n"))
        .collect();
    format!("{elements}</body>\n</html>\n")
}

/// Returns a content security policy that allows the page's own style sheet, these scripts, and
/// images of the same origin.
fn policy(scripts: &[&str], more: &str) -> String {
    let scripts = scripts.iter().map(|script| hash(script));
    let scripts: Vec<String> = scripts.collect();
    format!(
        "default-src 'none'; img-src 'self' data:; style-src {}; script-src {}; \
         {more}base-uri 'none'; form-action 'none'",
        hash(STYLE),
        scripts.join(" ")
    )
}

/// Returns the source expression of an element with this content.
fn hash(content: &str) -> String {
    let digest = base64_simd::STANDARD.encode_to_string(Sha256::digest(content));
    format!("'sha256-{digest}'")
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("data is JSON: {error}"))
}

/// Escapes a text for an element's content.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
