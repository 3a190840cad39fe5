//! One call: the request, its answer as a line that the shared rules can read, and who served it.

use std::sync::Arc;

use bytes::Bytes;
use darkroom::{
    lane::Lane,
    names::RequestKey,
    requests,
    results::{Line, Pool, Scanner},
};
use exchange::calls::{complete, timeout_of};
use futures_util::StreamExt;
use gemini::{ApiError, GenerateError};
use serde_json::Value;

use crate::deps::Deps;

/// The answer to a call.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The line of a batch's output that would hold this answer.
    pub(crate) line: Line,
    /// The lane that served it, by which it is charged for.
    pub(crate) lane: Lane,
}

/// Makes the one call for a request. `line` is its line of the request file, with references placed.
///
/// # Errors
/// [`GenerateError`], by whether an image may have been made.
pub(crate) async fn call(
    deps: &Deps,
    model: &str,
    lane: Lane,
    key: &RequestKey,
    line: &[u8],
    pool: Arc<Pool>,
) -> Result<Answered, GenerateError> {
    let invalid = |problem: requests::RequestLineError| {
        GenerateError::NotMade(ApiError::Invalid {
            message: problem.to_string(),
            lines: Default::default(),
        })
    };
    let body = requests::call_body(line, lane == Lane::Flex).map_err(invalid)?;
    let within = timeout_of(lane);
    let exchange = async {
        let generated = deps
            .gemini
            .generate_content(model, Bytes::from(body), within)
            .await?;
        let mut reader = AnswerReader::new(deps, key, pool);
        let mut pieces = generated.body;
        while let Some(piece) = pieces.next().await {
            // The head of a success has arrived, so an image was made.
            reader.feed(&piece.map_err(GenerateError::Unknown)?);
        }
        let line = reader.finish().ok_or_else(|| {
            GenerateError::Unknown(ApiError::Malformed {
                message: "an answer without a response".to_owned(),
            })
        })?;
        let in_answer = line.content.as_ref().ok();
        let in_answer = in_answer.and_then(|answer| answer.service_tier.clone());
        let tier = generated.service_tier.or(in_answer);
        Ok(Answered {
            lane: lane.served_by(tier.as_deref()),
            line,
        })
    };
    complete(within, exchange).await
}

/// Reads an answer by the rules for a line of a batch's output.
struct AnswerReader {
    scanner: Scanner,
    line: Option<Line>,
}

impl AnswerReader {
    fn new(deps: &Deps, key: &RequestKey, pool: Arc<Pool>) -> Self {
        let mut reader = Self {
            scanner: Scanner::new(deps.answers, pool, 0),
            line: None,
        };
        // An object whose opening brace ends its line of text may span several lines, as Google's
        // answers do.
        let key = Value::from(key.as_str());
        reader.feed(format!("{{\n\"key\":{key},\"response\":").as_bytes());
        reader
    }

    fn feed(&mut self, piece: &[u8]) {
        let line = &mut self.line;
        self.scanner.feed(piece, |read| {
            line.get_or_insert(read);
        });
    }

    fn finish(mut self) -> Option<Line> {
        self.feed(b"}\n");
        let line = &mut self.line;
        self.scanner.finish(|read| {
            line.get_or_insert(read);
        });
        self.line
    }
}
