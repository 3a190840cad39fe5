//! Lines of a request file: `{"key":…,"request":{…}}`, as Gemini takes them but for references, which are `s3://` texts
//! until `submit` has uploaded them.

use std::{borrow::Cow, collections::HashMap};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::names::{ObjectUri, RequestKey};

/// A line that is no request line. Only a request file that somebody changed by hand has one.
#[derive(Debug, thiserror::Error)]
#[error("a line of the request file is no request: {0}")]
pub struct RequestLineError(#[from] serde_json::Error);

/// Where an uploaded reference is, for Gemini.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedReference {
    /// The file's URI in the Files API.
    pub uri: String,
    /// Its MIME type, by its bytes.
    pub mime_type: String,
}

/// The request key of a line.
///
/// # Errors
/// [`RequestLineError`] when it is no JSON object with a key.
pub fn key_of(line: &[u8]) -> Result<RequestKey, RequestLineError> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        key: Cow<'a, str>,
        #[serde(rename = "request")]
        _request: IgnoredAny,
    }
    Ok(RequestKey::new(serde_json::from_slice::<Line<'_>>(line)?.key))
}

/// The objects that a line refers to, in order; those without a scheme are keys in `bucket`.
///
/// # Errors
/// [`RequestLineError`] when it is no JSON.
pub fn references(line: &[u8], bucket: &str) -> Result<Vec<ObjectUri>, RequestLineError> {
    let mut found = Vec::new();
    if may_refer(line) {
        let mut line: Value = serde_json::from_slice(line)?;
        for_each_file(&mut line, &mut |file| found.extend(reference(file, bucket)));
    }
    Ok(found)
}

/// The line with its references replaced by uploaded files. A line without any is passed through untouched.
///
/// # Errors
/// [`RequestLineError`] when it is no JSON.
pub fn with_uploaded<'a>(
    line: &'a [u8],
    bucket: &str,
    uploaded: &HashMap<ObjectUri, UploadedReference>,
) -> Result<Cow<'a, [u8]>, RequestLineError> {
    if uploaded.is_empty() || !may_refer(line) {
        return Ok(Cow::Borrowed(line));
    }
    let mut value: Value = serde_json::from_slice(line)?;
    let mut changed = false;
    for_each_file(&mut value, &mut |file| {
        if let Some(upload) = reference(file, bucket).and_then(|uri| uploaded.get(&uri)) {
            changed = true;
            let (uri, mime_type) =
                if file.contains_key("file_uri") { ("file_uri", "mime_type") } else { ("fileUri", "mimeType") };
            file.insert(uri.to_owned(), Value::from(upload.uri.as_str()));
            file.insert(mime_type.to_owned(), Value::from(upload.mime_type.as_str()));
        }
    });
    Ok(if changed { Cow::Owned(serde_json::to_vec(&value)?) } else { Cow::Borrowed(line) })
}

/// Spares most lines the parsing: without these letters there is no file in them.
fn may_refer(line: &[u8]) -> bool {
    [&b"fileUri"[..], b"file_uri"].iter().any(|name| memchr::memmem::find(line, name).is_some())
}

/// Calls `visit` with each `fileData` of the request's contents and system instruction.
fn for_each_file(line: &mut Value, visit: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    let members = line.get_mut("request").and_then(Value::as_object_mut).into_iter().flatten();
    let contents =
        members.filter(|(name, _)| matches!(name.as_str(), "contents" | "systemInstruction" | "system_instruction"));
    let parts = contents
        .flat_map(|(_, content)| match content {
            Value::Array(contents) => contents.iter_mut().collect::<Vec<_>>(),
            content => vec![content],
        })
        .filter_map(|content| content.get_mut("parts").and_then(Value::as_array_mut))
        .flatten();
    for part in parts {
        for name in ["fileData", "file_data"] {
            if let Some(file) = part.get_mut(name).and_then(Value::as_object_mut) {
                visit(file);
            }
        }
    }
}

fn reference(file: &serde_json::Map<String, Value>, bucket: &str) -> Option<ObjectUri> {
    let uri = file.get("fileUri").or_else(|| file.get("file_uri"))?.as_str()?;
    if uri.starts_with("s3://") {
        uri.parse().ok()
    } else if uri.contains("://") || uri.starts_with("files/") || uri.is_empty() {
        None
    } else {
        Some(ObjectUri { bucket: bucket.to_owned(), key: uri.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"key":"a","request":{"contents":[{"parts":[{"text":"s3://b/x.png"},{"fileData":{"mimeType":"image/png","fileUri":"s3://b/x.png"}},{"file_data":{"file_uri":"refs/y.jpg"}},{"fileData":{"fileUri":"https://g/files/z"}}]}],"generationConfig":{"seed":5}}}"#;

    fn object(bucket: &str, key: &str) -> ObjectUri {
        ObjectUri { bucket: bucket.to_owned(), key: key.to_owned() }
    }

    #[test]
    fn references_are_s3_and_bucket_relative_files_only() {
        assert_eq!(references(LINE.as_bytes(), "own").unwrap(), [object("b", "x.png"), object("own", "refs/y.jpg")]);
    }

    #[test]
    fn a_system_instruction_may_refer_to_files_too() {
        let line =
            br#"{"key":"a","request":{"systemInstruction":{"parts":[{"fileData":{"fileUri":"s3://b/x.png"}}]}}}"#;
        assert_eq!(references(line, "own").unwrap(), [object("b", "x.png")]);
    }

    #[test]
    fn uploaded_references_are_replaced_and_nothing_else() {
        let upload =
            |name: &str| UploadedReference { uri: format!("https://g/files/{name}"), mime_type: "image/webp".into() };
        let uploaded = HashMap::from([(object("b", "x.png"), upload("x")), (object("own", "refs/y.jpg"), upload("y"))]);
        let line = with_uploaded(LINE.as_bytes(), "own", &uploaded).unwrap();
        let expected = LINE
            .replace(
                r#""mimeType":"image/png","fileUri":"s3://b/x.png""#,
                r#""mimeType":"image/webp","fileUri":"https://g/files/x""#,
            )
            .replace(r#""file_uri":"refs/y.jpg""#, r#""file_uri":"https://g/files/y","mime_type":"image/webp""#);
        assert_eq!(String::from_utf8(line.into_owned()).unwrap(), expected);
    }

    #[test]
    fn a_line_without_references_is_the_same_bytes() {
        let line = br#"{ "key" : "a", "request": {"contents":[{"parts":[{"text":"fileUri"}]}], "x": 1.0e3} }"#;
        let uploaded =
            HashMap::from([(object("b", "x"), UploadedReference { uri: "u".into(), mime_type: "m".into() })]);
        assert_eq!(&*with_uploaded(line, "b", &uploaded).unwrap(), line);
    }

    #[test]
    fn the_key_is_found_wherever_it_stands() {
        assert_eq!(key_of(br#"{"request":{"key":"no"},"key":"y\u00e9s"}"#).unwrap().as_str(), "yés");
        key_of(br#"{"request":{}}"#).unwrap_err();
    }
}
