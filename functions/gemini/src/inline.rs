//! The results inside a batch's own description, as a download.

use bytes::{Bytes, BytesMut};
use darkroom::{
    names::BatchName,
    results::{InlineOutput, OutputPiece},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::Method;

use super::{Gemini, batches::batch_path, call::Call, download::Download, error::ApiError};

impl Gemini {
    /// Streams the results inside the description of a batch, one per line, in the form of a
    /// responses file. Google writes them twice; the connection is closed after the first copy.
    ///
    /// The API cannot return a range of them, so they always start with the first.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] when this key's project has no such batch, and the other
    /// [`ApiError`]s. The body can also end with an error: [`ApiError::Malformed`] when the
    /// description contains no results.
    pub async fn inline_results(&self, batch: &BatchName) -> Result<Download, ApiError> {
        let call = Call::new(Method::GET, self.url(batch_path(batch)?))
            .header("accept-encoding", "identity")?;
        let whole = self.open_with_retry(&call, 0).await?;
        Ok(Download {
            starts_at: 0,
            body: results(whole.body),
        })
    }
}

fn results(
    body: BoxStream<'static, Result<Bytes, ApiError>>,
) -> BoxStream<'static, Result<Bytes, ApiError>> {
    stream::unfold(Some((body, InlineOutput::default())), |rest| async {
        next(rest?).await
    })
    .filter(|piece| std::future::ready(piece.as_ref().map_or(true, |piece| !piece.is_empty())))
    .boxed()
}

/// The rest of the response, and the parser that separates the results from the description.
type Rest = (BoxStream<'static, Result<Bytes, ApiError>>, InlineOutput);

/// Returns the results in the next piece of the response, and the rest. There is no rest after an
/// error, and nothing after the last result.
async fn next((mut body, mut output): Rest) -> Option<(Result<Bytes, ApiError>, Option<Rest>)> {
    // The second copy of the results is not read.
    if output.is_complete() {
        return None;
    }
    // An end of the response before the end of its results is an error.
    let piece = match body.next().await {
        Some(Ok(piece)) => piece,
        Some(Err(error)) => return Some((Err(error), None)),
        None if output.has_begun() => {
            return Some((
                Err(ApiError::transient("the response ended within its results")),
                None,
            ));
        }
        None => {
            return Some((
                Err(ApiError::malformed(
                    "no results in the description of the batch",
                )),
                None,
            ));
        }
    };
    // Only the results are passed on; the description around them is dropped.
    let mut lines = BytesMut::with_capacity(piece.len());
    output.feed(&piece, |piece| match piece {
        OutputPiece::Results(bytes) => lines.extend_from_slice(bytes),
        OutputPiece::Description(_) => {}
    });
    Some((Ok(lines.freeze()), Some((body, output))))
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use http::Response;
    use http_body_util::StreamBody;
    use seam::transport::{Body, BoxError};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        BatchState,
        fake_transport::{FakeTransport, Reply, client, interrupted, json as answer},
    };

    fn element(key: &str) -> Value {
        let image =
            json!({ "inlineData": { "mimeType": "image/png", "data": "iVBORw0KGgo=".repeat(50) } });
        let content = json!({ "role": "model", "parts": [image, { "text": "a \"[\\ \n" }] });
        json!({
            "response": { "candidates": [{ "content": content, "finishReason": "STOP" }] },
            "metadata": { "key": key },
        })
    }

    fn elements() -> Value {
        json!([element("a"), { "error": { "code": 13, "message": "Internal." }, "metadata": { "key": "b" } }, element("c")])
    }

    /// A batch with two copies of these results, its members in this order or reversed.
    fn operation(elements: &Value, is_reversed: bool) -> Value {
        let output = json!({ "inlinedResponses": { "inlinedResponses": elements } });
        let metadata = json!({
            "output": output, "state": "BATCH_STATE_SUCCEEDED", "displayName": "d",
            "batchStats": { "requestCount": "3", "successfulRequestCount": "2" },
        });
        let members = [
            ("name", json!("batches/1")),
            ("metadata", metadata),
            ("done", json!(true)),
            ("response", output),
        ];
        let mut members: Vec<_> = members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        if is_reversed {
            members.reverse();
        }
        Value::Object(members.into_iter().collect())
    }

    /// A response with status 200 whose body arrives in pieces of this size, and may then fail.
    fn pieces(body: &str, size: usize, is_broken: bool) -> Reply {
        let pieces: Vec<Result<_, BoxError>> = body
            .as_bytes()
            .chunks(size)
            .map(|piece| Ok(http_body::Frame::data(Bytes::copy_from_slice(piece))))
            .chain(is_broken.then(|| Err("reset".into())))
            .collect();
        Ok(Response::new(Body::new(StreamBody::new(stream::iter(
            pieces,
        )))))
    }

    fn name() -> BatchName {
        BatchName::new("batches/1")
    }

    async fn lines(reply: Reply) -> Result<Vec<String>, ApiError> {
        let fake = FakeTransport::replies([reply]);
        let download = client(&fake).inline_results(&name()).await?;
        assert_eq!(download.starts_at, 0);
        let bytes = download.body.try_collect::<Vec<_>>().await?.concat();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with('\n'), "{text}");
        Ok(text.lines().map(str::to_owned).collect())
    }

    #[tokio::test]
    async fn each_result_is_one_line_wherever_the_response_is_split() {
        let expected: Vec<String> = elements()
            .as_array()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        for is_reversed in [false, true] {
            let operation = operation(&elements(), is_reversed);
            for body in [
                operation.to_string(),
                serde_json::to_string_pretty(&operation).unwrap(),
            ] {
                for size in [1, 2, 3, 7, 64, 1000, usize::MAX] {
                    assert_eq!(
                        lines(pieces(&body, size, false)).await.unwrap(),
                        expected,
                        "in pieces of {size}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn a_response_must_be_complete_up_to_the_end_of_the_first_copy() {
        let body = operation(&elements(), false).to_string();
        let end = body.find("}]}},\"state\"").unwrap() + 2;
        for cut in [end, end + 1, body.len() - 10] {
            assert_eq!(
                lines(pieces(&body[..cut], 100, true)).await.unwrap().len(),
                3,
                "{cut}"
            );
        }
        let error = lines(pieces(&body[..end - 1], 100, false))
            .await
            .unwrap_err();
        assert!(
            matches!(error, ApiError::Transient { .. }),
            "a body that ends early, without an error: {error:?}"
        );
        for cut in [1, 100, end - 1] {
            let error = lines(pieces(&body[..cut], 100, true)).await.unwrap_err();
            assert!(
                matches!(error, ApiError::Transient { .. }),
                "{cut}: {error:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_description_without_results_is_an_error() {
        for elements in [json!([]), json!(null)] {
            let error = lines(pieces(&operation(&elements, false).to_string(), 100, false))
                .await
                .unwrap_err();
            assert!(matches!(error, ApiError::Malformed { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn an_interrupted_start_is_repeated_once_and_a_rejected_one_is_not() {
        let whole = || pieces(&operation(&elements(), false).to_string(), 100, false);
        let fake = FakeTransport::replies([interrupted(), whole()]);
        client(&fake).inline_results(&name()).await.unwrap();
        assert_eq!(
            fake.lines(),
            ["GET /v1beta/batches/1", "GET /v1beta/batches/1"]
        );
        let fake = FakeTransport::replies([answer(404, &json!({}))]);
        let error = client(&fake).inline_results(&name()).await.unwrap_err();
        assert!(matches!(error, ApiError::NotFound { .. }), "{error:?}");
        let wrong = client(&FakeTransport::replies([]))
            .inline_results(&BatchName::new("batches/1?key=x"))
            .await;
        assert!(matches!(wrong, Err(ApiError::Invalid { .. })), "{wrong:?}");
    }

    #[tokio::test]
    async fn a_batch_is_described_without_its_results() {
        for is_reversed in [false, true] {
            let operation = operation(&elements(), is_reversed);
            for body in [
                operation.to_string(),
                serde_json::to_string_pretty(&operation).unwrap(),
            ] {
                for size in [1, 7, 1000, usize::MAX] {
                    let batch = client(&FakeTransport::replies([pieces(&body, size, false)]))
                        .batch(&name())
                        .await
                        .unwrap();
                    assert_eq!(
                        (batch.state, batch.done, batch.inline_output),
                        (BatchState::Succeeded, true, true)
                    );
                    assert_eq!((batch.output_file, batch.stats.successful), (None, 2));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_batch_is_described_however_large_its_results_are() {
        let text = Bytes::from("A".repeat(1 << 20));
        let start = r#"{"name":"batches/1","metadata":{"output":{"inlinedResponses":{"inlinedResponses":[{"a":""#;
        let end = r#""}]}},"state":"BATCH_STATE_SUCCEEDED"},"done":true}"#;
        let middle = std::iter::repeat_n(text, 64);
        let pieces = std::iter::once(Bytes::from(start))
            .chain(middle)
            .chain(std::iter::once(Bytes::from(end)));
        let pieces = pieces.map(|piece| Ok::<_, BoxError>(http_body::Frame::data(piece)));
        let reply = Ok(Response::new(Body::new(StreamBody::new(stream::iter(
            pieces.collect::<Vec<_>>(),
        )))));
        let batch = client(&FakeTransport::replies([reply]))
            .batch(&name())
            .await
            .unwrap();
        assert!(batch.inline_output && batch.done);
    }

    #[tokio::test(start_paused = true)]
    async fn a_description_that_stalls_ends_with_an_error() {
        let silent = || {
            let start = stream::iter([Ok::<_, BoxError>(http_body::Frame::data(
                Bytes::from_static(b"{\"name\":"),
            ))]);
            Ok(Response::new(Body::new(StreamBody::new(
                start.chain(stream::pending()),
            ))))
        };
        let began = tokio::time::Instant::now();
        let error = client(&FakeTransport::replies([silent(), silent()]))
            .batch(&name())
            .await
            .unwrap_err();
        assert!(matches!(error, ApiError::Transient { .. }), "{error:?}");
        assert_eq!(began.elapsed().as_secs(), 60);
    }
}
