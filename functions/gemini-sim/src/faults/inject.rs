//! Answers a call as its fault prescribes.

use std::{future, io, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyDataStream, BodyExt, StreamBody};
use seam::transport::{Body, BoxError, TransportError, empty};
use tokio::sync::watch;

use crate::{
    faults::Fault,
    generation::line_form::HOSTILE_TEXT,
    wire::reply::{ApiError, html_response},
};

/// The size of the chunks in which a slow answer is sent.
const SLOW_CHUNK_BYTES: usize = 16 * 1024;

/// The delay before each of these chunks.
const SLOW_WAIT: Duration = Duration::from_millis(250);

/// The HTML page of a proxy when the service behind it does not answer.
const PROXY_PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad \
                          Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// The HTML page of Google's front end for a request that did not arrive in time, in the format of
/// its other pages.
const REQUEST_TIMEOUT_PAGE: &str = "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error 408 (Request \
                                    Timeout)!!1</title>\n  <p><b>408.</b> <ins>That\u{2019}s an error.</ins>\n  \
                                    <p>Your client has taken too long to issue its request.  <ins>That\u{2019}s all we \
                                    know.</ins>\n";

/// Answers a call as the fault prescribes. `serve` executes the call with the request's body. A
/// fault that leaves the caller without an answer ends once `hung_up` is true.
///
/// # Errors
/// Those of `serve`, and [`TransportError::Interrupted`] for a lost request or answer.
pub(crate) async fn inject<F>(
    fault: Option<Fault>,
    body: Body,
    hung_up: &watch::Sender<bool>,
    serve: impl FnOnce(Body) -> F,
) -> Result<Response<Body>, TransportError>
where
    F: Future<Output = Result<Response<Body>, TransportError>>,
{
    match fault {
        None => serve(body).await,
        Some(Fault::LostRequest) => Err(lost()),
        Some(Fault::LostReply) => serve(body).await.and(Err(lost())),
        Some(Fault::NoAnswer) => Err(never_answer(body, hung_up.subscribe()).await),
        Some(Fault::EmptyBody) => serve(body).await.map(|_| Response::new(empty())),
        Some(Fault::Slow) => serve(body).await.map(|response| response.map(slow)),
        Some(Fault::Cut) => serve(body).await.map(|response| response.map(cut)),
        // Every other fault has a refusal.
        Some(refusing) => refusing.refusal().ok_or_else(lost),
    }
}

impl Fault {
    /// Returns the answer with which the fault refuses a call, which is not executed then. `None`
    /// for a fault that affects the request or the answer of a call in another way.
    pub(crate) fn refusal(self) -> Option<Response<Body>> {
        // Faults that do not answer with an error envelope return early.
        let refused = match self {
            Self::LostRequest
            | Self::LostReply
            | Self::NoAnswer
            | Self::EmptyBody
            | Self::Slow
            | Self::Cut => return None,
            Self::ProxyPage => return Some(html_response(StatusCode::BAD_GATEWAY, PROXY_PAGE)),
            Self::RequestTimeout => {
                return Some(html_response(
                    StatusCode::REQUEST_TIMEOUT,
                    REQUEST_TIMEOUT_PAGE,
                ));
            }
            Self::Invalid => ApiError::invalid("Unsupported MIME type: jsonl"),
            Self::HostileMessage => ApiError::invalid(HOSTILE_TEXT),
            Self::KeyInvalid => ApiError::wrong_key(),
            Self::CountryNotServed => ApiError::country_not_served(),
            Self::Unauthenticated => ApiError::unauthenticated(),
            Self::Forbidden => ApiError::forbidden(),
            Self::ApiDisabled => ApiError::api_disabled(),
            Self::NotFound => ApiError::not_found(),
            Self::Exhausted => ApiError::exhausted(),
            Self::RateLimited => ApiError::rate_limited(),
            Self::DayExhausted => ApiError::day_exhausted(),
            Self::PrepaymentDepleted => ApiError::prepayment_depleted(),
            Self::RateLimitedForever => ApiError::rate_limited_forever(),
            Self::Internal => ApiError::internal(),
            Self::Unavailable => ApiError::unavailable(),
            Self::DeadlineExceeded => ApiError::deadline_exceeded(),
        };
        Some(refused.response())
    }
}

/// Reads the request and sends no answer until the simulated service hangs up. A caller that gives
/// up earlier drops this future.
async fn never_answer(body: Body, mut hung_up: watch::Receiver<bool>) -> TransportError {
    // A server that leaves the body unread does not notice that the caller has closed the
    // connection.
    let taken = async {
        let mut chunks = BodyDataStream::new(body);
        while let Some(chunk) = chunks.next().await {
            chunk?;
        }
        future::pending::<Result<(), BoxError>>().await
    };
    tokio::select! {
        Err(error) = taken => TransportError::Interrupted(error),
        _ = hung_up.wait_for(|hung_up| *hung_up) => lost(),
    }
}

fn lost() -> TransportError {
    TransportError::Interrupted(reset())
}

fn reset() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}

fn slow(body: Body) -> Body {
    let chunks = BodyDataStream::new(body).flat_map(|chunk| {
        let chunks = match chunk {
            Ok(bytes) => split(bytes).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(chunks)
    });
    let late = chunks.then(async |chunk: Result<Bytes, BoxError>| {
        tokio::time::sleep(SLOW_WAIT).await;
        chunk.map(Frame::data)
    });
    BodyExt::boxed(StreamBody::new(Box::pin(late)))
}

fn split(mut bytes: Bytes) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    while bytes.len() > SLOW_CHUNK_BYTES {
        chunks.push(bytes.split_to(SLOW_CHUNK_BYTES));
    }
    chunks.push(bytes);
    chunks
}

/// Sends the first chunk and half of the second, or half of the only one. Then the connection ends.
fn cut(body: Body) -> Body {
    let halves = async move {
        let mut chunks = BodyDataStream::new(body);
        let (first, second) = (
            chunks.next().await.transpose()?,
            chunks.next().await.transpose()?,
        );
        Ok::<_, BoxError>(match (first, second) {
            (Some(first), Some(second)) => vec![first, half(&second)],
            (Some(only), None) => vec![half(&only)],
            (None, _) => Vec::new(),
        })
    };
    let frames = stream::once(halves).flat_map(|halves| {
        let whole = halves
            .unwrap_or_default()
            .into_iter()
            .map(|chunk| Ok(Frame::data(chunk)));
        stream::iter(whole.chain([Err(reset())]).collect::<Vec<_>>())
    });
    BodyExt::boxed(StreamBody::new(Box::pin(frames)))
}

fn half(chunk: &Bytes) -> Bytes {
    chunk.slice(..chunk.len() / 2)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use seam::transport::full;

    use super::*;

    fn body(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        BodyExt::boxed(StreamBody::new(stream::iter(frames)))
    }

    async fn received(body: Body) -> (String, bool) {
        let mut chunks = BodyDataStream::new(body);
        let mut text = String::new();
        while let Some(chunk) = chunks.next().await {
            let Ok(chunk) = chunk else {
                return (text, false);
            };
            text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
        (text, true)
    }

    #[tokio::test]
    async fn a_cut_body_ends_inside_a_chunk_with_an_error() {
        assert_eq!(
            received(cut(body(&["first", "second", "third"]))).await,
            ("firstsec".to_owned(), false)
        );
        assert_eq!(
            received(cut(body(&["only"]))).await,
            ("on".to_owned(), false)
        );
        assert_eq!(received(cut(body(&[]))).await, (String::new(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_complete_and_delayed() {
        let long: &'static str = "x".repeat(5 * SLOW_CHUNK_BYTES + 1).leak();
        let begin = tokio::time::Instant::now();
        assert_eq!(received(slow(body(&[long]))).await, (long.to_owned(), true));
        assert_eq!(begin.elapsed(), 6 * SLOW_WAIT);
    }

    #[tokio::test]
    async fn an_unanswered_call_ends_when_the_service_hangs_up() {
        let hung_up = watch::Sender::new(false);
        let serve = |_| future::ready(Ok(Response::new(empty())));
        let mut silent = Box::pin(inject(Some(Fault::NoAnswer), full("body"), &hung_up, serve));
        assert!(silent.as_mut().now_or_never().is_none());
        hung_up.send_replace(true);
        assert!(matches!(silent.await, Err(TransportError::Interrupted(_))));

        // From then on, it does not wait at all.
        let silent = inject(Some(Fault::NoAnswer), full("body"), &hung_up, serve);
        assert!(matches!(
            silent.now_or_never(),
            Some(Err(TransportError::Interrupted(_)))
        ));
    }

    #[tokio::test]
    async fn an_unanswered_call_ends_when_its_request_breaks_off() {
        let broken = stream::iter([Ok(Frame::data(Bytes::from_static(b"half"))), Err(reset())]);
        let broken = BodyExt::boxed(StreamBody::new(broken));
        let hung_up = watch::Sender::new(false);
        let outcome = inject(Some(Fault::NoAnswer), broken, &hung_up, |_| {
            future::ready(Ok(Response::new(empty())))
        });
        assert!(matches!(outcome.await, Err(TransportError::Interrupted(_))));
    }
}
