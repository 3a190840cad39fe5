//! Answers a call in the way that a fault says.

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
    wire::reply::{Refused, html_response},
};

/// The bytes of a slow answer that come at once.
const SLOW_BYTES: usize = 16 * 1024;

/// The wait before each of them.
const SLOW_WAIT: Duration = Duration::from_millis(250);

/// What a proxy says in HTML when the service behind it gives no answer.
const PROXY_PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad \
                          Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// What Google's front end says in HTML of a request that did not arrive in time, in the form of
/// its other pages.
const REQUEST_TIMEOUT_PAGE: &str = "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error 408 (Request \
                                    Timeout)!!1</title>\n  <p><b>408.</b> <ins>That\u{2019}s an error.</ins>\n  \
                                    <p>Your client has taken too long to issue its request.  <ins>That\u{2019}s all we \
                                    know.</ins>\n";

/// Gives an answer as the fault has it. The call happens when `serve` is called with the request's
/// body and its outcome is awaited. A fault that leaves the caller without an answer ends once
/// `hung_up` is true.
///
/// # Errors
/// Those of `serve`, and [`TransportError::Interrupted`] for what is lost.
pub(crate) async fn inflict<F>(
    fault: Option<Fault>,
    body: Body,
    hung_up: &watch::Sender<bool>,
    serve: impl FnOnce(Body) -> F,
) -> Result<Response<Body>, TransportError>
where
    F: Future<Output = Result<Response<Body>, TransportError>>,
{
    let refused = match fault {
        None => return serve(body).await,
        Some(Fault::LostRequest) => return Err(lost()),
        Some(Fault::LostReply) => return serve(body).await.and(Err(lost())),
        Some(Fault::NoAnswer) => return Err(stay_silent(body, hung_up.subscribe()).await),
        Some(Fault::EmptyBody) => return serve(body).await.map(|_| Response::new(empty())),
        Some(Fault::Slow) => return serve(body).await.map(|response| response.map(slow)),
        Some(Fault::Cut) => return serve(body).await.map(|response| response.map(cut)),
        Some(Fault::ProxyPage) => return Ok(html_response(StatusCode::BAD_GATEWAY, PROXY_PAGE)),
        Some(Fault::RequestTimeout) => {
            return Ok(html_response(
                StatusCode::REQUEST_TIMEOUT,
                REQUEST_TIMEOUT_PAGE,
            ));
        }
        Some(Fault::Invalid) => Refused::invalid("Unsupported MIME type: jsonl"),
        Some(Fault::KeyInvalid) => Refused::wrong_key(),
        Some(Fault::CountryNotServed) => Refused::country_not_served(),
        Some(Fault::Unauthenticated) => Refused::unauthenticated(),
        Some(Fault::Forbidden) => Refused::forbidden(),
        Some(Fault::ApiDisabled) => Refused::api_disabled(),
        Some(Fault::NotFound) => Refused::not_found(),
        Some(Fault::Exhausted) => Refused::exhausted(),
        Some(Fault::RateLimited) => Refused::rate_limited(),
        Some(Fault::DayExhausted) => Refused::day_exhausted(),
        Some(Fault::PrepaymentDepleted) => Refused::prepayment_depleted(),
        Some(Fault::RateLimitedForever) => Refused::rate_limited_forever(),
        Some(Fault::Internal) => Refused::internal(),
        Some(Fault::Unavailable) => Refused::unavailable(),
        Some(Fault::DeadlineExceeded) => Refused::deadline_exceeded(),
    };
    Ok(refused.response())
}

/// Takes the request and says nothing until the simulated service hangs up. A caller that gives up
/// sooner drops this.
async fn stay_silent(body: Body, mut hung_up: watch::Receiver<bool>) -> TransportError {
    // A server that left the body unread would not notice that the caller has closed the
    // connection.
    let taken = async {
        let mut pieces = BodyDataStream::new(body);
        while let Some(piece) = pieces.next().await {
            piece?;
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
    let pieces = BodyDataStream::new(body).flat_map(|piece| {
        let pieces = match piece {
            Ok(bytes) => split(bytes).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(pieces)
    });
    let late = pieces.then(async |piece: Result<Bytes, BoxError>| {
        tokio::time::sleep(SLOW_WAIT).await;
        piece.map(Frame::data)
    });
    BodyExt::boxed(StreamBody::new(Box::pin(late)))
}

fn split(mut bytes: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while bytes.len() > SLOW_BYTES {
        pieces.push(bytes.split_to(SLOW_BYTES));
    }
    pieces.push(bytes);
    pieces
}

/// The first piece and half of the second, or half of the only one; then the connection is gone.
fn cut(body: Body) -> Body {
    let halves = async move {
        let mut pieces = BodyDataStream::new(body);
        let (first, second) = (
            pieces.next().await.transpose()?,
            pieces.next().await.transpose()?,
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
            .map(|piece| Ok(Frame::data(piece)));
        stream::iter(whole.chain([Err(reset())]).collect::<Vec<_>>())
    });
    BodyExt::boxed(StreamBody::new(Box::pin(frames)))
}

fn half(piece: &Bytes) -> Bytes {
    piece.slice(..piece.len() / 2)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use seam::transport::full;

    use super::*;

    fn body(pieces: &[&'static str]) -> Body {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        BodyExt::boxed(StreamBody::new(stream::iter(frames)))
    }

    async fn received(body: Body) -> (String, bool) {
        let mut pieces = BodyDataStream::new(body);
        let mut text = String::new();
        while let Some(piece) = pieces.next().await {
            let Ok(piece) = piece else {
                return (text, false);
            };
            text.push_str(std::str::from_utf8(&piece).expect("text"));
        }
        (text, true)
    }

    #[tokio::test]
    async fn cut_body_ends_inside_of_a_piece_with_an_error() {
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
    async fn slow_body_is_whole_and_takes_its_time() {
        let long: &'static str = "x".repeat(5 * SLOW_BYTES + 1).leak();
        let begin = tokio::time::Instant::now();
        assert_eq!(received(slow(body(&[long]))).await, (long.to_owned(), true));
        assert_eq!(begin.elapsed(), 6 * SLOW_WAIT);
    }

    #[tokio::test]
    async fn a_silent_call_ends_when_the_service_hangs_up() {
        let hung_up = watch::Sender::new(false);
        let serve = |_| future::ready(Ok(Response::new(empty())));
        let mut silent = Box::pin(inflict(
            Some(Fault::NoAnswer),
            full("body"),
            &hung_up,
            serve,
        ));
        assert!(silent.as_mut().now_or_never().is_none());
        hung_up.send_replace(true);
        assert!(matches!(silent.await, Err(TransportError::Interrupted(_))));
        // From then on it does not wait at all.
        let silent = inflict(Some(Fault::NoAnswer), full("body"), &hung_up, serve);
        assert!(matches!(
            silent.now_or_never(),
            Some(Err(TransportError::Interrupted(_)))
        ));
    }

    #[tokio::test]
    async fn a_silent_call_ends_when_its_request_breaks_off() {
        let broken = stream::iter([Ok(Frame::data(Bytes::from_static(b"half"))), Err(reset())]);
        let broken = BodyExt::boxed(StreamBody::new(broken));
        let hung_up = watch::Sender::new(false);
        let outcome = inflict(Some(Fault::NoAnswer), broken, &hung_up, |_| {
            future::ready(Ok(Response::new(empty())))
        });
        assert!(matches!(outcome.await, Err(TransportError::Interrupted(_))));
    }
}
