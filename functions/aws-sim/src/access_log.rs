//! A log of the requests to the stand-ins, to count what a client needs.

use std::{
    fs::File,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use http::{Request, Response};
use seam::transport::{Body, BoxFuture, Transport, TransportError};
use serde::Serialize;

use crate::wire::is_sqs_request;

/// A service that appends a line of JSON to a file for each request, and then passes the request to
/// another service.
///
/// A line has the members `service` (`s3` or `sqs`), `method` and `path`.
pub struct AccessLog {
    service: Arc<dyn Transport>,
    file: Mutex<File>,
}

/// A line of the log. It has no query, because that of a presigned request is a secret.
#[derive(Debug, Serialize)]
struct LoggedAccess<'a> {
    service: &'static str,
    method: &'a str,
    path: &'a str,
}

impl AccessLog {
    /// Logs the requests to `service` to `file`, which must be open for appending.
    pub fn new(service: Arc<dyn Transport>, file: File) -> Self {
        Self {
            service,
            file: Mutex::new(file),
        }
    }

    fn append(&self, request: &Request<Body>) -> io::Result<()> {
        let is_sqs = is_sqs_request(request.headers());
        let mut line = serde_json::to_vec(&LoggedAccess {
            service: if is_sqs { "sqs" } else { "s3" },
            method: request.method().as_str(),
            path: request.uri().path(),
        })?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line)
    }
}

impl Transport for AccessLog {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        // A request that can't be logged is not answered, so that no count is too low.
        match self.append(&request) {
            Ok(()) => self.service.send(request),
            Err(error) => Box::pin(async move { Err(TransportError::NeverSent(error.into())) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use http::StatusCode;
    use seam::transport::full;

    use super::*;

    /// A service that has nothing.
    struct Empty;

    impl Transport for Empty {
        fn send(&self, _: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
            let mut answer = Response::new(full(""));
            *answer.status_mut() = StatusCode::NOT_FOUND;
            Box::pin(async { Ok(answer) })
        }
    }

    #[tokio::test]
    async fn each_request_is_logged_without_its_query_and_answered() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.jsonl");
        let file = File::create(&path).expect("a file");
        let log = AccessLog::new(Arc::new(Empty), file);

        let s3 = Request::get("/darkroom/a%20b?X-Amz-Signature=1")
            .body(full(""))
            .expect("a request");
        let sqs = Request::post("/")
            .header("x-amz-target", "AmazonSQS.SendMessage")
            .body(full("{}"))
            .expect("a request");
        for request in [s3, sqs] {
            let answer = log.send(request).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        }

        let lines = fs::read_to_string(&path).expect("a log");
        assert_eq!(
            lines,
            "{\"service\":\"s3\",\"method\":\"GET\",\"path\":\"/darkroom/a%20b\"}\n\
             {\"service\":\"sqs\",\"method\":\"POST\",\"path\":\"/\"}\n"
        );
    }
}
