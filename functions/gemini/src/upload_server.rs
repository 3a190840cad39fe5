//! The other side of an upload, for tests: strict about the protocol, and able to fail at every
//! chunk.

use std::sync::{Arc, Mutex};

use http::Response;
use seam::transport::full;
use serde_json::json;

use super::script::{Reply, Script, Seen, interrupted, never_sent, reply};

/// Where the uploads of these tests go. Its query must be seen nowhere.
pub(super) const UPLOAD_URL: &str =
    "https://generativelanguage.googleapis.com/upload/v1beta/files?upload_id=capability-77";

/// How a chunk fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Not a byte arrives.
    NeverSent,
    /// Only this many bytes arrive.
    Cut(usize),
    /// All arrives; the answer is lost.
    AnswerLost,
    /// All arrives; the answer says nothing about the upload.
    NoStatus,
    /// Nothing is taken: 503.
    Unavailable,
}

/// What the server has.
pub(super) struct Upload {
    pub(super) received: Vec<u8>,
    pub(super) finished: bool,
    /// How many chunks came, failed ones too.
    pub(super) chunks: usize,
}

/// A server for one upload of `size` bytes, whose chunks fail as `fault` says, given how many came
/// before.
pub(super) fn server(
    size: usize,
    granularity: usize,
    mut fault: impl FnMut(usize) -> Option<Fault> + Send + 'static,
) -> (Arc<Script>, Arc<Mutex<Upload>>) {
    let upload = Arc::new(Mutex::new(Upload {
        received: Vec::new(),
        finished: false,
        chunks: 0,
    }));
    let shared = Arc::clone(&upload);
    let script = Script::new(move |seen| {
        let mut upload = shared.lock().unwrap();
        match seen.header("x-goog-upload-command").unwrap() {
            "start" => started(granularity),
            "query" => {
                assert_eq!(seen.header("x-goog-api-key"), None);
                upload.progress()
            }
            command => {
                let last = command == "upload, finalize";
                assert!(last || command == "upload", "{command}");
                let fault = fault(upload.chunks);
                upload.chunks += 1;
                upload.chunk(seen, last, size, granularity, fault)
            }
        }
    });
    (script, upload)
}

pub(super) fn started(granularity: usize) -> Reply {
    Ok(Response::builder()
        .header("x-goog-upload-url", UPLOAD_URL)
        .header("x-goog-upload-status", "active")
        .header("x-goog-upload-chunk-granularity", granularity)
        .body(full("{}"))
        .unwrap())
}

impl Upload {
    fn chunk(
        &mut self,
        seen: &Seen,
        last: bool,
        size: usize,
        granularity: usize,
        fault: Option<Fault>,
    ) -> Reply {
        assert_eq!(
            seen.header("x-goog-api-key"),
            None,
            "the key went with a chunk"
        );
        assert_eq!(
            seen.header("x-goog-upload-offset"),
            Some(self.received.len().to_string().as_str())
        );
        assert_eq!(
            seen.header("content-length"),
            Some(seen.body.len().to_string().as_str())
        );
        assert!(
            last || seen.body.len().is_multiple_of(granularity),
            "{} bytes",
            seen.body.len()
        );
        assert!(!self.finished, "a chunk after the end");
        let taken = match fault {
            Some(Fault::NeverSent | Fault::Unavailable) => 0,
            Some(Fault::Cut(bytes)) => bytes.min(seen.body.len()),
            Some(Fault::AnswerLost | Fault::NoStatus) | None => seen.body.len(),
        };
        self.received.extend_from_slice(&seen.body[..taken]);
        if last
            && !matches!(
                fault,
                Some(Fault::NeverSent | Fault::Cut(_) | Fault::Unavailable)
            )
        {
            assert_eq!(self.received.len(), size);
            self.finished = true;
        }
        match fault {
            Some(Fault::NeverSent) => never_sent(),
            Some(Fault::Cut(_) | Fault::AnswerLost) => interrupted(),
            Some(Fault::NoStatus) => reply(200, ""),
            Some(Fault::Unavailable) => reply(503, "<html>"),
            None => self.progress(),
        }
    }

    fn progress(&self) -> Reply {
        let reply = Response::builder();
        let size = self.received.len();
        Ok(if self.finished {
            let file = json!({ "file": { "name": "files/1", "state": "ACTIVE", "sizeBytes": size.to_string() } });
            reply.header("x-goog-upload-status", "final").body(full(file.to_string()))
        } else {
            reply.header("x-goog-upload-status", "active").header("x-goog-upload-size-received", size).body(full(""))
        }
        .unwrap())
    }
}
