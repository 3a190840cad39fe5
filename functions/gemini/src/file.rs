//! A file as the Files API describes it.
//!
//! ```json
//! {"name":"files/t5sn","displayName":"in","mimeType":"application/jsonl","sizeBytes":"609","state":"ACTIVE",
//!  "createTime":"2026-08-01T10:00:00Z","expirationTime":"2026-08-03T10:00:00Z","sha256Hash":"<base64>",
//!  "uri":"https://…/v1beta/files/t5sn"}
//! ```

use darkroom::names::FileName;
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    error::ApiError,
    refusal::sanitize,
    wire::{Status, count, time},
};

/// One file, in the state that a response of Gemini reported. Google deletes it 48 hours after its
/// upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The name that Google assigned, or that the upload requested.
    pub name: FileName,
    /// The display name from the upload. Empty if the response has none.
    pub display_name: String,
    /// The URI by which a request refers to the file.
    pub uri: String,
    /// Whether the file can be used.
    pub state: FileState,
    /// The time of the upload.
    pub create_time: Option<Timestamp>,
    /// The time at which Google deletes the file.
    pub expires_at: Option<Timestamp>,
    /// The size in bytes.
    pub size_bytes: u64,
    /// The SHA-256 digest of the content, as 64 lower-case hex digits, if Google reports one.
    pub sha256: Option<String>,
    /// Why the file can't be used, if Google reports a reason.
    pub error: Option<Status>,
}

/// Whether a file can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    /// Google is still processing the file.
    Processing,
    /// The file can be used.
    Active,
    /// The file can never be used.
    Failed,
    /// A state that this client does not recognize, as written; empty if the response has none.
    Unknown(String),
}

impl FileState {
    fn from_wire(text: &str) -> Self {
        match text {
            "PROCESSING" => Self::Processing,
            "ACTIVE" => Self::Active,
            "FAILED" => Self::Failed,
            text => Self::Unknown(sanitize(text)),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireFile {
    name: String,
    display_name: String,
    uri: String,
    state: String,
    #[serde(deserialize_with = "time")]
    create_time: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    expiration_time: Option<Timestamp>,
    #[serde(deserialize_with = "count")]
    size_bytes: u64,
    sha256_hash: Option<String>,
    error: Option<Status>,
}

impl TryFrom<WireFile> for File {
    type Error = ApiError;

    fn try_from(file: WireFile) -> Result<Self, ApiError> {
        if !file.name.starts_with("files/") {
            return Err(ApiError::malformed("a file without a name"));
        }
        Ok(Self {
            name: FileName::new(file.name),
            display_name: file.display_name,
            uri: file.uri,
            state: FileState::from_wire(&file.state),
            create_time: file.create_time,
            expires_at: file.expiration_time,
            size_bytes: file.size_bytes,
            sha256: file.sha256_hash.as_deref().and_then(hex_digest),
            error: file.error,
        })
    }
}

/// Decodes a digest. By Google's schema it is base64 of the 32 bytes; captures of real responses
/// show base64 of their hexadecimal form.
fn hex_digest(wire: &str) -> Option<String> {
    let bytes = base64_simd::STANDARD.decode_to_vec(wire).ok()?;
    match bytes.len() {
        32 => Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        64 if bytes.iter().all(u8::is_ascii_hexdigit) => String::from_utf8(bytes)
            .ok()
            .map(|hex| hex.to_ascii_lowercase()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake_transport::assert_valid;

    fn file(wire: Value) -> Result<File, ApiError> {
        serde_json::from_value::<WireFile>(wire).unwrap().try_into()
    }

    #[test]
    fn reads_a_file_as_google_writes_it() {
        let digest = "ab".repeat(32);
        let wire = json!({
            "name": "files/t5snrshrqff1", "displayName": "in", "mimeType": "jsonl", "sizeBytes": "609",
            "createTime": "2026-08-01T10:00:00.123456Z", "updateTime": "2026-08-01T10:00:00.123456Z",
            "expirationTime": "2026-08-03T10:00:00.1Z",
            "sha256Hash": base64_simd::STANDARD.encode_to_string(&digest),
            "uri": "https://generativelanguage.googleapis.com/v1beta/files/t5snrshrqff1",
            "state": "ACTIVE", "source": "UPLOADED",
        });
        assert_valid("File", &wire);
        let expected = File {
            name: FileName::new("files/t5snrshrqff1"),
            display_name: "in".to_owned(),
            uri: "https://generativelanguage.googleapis.com/v1beta/files/t5snrshrqff1".to_owned(),
            state: FileState::Active,
            create_time: Some("2026-08-01T10:00:00.123456Z".parse().unwrap()),
            expires_at: Some("2026-08-03T10:00:00.1Z".parse().unwrap()),
            size_bytes: 609,
            sha256: Some(digest),
            error: None,
        };
        assert_eq!(file(wire).unwrap(), expected);
    }

    #[test]
    fn reads_a_digest_in_either_form() {
        let bytes = [0xAB_u8; 32];
        let hex = "ab".repeat(32);
        let encode = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
        assert_eq!(hex_digest(&encode(&bytes)), Some(hex.clone()));
        assert_eq!(
            hex_digest(&encode(hex.to_uppercase().as_bytes())),
            Some(hex)
        );
        assert_eq!(hex_digest(&encode(&[b'z'; 64])), None);
        assert_eq!(hex_digest(&encode(b"short")), None);
        assert_eq!(hex_digest("not base64!"), None);
    }

    #[test]
    fn an_unknown_state_is_kept() {
        let state = |state: &str| {
            file(json!({ "name": "files/1", "state": state }))
                .unwrap()
                .state
        };
        assert_eq!(state("PROCESSING"), FileState::Processing);
        assert_eq!(state("FAILED"), FileState::Failed);
        assert_eq!(state("RESTING"), FileState::Unknown("RESTING".to_owned()));
    }

    #[test]
    fn a_file_without_a_name_is_malformed() {
        for wire in [json!({}), json!({ "name": "in.jsonl" })] {
            assert!(matches!(file(wire), Err(ApiError::Malformed { .. })));
        }
    }
}
