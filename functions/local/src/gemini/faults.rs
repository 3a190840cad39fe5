//! What may go wrong with one call: an error instead of an answer, no answer at all, or half of one.
//!
//! A rule is written `CALL:FAULT:WHICH`:
//!
//! ```text
//! create-batch:429:20%           a fifth of the creations
//! any:503:5%                     a twentieth of all calls
//! download:cut:first-2           the first two downloads
//! continue-upload:lost-reply:3   the third chunk of an upload
//! ```

use std::{fmt, io, str::FromStr, time::Duration};

use bytes::Bytes;
use clients::transport::{Body, BoxError, TransportError};
use futures_util::{StreamExt, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyDataStream, BodyExt, StreamBody};
use serde::{Deserialize, Serialize};

use super::{
    reply::Refused,
    route::Call,
    which::{Which, WhichError},
};

/// The bytes of a slow answer that come at once.
const SLOW_BYTES: usize = 16 * 1024;

/// The wait before each of them.
const SLOW_WAIT: Duration = Duration::from_millis(250);

/// What goes wrong with a call. It is counted all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 as batch creation was seen to answer: neither which quota, nor until when.
    Exhausted,
    /// 429 with the quota of a minute and the time to wait.
    RateLimited,
    /// 429 with the quota of a day.
    DayExhausted,
    /// 429: the prepaid credit is spent. No wait helps.
    PrepaymentDepleted,
    /// 500.
    Internal,
    /// 503.
    Unavailable,
    /// The connection ends before the request arrives: nothing happens.
    LostRequest,
    /// The connection ends before the answer leaves: all of it has happened.
    LostReply,
    /// The answer's body comes slowly: 64 KiB a second.
    Slow,
    /// The connection ends in the middle of the answer's body.
    Cut,
}

impl Fault {
    /// All of them, with their names in rules.
    const NAMES: [(Self, &str); 10] = [
        (Self::Exhausted, "429"),
        (Self::RateLimited, "429-minute"),
        (Self::DayExhausted, "429-day"),
        (Self::PrepaymentDepleted, "429-prepaid"),
        (Self::Internal, "500"),
        (Self::Unavailable, "503"),
        (Self::LostRequest, "lost-request"),
        (Self::LostReply, "lost-reply"),
        (Self::Slow, "slow"),
        (Self::Cut, "cut"),
    ];
}

/// Which calls go wrong, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FaultRule {
    /// The kind of call; every kind where there is none.
    pub call: Option<Call>,
    /// What goes wrong.
    pub fault: Fault,
    /// Which calls of that kind, by their ordinal since the state folder is new, or as a share.
    pub which: Which,
}

/// A text that is no [`FaultRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultRuleError {
    /// It has not three parts.
    #[error("a fault is written CALL:FAULT:WHICH, as in create-batch:429:20%")]
    Shape,
    /// No such call.
    #[error("{0:?} is no call; there are {calls}", calls = list(std::iter::once(ANY).chain(Call::names())))]
    Call(String),
    /// No such fault.
    #[error("{0:?} is no fault; there are {faults}", faults = list(Fault::NAMES.iter().map(|(_, name)| *name)))]
    Fault(String),
    /// Nothing that means some of the calls.
    #[error(transparent)]
    Which(#[from] WhichError),
}

const ANY: &str = "any";

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(fault, _)| fault == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.call.map_or(ANY, Call::name), self.fault, self.which)
    }
}

impl FromStr for FaultRule {
    type Err = FaultRuleError;

    fn from_str(text: &str) -> Result<Self, FaultRuleError> {
        let parts: Vec<&str> = text.split(':').collect();
        let [call, fault, which] = parts[..] else { return Err(FaultRuleError::Shape) };
        let call = match call {
            ANY => None,
            name => Some(Call::named(name).ok_or_else(|| FaultRuleError::Call(name.to_owned()))?),
        };
        let named = Fault::NAMES.iter().find(|(_, name)| *name == fault);
        let (fault, _) = named.ok_or_else(|| FaultRuleError::Fault(fault.to_owned()))?;
        Ok(Self { call, fault: *fault, which: which.parse()? })
    }
}

impl From<FaultRule> for String {
    fn from(rule: FaultRule) -> Self {
        rule.to_string()
    }
}

impl TryFrom<String> for FaultRule {
    type Error = FaultRuleError;

    fn try_from(text: String) -> Result<Self, FaultRuleError> {
        text.parse()
    }
}

/// Gives an answer as the fault has it. The call happens when `answer` is awaited.
///
/// # Errors
/// Those of `answer`, and [`TransportError::Interrupted`] for what is lost.
pub(super) async fn inflict(
    fault: Option<Fault>,
    answer: impl Future<Output = Result<Response<Body>, TransportError>>,
) -> Result<Response<Body>, TransportError> {
    let refused = match fault {
        None => return answer.await,
        Some(Fault::LostRequest) => return Err(lost()),
        Some(Fault::LostReply) => return answer.await.and(Err(lost())),
        Some(Fault::Slow) => return answer.await.map(|response| response.map(slow)),
        Some(Fault::Cut) => return answer.await.map(|response| response.map(cut)),
        Some(Fault::Exhausted) => Refused::exhausted(),
        Some(Fault::RateLimited) => Refused::rate_limited(),
        Some(Fault::DayExhausted) => Refused::day_exhausted(),
        Some(Fault::PrepaymentDepleted) => Refused::prepayment_depleted(),
        Some(Fault::Internal) => Refused::internal(),
        Some(Fault::Unavailable) => Refused::unavailable(),
    };
    Ok(refused.response())
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
        let (first, second) = (pieces.next().await.transpose()?, pieces.next().await.transpose()?);
        Ok::<_, BoxError>(match (first, second) {
            (Some(first), Some(second)) => vec![first, half(&second)],
            (Some(only), None) => vec![half(&only)],
            (None, _) => Vec::new(),
        })
    };
    let frames = stream::once(halves).flat_map(|halves| {
        let whole = halves.unwrap_or_default().into_iter().map(|piece| Ok(Frame::data(piece)));
        stream::iter(whole.chain([Err(reset())]).collect::<Vec<_>>())
    });
    BodyExt::boxed(StreamBody::new(Box::pin(frames)))
}

fn half(piece: &Bytes) -> Bytes {
    piece.slice(..piece.len() / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::which::tests::any_which, *};

    fn body(pieces: &[&'static str]) -> Body {
        let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        BodyExt::boxed(StreamBody::new(stream::iter(frames)))
    }

    async fn received(body: Body) -> (String, bool) {
        let mut pieces = BodyDataStream::new(body);
        let mut text = String::new();
        while let Some(piece) = pieces.next().await {
            let Ok(piece) = piece else { return (text, false) };
            text.push_str(std::str::from_utf8(&piece).expect("text"));
        }
        (text, true)
    }

    #[tokio::test]
    async fn cut_body_ends_inside_of_a_piece_with_an_error() {
        assert_eq!(received(cut(body(&["first", "second", "third"]))).await, ("firstsec".to_owned(), false));
        assert_eq!(received(cut(body(&["only"]))).await, ("on".to_owned(), false));
        assert_eq!(received(cut(body(&[]))).await, (String::new(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_body_is_whole_and_takes_its_time() {
        let long: &'static str = "x".repeat(5 * SLOW_BYTES + 1).leak();
        let begin = tokio::time::Instant::now();
        assert_eq!(received(slow(body(&[long]))).await, (long.to_owned(), true));
        assert_eq!(begin.elapsed(), 6 * SLOW_WAIT);
    }

    #[test]
    fn wrong_rules_say_what_there_is() {
        let told = |text: &str| text.parse::<FaultRule>().expect_err("wrong").to_string();
        assert!(told("create-batch:429").contains("CALL:FAULT:WHICH"));
        assert!(told("create:429:5%").starts_with("\"create\" is no call; there are any, start-upload, "));
        assert!(told("any:404:5%").ends_with("lost-request, lost-reply, slow, cut"));
        assert!(told("any:429:often").contains("20%"));
    }

    proptest! {
        #[test]
        fn rule_that_is_written_is_read_again(
            call in proptest::option::of(proptest::sample::select(Call::ALL.to_vec())),
            named in proptest::sample::select(Fault::NAMES.to_vec()),
            which in any_which(),
        ) {
            let rule = FaultRule { call, fault: named.0, which };
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }
}
