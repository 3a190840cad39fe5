//! The faults of one request.

use std::{fmt, str::FromStr};

use http::Method;

use super::request::{Sent, Service};

/// A fault of a request, or of the invocation that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The sender is killed before the request is sent.
    Killed,
    /// The request takes effect, and the sender is killed before the response.
    KilledAfter,
    /// The sender is killed, and the request takes effect minutes later.
    KilledLate,
    /// The request takes effect, and the connection is reset before the response.
    ReplyLost,
    /// The connection is reset, and the request takes effect minutes later, while its sender
    /// continues.
    Late,
    /// There is no connection, and the request is never sent.
    NeverSent,
    /// The response is 503, without effect.
    Unavailable,
    /// The response is 500 after the request took effect. An SDK that retries finds its own write.
    FailedAfter,
    /// S3 responds 409 because another conditional write is in progress.
    Conflict,
    /// The request takes effect, and no response ever arrives.
    NoReply,
    /// The connection is reset after half of the response body.
    HalfBody,
    /// The message is delivered a second time, and the first invocation pauses until the second
    /// ends.
    Twice,
    /// The acknowledgement is lost, so the message is redelivered although it was handled.
    AckLost,
    /// The sender pauses for 14 minutes, just below Lambda's limit.
    Paused,
    /// The sender pauses for 20 minutes. Lambda kills it, and its request is never sent.
    Jump,
}

const NAMES: [(Fault, &str); 15] = [
    (Fault::Twice, "twice"),
    (Fault::Killed, "killed"),
    (Fault::KilledAfter, "killed-after"),
    (Fault::KilledLate, "killed-late"),
    (Fault::ReplyLost, "reply-lost"),
    (Fault::Late, "late"),
    (Fault::NeverSent, "never-sent"),
    (Fault::Unavailable, "unavailable"),
    (Fault::FailedAfter, "failed-after"),
    (Fault::Conflict, "conflict"),
    (Fault::NoReply, "no-reply"),
    (Fault::HalfBody, "half-body"),
    (Fault::AckLost, "ack-lost"),
    (Fault::Paused, "paused"),
    (Fault::Jump, "jump"),
];

impl Fault {
    /// Returns the faults that make a difference at a request. `first` states whether it is the
    /// first request of its invocation.
    pub(crate) fn of(sent: &Sent, first: bool) -> Vec<Self> {
        let fits = |fault: &Self| match fault {
            Self::Killed
            | Self::ReplyLost
            | Self::NeverSent
            | Self::Unavailable
            | Self::Twice
            | Self::Paused
            | Self::Jump => true,
            Self::KilledAfter
            | Self::KilledLate
            | Self::Late
            | Self::FailedAfter
            | Self::NoReply => sent.has_effect(),
            Self::Conflict => sent.is_conditional_put(),
            Self::HalfBody => {
                sent.is_call() || sent.method == Method::GET && sent.service != Service::Sqs
            }
            Self::AckLost => first,
        };
        NAMES.iter().map(|(fault, _)| *fault).filter(fits).collect()
    }

    /// Returns those that are useful as a second fault, because each leads to another state. A kill
    /// at a request without effect equals a kill at the next request with one. An error that the
    /// client retries leaves no trace. A lost response equals a failure after the effect, and a
    /// missing one equals a kill.
    pub(crate) fn of_second(sent: &Sent, first: bool) -> Vec<Self> {
        let is_gemini = sent.service == Service::Gemini;
        let mut faults = Self::of(sent, first);
        faults.retain(|fault| match fault {
            Self::Killed | Self::Twice => sent.has_effect(),
            Self::KilledAfter
            | Self::KilledLate
            | Self::Late
            | Self::FailedAfter
            | Self::AckLost => true,
            Self::Unavailable => is_gemini,
            Self::ReplyLost
            | Self::NeverSent
            | Self::Conflict
            | Self::NoReply
            | Self::HalfBody
            | Self::Paused
            | Self::Jump => false,
        });
        faults
    }
}

impl Fault {
    /// Whether it is a crash: before the request, after it, or while the request is in flight.
    pub(crate) fn is_crash(self) -> bool {
        matches!(self, Self::Killed | Self::KilledAfter | Self::KilledLate)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            NAMES
                .iter()
                .find(|(fault, _)| fault == self)
                .map_or("", |(_, name)| name),
        )
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(fault, _)| *fault);
        found.ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
            format!(
                "unknown fault {text:?}: expected one of {}",
                names.join(", ")
            )
        })
    }
}

/// A fault at a request, such as `37:reply-lost`. Requests are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// The number of the request.
    pub request: usize,
    /// The fault.
    pub fault: Fault,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.request, self.fault)
    }
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (request, fault) = text
            .split_once(':')
            .ok_or("invalid fault: expected REQUEST:FAULT, such as 37:reply-lost")?;
        let request = request
            .parse()
            .map_err(|_| format!("invalid request number: {request:?}"))?;
        Ok(Self {
            request,
            fault: fault.parse()?,
        })
    }
}
