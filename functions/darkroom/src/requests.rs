//! Lines of a request file: `{"key":…,"request":{…}}`, as Gemini expects them. References are
//! `s3://` addresses until `submit` has uploaded them.

use std::{borrow::Cow, collections::HashMap};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json, value::RawValue};

use crate::names::{ObjectUri, RequestKey};

/// The line is not a request line. Only a request file that was edited by hand contains one.
#[derive(Debug, thiserror::Error)]
#[error("a line of the request file is not a request: {0}")]
pub struct RequestLineError(pub serde_json::Error);

/// A reference that was uploaded to Gemini.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedReference {
    /// The file's URI in the Files API.
    pub uri: String,
    /// Its MIME type, determined from its bytes.
    pub mime_type: String,
}

/// The place at which Gemini finds a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacedReference {
    /// The reference is in the Files API.
    Uploaded(UploadedReference),
    /// The reference is in the request line itself.
    Inline {
        /// The MIME type, determined from the bytes.
        mime_type: &'static str,
        /// The bytes as base64.
        data: String,
    },
}

impl PlacedReference {
    /// Encodes bytes for the request line.
    pub fn inline(mime_type: &'static str, bytes: &[u8]) -> Self {
        Self::Inline {
            mime_type,
            data: base64_simd::STANDARD.encode_to_string(bytes),
        }
    }

    /// Returns the number of bytes that the image adds to a line.
    pub fn inline_bytes(&self) -> u64 {
        match self {
            Self::Uploaded(_) => 0,
            Self::Inline { data, .. } => data.len() as u64,
        }
    }
}

/// Returns the line that requests an image, with its line break.
///
/// A request in Google's form may span several lines of a JSON document. Line breaks can only occur
/// between JSON tokens, where a space is equivalent, so they become spaces.
pub fn line(key: &RequestKey, request: &RawValue) -> Vec<u8> {
    let mut line = b"{\"key\":".to_vec();
    line.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
    line.extend_from_slice(b",\"request\":");
    line.extend(request.get().bytes().map(|byte| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            byte
        }
    }));
    line.extend_from_slice(b"}\n");
    line
}

/// Returns the length of [`line()`] in bytes.
pub fn line_bytes(key: &RequestKey, request: &RawValue) -> u64 {
    const AROUND: usize = "{\"key\":,\"request\":}\n".len();
    (AROUND + Value::from(key.as_str()).to_string().len() + request.get().len()) as u64
}

/// Returns the request key of a line.
///
/// # Errors
/// [`RequestLineError`] if the line is not a JSON object with a key and a request.
pub fn key_of(line: &[u8]) -> Result<RequestKey, RequestLineError> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        key: Cow<'a, str>,
        #[serde(rename = "request")]
        _request: IgnoredAny,
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(RequestLineError)?;
    Ok(RequestKey::new(line.key))
}

/// Returns the body of a synchronous call that makes the image of a line, in the flex tier or not.
///
/// The body is the request of the line, byte for byte, so that an image that was settled in a
/// synchronous call is requested by the same bytes in a batch. The tier is the only addition; it is
/// not allowed in a batch (<https://ai.google.dev/gemini-api/docs/flex-inference>, read 2026-11).
///
/// # Errors
/// [`RequestLineError`] if the line is not a JSON object with a request.
pub fn call_body(line: &[u8], is_flex: bool) -> Result<Vec<u8>, RequestLineError> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        request: &'a RawValue,
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(RequestLineError)?;
    Ok(in_tier(line.request.get(), is_flex).into_bytes())
}

/// Returns a request that names no tier as the body of a synchronous call, in the flex tier or not.
pub fn in_tier(request: &str, is_flex: bool) -> String {
    match request.strip_prefix('{').filter(|_| is_flex) {
        Some(rest) => format!("{{\"serviceTier\":\"flex\",{rest}"),
        None => request.to_owned(),
    }
}

/// Returns the objects that a line refers to, in order. A reference without a scheme is a key in
/// `bucket`.
///
/// # Errors
/// [`RequestLineError`] if the line is not JSON.
pub fn references(line: &[u8], bucket: &str) -> Result<Vec<ObjectUri>, RequestLineError> {
    let mut found = Vec::new();
    if may_refer(line) {
        let mut line: Value = serde_json::from_slice(line).map_err(RequestLineError)?;
        for_each_part(&mut line, &mut |part| {
            let files = FILE_DATA
                .iter()
                .filter_map(|(name, _)| part.get(*name)?.as_object());
            found.extend(files.filter_map(|file| reference(file, bucket)));
        });
    }
    Ok(found)
}

/// Replaces the references of a line by uploaded files or by their bytes. A line without references
/// is returned unchanged.
///
/// # Errors
/// [`RequestLineError`] if the line is not JSON.
pub fn with_placed<'a>(
    line: &'a [u8],
    bucket: &str,
    placed: &HashMap<ObjectUri, PlacedReference>,
) -> Result<Cow<'a, [u8]>, RequestLineError> {
    if placed.is_empty() || !may_refer(line) {
        return Ok(Cow::Borrowed(line));
    }
    let mut value: Value = serde_json::from_slice(line).map_err(RequestLineError)?;
    let mut changed = false;
    for_each_part(&mut value, &mut |part| {
        for (name, inline) in FILE_DATA {
            let Some(file) = part.get_mut(name).and_then(Value::as_object_mut) else {
                continue;
            };
            let Some(place) = reference(file, bucket).and_then(|uri| placed.get(&uri)) else {
                continue;
            };
            changed = true;
            // The replacement keeps the spelling of the line, `fileUri` or `file_uri`.
            match place {
                PlacedReference::Uploaded(upload) => {
                    let (uri, mime_type) = if file.contains_key("file_uri") {
                        ("file_uri", "mime_type")
                    } else {
                        ("fileUri", "mimeType")
                    };
                    file.insert(uri.to_owned(), Value::from(upload.uri.as_str()));
                    file.insert(mime_type.to_owned(), Value::from(upload.mime_type.as_str()));
                }
                PlacedReference::Inline { mime_type, data } => {
                    let mime_type_name = if name == "file_data" {
                        "mime_type"
                    } else {
                        "mimeType"
                    };
                    part.shift_remove(name);
                    part.insert(
                        inline.to_owned(),
                        json!({mime_type_name: mime_type, "data": data}),
                    );
                }
            }
        }
    });
    Ok(if changed {
        Cow::Owned(serde_json::to_vec(&value).map_err(RequestLineError)?)
    } else {
        Cow::Borrowed(line)
    })
}

/// The members of a part that name a file, each with the member that holds bytes instead.
const FILE_DATA: [(&str, &str); 2] = [("fileData", "inlineData"), ("file_data", "inline_data")];

/// Whether a line may refer to a file. Most lines contain neither name, and needn't be parsed.
fn may_refer(line: &[u8]) -> bool {
    [&b"fileUri"[..], b"file_uri"]
        .iter()
        .any(|name| memchr::memmem::find(line, name).is_some())
}

/// Calls `visit` with each part of the request's contents and system instruction.
fn for_each_part(line: &mut Value, visit: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    let members = line
        .get_mut("request")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten();
    let contents = members.filter(|(name, _)| {
        matches!(
            name.as_str(),
            "contents" | "systemInstruction" | "system_instruction"
        )
    });
    let parts = contents
        .flat_map(|(_, content)| match content {
            Value::Array(contents) => contents.iter_mut().collect::<Vec<_>>(),
            content => vec![content],
        })
        .filter_map(|content| content.get_mut("parts").and_then(Value::as_array_mut))
        .flatten();
    parts.filter_map(Value::as_object_mut).for_each(visit);
}

/// Returns the object that a `fileData` refers to, or `None` for a file that Gemini already has.
fn reference(file: &serde_json::Map<String, Value>, bucket: &str) -> Option<ObjectUri> {
    let uri = file
        .get("fileUri")
        .or_else(|| file.get("file_uri"))?
        .as_str()?;
    if uri.starts_with("s3://") {
        uri.parse().ok()
    } else if uri.contains("://") || uri.starts_with("files/") || uri.is_empty() {
        None
    } else {
        Some(ObjectUri {
            bucket: bucket.to_owned(),
            key: uri.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"key":"a","request":{"contents":[{"parts":[{"text":"s3://b/x.png"},{"fileData":{"mimeType":"image/png","fileUri":"s3://b/x.png"}},{"file_data":{"file_uri":"refs/y.jpg"}},{"fileData":{"fileUri":"https://g/files/z"}}]}],"generationConfig":{"seed":5}}}"#;

    fn object(bucket: &str, key: &str) -> ObjectUri {
        ObjectUri {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        }
    }

    #[test]
    fn a_request_becomes_one_line_of_the_computed_length() {
        for (key, request) in [
            ("a", "{}"),
            ("\u{7}\"東\"\\", "{\r\n \"contents\":[\"a\\nb\"]\n}"),
        ] {
            let (key, request) = (
                RequestKey::new(key),
                RawValue::from_string(request.to_owned()).unwrap(),
            );
            let line = line(&key, &request);
            assert_eq!(line.len() as u64, line_bytes(&key, &request));
            assert_eq!(
                line.iter()
                    .filter(|byte| matches!(byte, b'\n' | b'\r'))
                    .count(),
                1
            );
            let read: Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(read["key"], key.as_str());
            assert_eq!(
                read["request"],
                serde_json::from_str::<Value>(request.get()).unwrap()
            );
        }
    }

    #[test]
    fn references_are_s3_addresses_and_keys_of_the_bucket() {
        assert_eq!(
            references(LINE.as_bytes(), "own").unwrap(),
            [object("b", "x.png"), object("own", "refs/y.jpg")]
        );
    }

    #[test]
    fn a_system_instruction_may_refer_to_files_too() {
        let line =
            br#"{"key":"a","request":{"systemInstruction":{"parts":[{"fileData":{"fileUri":"s3://b/x.png"}}]}}}"#;
        assert_eq!(references(line, "own").unwrap(), [object("b", "x.png")]);
    }

    #[test]
    fn replaces_uploaded_references_and_nothing_else() {
        let upload = |name: &str| {
            let uri = format!("https://g/files/{name}");
            PlacedReference::Uploaded(UploadedReference {
                uri,
                mime_type: "image/webp".into(),
            })
        };
        let uploaded = HashMap::from([
            (object("b", "x.png"), upload("x")),
            (object("own", "refs/y.jpg"), upload("y")),
        ]);
        let line = with_placed(LINE.as_bytes(), "own", &uploaded).unwrap();
        let expected = LINE
            .replace(
                r#""mimeType":"image/png","fileUri":"s3://b/x.png""#,
                r#""mimeType":"image/webp","fileUri":"https://g/files/x""#,
            )
            .replace(
                r#""file_uri":"refs/y.jpg""#,
                r#""file_uri":"https://g/files/y","mime_type":"image/webp""#,
            );
        assert_eq!(String::from_utf8(line.into_owned()).unwrap(), expected);
    }

    #[test]
    fn replaces_a_small_reference_by_its_bytes() {
        let inline = PlacedReference::inline("image/webp", b"RIFF");
        assert_eq!(inline.inline_bytes(), 8);
        let placed = HashMap::from([
            (object("b", "x.png"), inline.clone()),
            (object("own", "refs/y.jpg"), inline),
        ]);
        let line = with_placed(LINE.as_bytes(), "own", &placed).unwrap();
        let expected = LINE
            .replace(
                r#""fileData":{"mimeType":"image/png","fileUri":"s3://b/x.png"}"#,
                r#""inlineData":{"mimeType":"image/webp","data":"UklGRg=="}"#,
            )
            .replace(
                r#""file_data":{"file_uri":"refs/y.jpg"}"#,
                r#""inline_data":{"mime_type":"image/webp","data":"UklGRg=="}"#,
            );
        assert_eq!(String::from_utf8(line.into_owned()).unwrap(), expected);
    }

    #[test]
    fn a_line_without_references_stays_unchanged() {
        let line = br#"{ "key" : "a", "request": {"contents":[{"parts":[{"text":"fileUri"}]}], "x": 1.0e3} }"#;
        let placed =
            HashMap::from([(object("b", "x"), PlacedReference::inline("image/png", b"x"))]);
        assert_eq!(&*with_placed(line, "b", &placed).unwrap(), line);
    }

    #[test]
    fn finds_the_key_at_any_position() {
        assert_eq!(
            key_of(br#"{"request":{"key":"no"},"key":"y\u00e9s"}"#)
                .unwrap()
                .as_str(),
            "yés"
        );
        key_of(br#"{"request":{}}"#).unwrap_err();
    }
}
