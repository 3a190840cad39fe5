//! The stand-in for Lambda: the runtime API, with one event
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>, read 2026-11).

use std::sync::{Mutex, MutexGuard, PoisonError};

use darkroom::chain::FUNCTION_TIMEOUT;
use http::{Request, Response, StatusCode};
use seam::{
    clock::Clock,
    transport::{Body, BoxError, BoxFuture, Transport, TransportError, empty, full},
};

/// Returns the event to the next request for one. A request without an event is disconnected, so
/// that the function ends after its event.
pub(crate) struct RuntimeApi {
    clock: Clock,
    event: Mutex<Option<String>>,
}

impl RuntimeApi {
    /// Creates the API without an event.
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            event: Mutex::default(),
        }
    }

    /// Sets the next event.
    pub(crate) fn offer(&self, event: String) {
        *self.event() = Some(event);
    }

    fn event(&self) -> MutexGuard<'_, Option<String>> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, path: &str) -> Result<Response<Body>, BoxError> {
        if !path.ends_with("/invocation/next") {
            return Ok(Response::builder()
                .status(StatusCode::ACCEPTED)
                .body(empty())?);
        }
        let event = self.event().take().ok_or("there is no other event")?;
        let deadline = self.clock.now() + FUNCTION_TIMEOUT;
        let reply = Response::builder()
            .header("lambda-runtime-aws-request-id", "0")
            .header("lambda-runtime-deadline-ms", deadline.as_millisecond())
            .header(
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:us-east-1:000000000000:function:collect",
            );
        Ok(reply.body(full(event))?)
    }
}

impl Transport for RuntimeApi {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let reply = self.reply(request.uri().path());
        Box::pin(async { reply.map_err(TransportError::Interrupted) })
    }
}
