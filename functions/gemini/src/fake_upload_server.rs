//! An upload server for tests. It checks the protocol strictly and can fail at every chunk.

use std::sync::{Arc, Mutex};

use http::Response;
use seam::transport::full;
use serde_json::json;

use super::fake_transport::{
    FakeTransport, RecordedRequest, Reply, interrupted, never_sent, reply,
};

/// The URL of the upload. Its query must appear in no error.
pub(super) const UPLOAD_URL: &str =
    "https://generativelanguage.googleapis.com/upload/v1beta/files?upload_id=capability-77";

/// A way in which a chunk fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// No byte arrives.
    NeverSent,
    /// This many bytes arrive.
    Cut(usize),
    /// All bytes arrive, and the response is lost.
    AnswerLost,
    /// All bytes arrive, and the response has no upload status.
    NoStatus,
    /// The server rejects the chunk with status 503.
    Unavailable,
}

/// The state of the upload on the server.
pub(super) struct Upload {
    pub(super) received: Vec<u8>,
    pub(super) finished: bool,
    /// The number of chunks, including failed ones.
    pub(super) chunks: usize,
}

/// A server for one upload of `size` bytes. `fault` returns the failure of a chunk, given the
/// number of chunks before it.
pub(super) fn server(
    size: usize,
    granularity: usize,
    mut fault: impl FnMut(usize) -> Option<Fault> + Send + 'static,
) -> (Arc<FakeTransport>, Arc<Mutex<Upload>>) {
    let upload = Arc::new(Mutex::new(Upload {
        received: Vec::new(),
        finished: false,
        chunks: 0,
    }));
    let shared = Arc::clone(&upload);
    let fake = FakeTransport::new(move |request| {
        let mut upload = shared.lock().unwrap();
        match request.header("x-goog-upload-command").unwrap() {
            "start" => started(granularity),
            "query" => {
                assert_eq!(request.header("x-goog-api-key"), None);
                upload.progress()
            }
            command => {
                let last = command == "upload, finalize";
                assert!(last || command == "upload", "{command}");
                let fault = fault(upload.chunks);
                upload.chunks += 1;
                upload.chunk(request, last, size, granularity, fault)
            }
        }
    });
    (fake, upload)
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
        request: &RecordedRequest,
        last: bool,
        size: usize,
        granularity: usize,
        fault: Option<Fault>,
    ) -> Reply {
        // A chunk follows the protocol: no key, the right offset and length, whole granules.
        assert_eq!(
            request.header("x-goog-api-key"),
            None,
            "a chunk was sent with the key"
        );
        assert_eq!(
            request.header("x-goog-upload-offset"),
            Some(self.received.len().to_string().as_str())
        );
        assert_eq!(
            request.header("content-length"),
            Some(request.body.len().to_string().as_str())
        );
        assert!(
            last || request.body.len().is_multiple_of(granularity),
            "{} bytes",
            request.body.len()
        );
        assert!(!self.finished, "a chunk after the end");

        // The fault determines how many bytes arrive.
        let taken = match fault {
            Some(Fault::NeverSent | Fault::Unavailable) => 0,
            Some(Fault::Cut(bytes)) => bytes.min(request.body.len()),
            Some(Fault::AnswerLost | Fault::NoStatus) | None => request.body.len(),
        };
        self.received.extend_from_slice(&request.body[..taken]);
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
