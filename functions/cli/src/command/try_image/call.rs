//! The one call for an image, and the words for a call that failed.

use std::time::Duration;

use bytes::Bytes;
use darkroom::{
    lane::Lane,
    money::Usd,
    requests::in_tier,
    results::{Answer, Limits, Pool, read_response},
};
use exchange::calls::{complete, timeout_of};
use futures_util::StreamExt;
use gemini::{ApiError, Gemini, GenerateError};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The most bytes that an answer may have. Decoded images are limited to 96 MiB.
const MAX_ANSWER_BYTES: usize = 160 << 20;

/// An answer to a call.
#[derive(Debug)]
pub(in crate::command) struct Answered {
    /// The image, or the reason why there is none.
    pub(in crate::command) answer: Answer,
    /// The turn of the model, byte for byte. None if the answer has none.
    pub(super) turn: Option<Box<RawValue>>,
    /// The lane that served it, by which it is charged for.
    pub(in crate::command) lane: Lane,
    /// The tier that the answer names, if it names one.
    pub(in crate::command) tier: Option<String>,
}

/// Makes the call for a request, which names no tier.
///
/// # Errors
/// [`GenerateError`], by whether an image may have been made.
pub(in crate::command) async fn call(
    gemini: &Gemini,
    model: &str,
    lane: Lane,
    request: &str,
) -> Result<Answered, GenerateError> {
    let within = timeout_of(lane);
    complete(within, exchange(gemini, model, lane, request, within)).await
}

async fn exchange(
    gemini: &Gemini,
    model: &str,
    lane: Lane,
    request: &str,
    within: Duration,
) -> Result<Answered, GenerateError> {
    let body = in_tier(request, lane == Lane::Flex);
    let generated = gemini
        .generate_content(model, Bytes::from(body), within)
        .await?;

    // The head of a success has arrived, so an image was made.
    let unreadable = |message: &str| {
        GenerateError::Unknown(ApiError::Malformed {
            message: message.to_owned(),
        })
    };
    let (mut pieces, mut body) = (generated.body, Vec::new());
    while let Some(piece) = pieces.next().await {
        body.extend_from_slice(&piece.map_err(GenerateError::Unknown)?);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(unreadable("the answer is too long"));
        }
    }
    let answer = read_response(&body, Limits::default(), Pool::new(0))
        .map_err(|_| unreadable("the answer can't be read"))?;
    let tier = generated.service_tier.or(answer.service_tier.clone());
    Ok(Answered {
        turn: turn_of(&body),
        lane: lane.served_by(tier.as_deref()),
        tier,
        answer,
    })
}

/// Returns the content of the first candidate.
fn turn_of(body: &[u8]) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Response {
        candidates: Vec<Candidate>,
    }
    #[derive(Deserialize)]
    struct Candidate {
        content: Option<Box<RawValue>>,
    }
    let response: Response = serde_json::from_slice(body).ok()?;
    response.candidates.into_iter().next()?.content
}

/// Returns what a failed call means for the user, who may have paid up to `most`.
pub(super) fn explain(error: GenerateError, lane: Lane, most: Usd) -> anyhow::Error {
    let text = error.to_string();
    let text = text.trim_end_matches('.');
    match error {
        GenerateError::NotMade(ApiError::RateLimited { retry_after, .. }) => {
            let wait = match retry_after {
                Some(wait) => format!("Gemini asks to wait {wait:#}"),
                None => "Gemini does not name a time to wait".to_owned(),
            };
            anyhow::anyhow!("{text}. {wait}. Nothing was bought")
        }
        GenerateError::NotMade(_) => anyhow::anyhow!("{text}. Nothing was bought"),
        GenerateError::NoCapacity(_) => {
            let other = match lane {
                Lane::Flex => ", or use --lane interactive",
                Lane::Batch | Lane::Interactive => "",
            };
            anyhow::anyhow!(
                "Gemini has no capacity in the lane {lane}: {text}. Nothing was bought. Try again \
                 later{other}"
            )
        }
        GenerateError::Unknown(_) => anyhow::anyhow!(
            "the answer was lost: {text}. Gemini may have made the image and charged up to {most} \
             for it. It can't be fetched; running the command again requests another image"
        ),
    }
}
