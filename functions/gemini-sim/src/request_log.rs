//! The log of requests: one JSON line for each single request that was answered, and, if the
//! scenario enables it, for each request of a created batch.
//!
//! It has a hash of each request instead of its text, so that a test can find out which of them were
//! sent more than once, in a batch and alone.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use disk::documents::DocumentError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    digest::sha256_hex, generation::service_tier::ServiceTier, service::Gemini, wire::route::Call,
};

/// The name of the file in the state folder.
const FILE_NAME: &str = "requests.jsonl";

/// The number of bytes that are collected before they are appended. Longer lines are appended
/// alone.
const BLOCK_BYTES: usize = 64 * 1024;

/// One request, as logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedRequest {
    /// When the call was received. For the request of a batch, when the batch was created.
    pub at: Timestamp,
    /// How the request arrived.
    pub call: LoggedCall,
    /// The model's id, without `models/`, as the caller wrote it.
    pub model: String,
    /// The tier that the request asks for. A body that can't be parsed counts as standard.
    pub tier: LoggedTier,
    /// The HTTP status of the answer. A call whose answer is lost has the status of that answer.
    pub status: u16,
    /// The key of the request of a batch, if it has one as a string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The SHA-256 in hexadecimal digits: of the body of a call as it was received, or of the text
    /// of the member `request` in the input file of a batch. Inline requests of a batch are hashed
    /// as they are stored: with the names of fields in lowerCamelCase and without white space.
    pub request_sha256: String,
}

/// How a logged request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoggedCall {
    /// As a call of `:generateContent`.
    GenerateContent,
    /// As a call of `:streamGenerateContent`.
    StreamGenerateContent,
    /// As a line of a batch's input, or as one of its inline requests.
    BatchLine,
}

/// The tier of a logged request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoggedTier {
    /// A single request at the standard tier.
    Standard,
    /// A single request at the flex tier.
    Flex,
    /// A single request at the priority tier.
    Priority,
    /// A request of a batch.
    Batch,
}

impl From<ServiceTier> for LoggedTier {
    fn from(tier: ServiceTier) -> Self {
        match tier {
            ServiceTier::Standard => Self::Standard,
            ServiceTier::Flex => Self::Flex,
            ServiceTier::Priority => Self::Priority,
        }
    }
}

impl LoggedRequest {
    /// Creates the entry of a single request with this body.
    pub(crate) fn single(
        (call, model): (Call, &str),
        tier: ServiceTier,
        body: &[u8],
        status: u16,
        at: Timestamp,
    ) -> Self {
        Self {
            at,
            call: match call {
                Call::StreamGenerateContent => LoggedCall::StreamGenerateContent,
                _ => LoggedCall::GenerateContent,
            },
            model: model.to_owned(),
            tier: tier.into(),
            status,
            key: None,
            request_sha256: sha256_hex(body),
        }
    }

    /// Creates the entry of a line of a batch's input.
    fn of_line(line: &[u8], model: &str, at: Timestamp) -> serde_json::Result<Self> {
        // Of members with the same name, the last one counts, as when the line was validated.
        let members: BTreeMap<String, &RawValue> = serde_json::from_slice(line)?;
        let text = |name: &str| members.get(name).map_or("null", |member| member.get());
        let key: Value = serde_json::from_str(text("key"))?;
        let metadata: Value = serde_json::from_str(text("metadata"))?;
        let key = key.as_str().or_else(|| metadata["key"].as_str());
        Ok(Self {
            at,
            call: LoggedCall::BatchLine,
            model: model.to_owned(),
            tier: LoggedTier::Batch,
            status: 200,
            key: key.map(str::to_owned),
            request_sha256: sha256_hex(text("request").as_bytes()),
        })
    }
}

/// The file with the log.
#[derive(Debug)]
pub(crate) struct RequestLog {
    path: PathBuf,
    file: Mutex<File>,
}

impl RequestLog {
    /// Opens the log in `folder`, and removes a line that a killed process has left incomplete.
    ///
    /// # Errors
    /// [`DocumentError`] when the file can't be read or written.
    pub(crate) fn open(folder: &Path) -> Result<Self, DocumentError> {
        let path = folder.join(FILE_NAME);
        let open = || {
            let mut file = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)?;
            let length = length_of_lines(&mut file)?;
            // Setting the length would change the time of the file even if nothing is cut off.
            if length != file.metadata()?.len() {
                file.set_len(length)?;
            }
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self {
                path,
                file: Mutex::new(file),
            }),
            Err(source) => Err(DocumentError::Io { path, source }),
        }
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn append(&self, entry: &LoggedRequest) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.lock().write_all(&line)
    }

    /// Appends an entry for each line of the batch input at `path`. The input is read line by line,
    /// because it may be larger than the memory.
    ///
    /// # Errors
    /// When the input can't be read or the entries can't be written.
    pub(crate) fn append_batch(&self, path: &Path, model: &str, at: Timestamp) -> io::Result<()> {
        let mut input = BufReader::new(File::open(path)?);
        let (mut line, mut block) = (Vec::new(), Vec::new());
        while input.read_until(b'\n', &mut line)? > 0 {
            if !line.trim_ascii().is_empty() {
                let entry = LoggedRequest::of_line(&line, model, at)?;
                serde_json::to_writer(&mut block, &entry)?;
                block.push(b'\n');
            }
            line.clear();
            if block.len() >= BLOCK_BYTES {
                self.lock().write_all(&block)?;
                block.clear();
            }
        }
        self.lock().write_all(&block)
    }

    /// Returns all entries, in the order in which they were appended.
    ///
    /// # Errors
    /// When the file can't be read, or has a line that is not an entry.
    fn read(&self) -> io::Result<Vec<LoggedRequest>> {
        // No line is incomplete while the file is locked.
        let file = self.lock();
        let lines = BufReader::new(File::open(&self.path)?).lines();
        let entries = lines
            .map(|line| Ok(serde_json::from_str(&line?)?))
            .collect();
        drop(file);
        entries
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gemini {
    /// Returns the log of requests since the state folder was created, oldest first: every single
    /// request that was answered, and, if [`Scenario::log_batch_lines`] is set, every request of a
    /// created batch. Calls without an accepted API key are left out, and so are those that a fault
    /// keeps from arriving or from being answered.
    ///
    /// The lines of batches that are created at the same time can be mixed.
    ///
    /// [`Scenario::log_batch_lines`]: crate::Scenario::log_batch_lines
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn request_log(&self) -> io::Result<Vec<LoggedRequest>> {
        self.log.read()
    }
}

/// Returns the length of a file up to the end of its last complete line.
fn length_of_lines(file: &mut (impl Read + Seek)) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut block = vec![0; BLOCK_BYTES];
    while end > 0 {
        let length = usize::try_from(end).map_or(BLOCK_BYTES, |end| end.min(BLOCK_BYTES));
        let start = end - length as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..length])?;
        if let Some(at) = memchr::memrchr(b'\n', &block[..length]) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Cursor};

    use super::*;

    fn entry(line: &str) -> (Option<String>, String) {
        let entry = LoggedRequest::of_line(line.as_bytes(), "m", Timestamp::UNIX_EPOCH);
        let entry = entry.expect("a line");
        (entry.key, entry.request_sha256)
    }

    #[test]
    fn the_exact_text_of_a_request_is_hashed() {
        let line = "  {\"key\" : \"a\\u0062\", \"request\" :  {\"x\": [1 ,2]}  }\n";
        assert_eq!(
            entry(line),
            (Some("ab".to_owned()), sha256_hex(b"{\"x\": [1 ,2]}"))
        );
    }

    #[test]
    fn the_last_of_several_members_counts() {
        let line = r#"{"request":{"a":1},"key":"a","key":"b","request":{}}"#;
        assert_eq!(entry(line), (Some("b".to_owned()), sha256_hex(b"{}")));
    }

    #[test]
    fn inline_requests_have_their_key_in_the_metadata() {
        let key = |line: &str| entry(line).0;
        let with_key = r#"{"request":{},"metadata":{"key":"a"}}"#;
        assert_eq!(key(with_key), Some("a".to_owned()));
        assert_eq!(key(r#"{"request":{},"metadata":{"key":7}}"#), None);
        assert_eq!(key(r#"{"request":{}}"#), None);
    }

    #[test]
    fn the_length_of_lines_excludes_an_incomplete_one() {
        let length = |text: &str| length_of_lines(&mut Cursor::new(text)).expect("read");
        assert_eq!(length(""), 0);
        assert_eq!(length("torn"), 0);
        assert_eq!(length("a\nb\n"), 4);
        assert_eq!(length("a\nb\ntorn"), 4);
        let long = "x".repeat(2 * BLOCK_BYTES + 1);
        assert_eq!(length(&long), 0);
        assert_eq!(length(&format!("a\n{long}")), 2);
        assert_eq!(length(&format!("{long}\n{long}")), long.len() as u64 + 1);
    }

    #[test]
    fn entries_survive_a_restart_and_incomplete_ones_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let call = (Call::GenerateContent, "m");
        let entry =
            LoggedRequest::single(call, ServiceTier::Flex, b"{}", 503, Timestamp::UNIX_EPOCH);
        let open = || RequestLog::open(folder.path()).expect("opens");
        open().append(&entry).expect("written");

        let path = folder.path().join(FILE_NAME);
        let line = fs::read_to_string(&path).expect("read");
        assert_eq!(
            line,
            "{\"at\":\"1970-01-01T00:00:00Z\",\"call\":\"generate-content\",\"model\":\"m\",\"tier\":\"flex\",\
             \"status\":503,\"request_sha256\":\
             \"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"}\n"
        );
        fs::write(&path, format!("{line}{}", &line[..40])).expect("written");
        open().append(&entry).expect("written");
        assert_eq!(open().read().expect("entries"), [entry.clone(), entry]);
    }
}
