//! The data elements of a stored page, each on one line: the job, the sections and the sums.
//!
//! `darkroom review` takes these elements out of a page in the bucket and shows them in its own
//! page. Others may have written to the bucket, so every line is checked: nothing else can come
//! along.

use serde::de::IgnoredAny;

/// The beginning of the element about the whole job.
const JOB: &str = r#"<script type="application/json" id="job">"#;

/// The beginning of a section.
const SECTION: &str = r#"<script type="text/plain" class="rows">"#;

/// The beginning of the element with the sums.
const SUMS: &str = r#"<script type="application/json" id="sums">"#;

/// The end of each element.
const END: &str = "</script>";

/// Returns the element about the whole job.
pub(super) fn job(json: &str) -> String {
    format!("{JOB}{}{END}\n", escape(json))
}

/// Returns a section.
pub(super) fn section(base64: &str) -> String {
    format!("{SECTION}{base64}{END}\n")
}

/// Returns the element with the sums.
pub(super) fn sums(json: &str) -> String {
    format!("{SUMS}{}{END}\n", escape(json))
}

/// Escapes the characters of a JSON text that have a meaning in HTML or end a line in a script.
/// They can only be in strings, where an escape means the same.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// Returns the data elements of a page, from the one about the job to the sums. Returns `None` if
/// there are none, or if anything else is between them.
pub fn data_elements(page: &str) -> Option<&str> {
    let start = find_line(page, JOB)?;
    let data = &page[start..];
    let mut end = 0;
    for (number, line) in data.split_inclusive('\n').enumerate() {
        end += line.len();
        let line = line.strip_suffix('\n')?;
        let is_sums = content(line, SUMS).is_some_and(is_json);
        let is_expected = match number {
            0 => content(line, JOB).is_some_and(is_json),
            _ => is_sums || content(line, SECTION).is_some_and(is_base64),
        };
        if !is_expected {
            return None;
        }
        if is_sums && number > 0 {
            return Some(&data[..end]);
        }
    }
    None
}

/// Returns the JSON text of the element about the job, from checked data elements.
pub(super) fn job_of(data: &str) -> Option<&str> {
    content(data.lines().next()?, JOB)
}

/// Returns the position of the first line that begins with `beginning`.
fn find_line(page: &str, beginning: &str) -> Option<usize> {
    let mut found = page.match_indices(beginning);
    found.find_map(|(at, _)| (at == 0 || page[..at].ends_with('\n')).then_some(at))
}

/// Returns the content of an element with this beginning.
fn content<'a>(line: &'a str, beginning: &str) -> Option<&'a str> {
    line.strip_prefix(beginning)?.strip_suffix(END)
}

/// Whether a text is JSON in which no character has a meaning in HTML.
fn is_json(text: &str) -> bool {
    !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}'])
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn is_base64(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}
