//! What may go wrong at one request.

use std::{fmt, str::FromStr};

use http::Method;

use super::request::{Sent, Service};

/// What goes wrong at a request, or to the invocation that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The sender is killed before it sends.
    Killed,
    /// It has its effect, and the sender is killed before the answer comes.
    KilledAfter,
    /// The sender is killed, and the request has its effect minutes later.
    KilledLate,
    /// It has its effect; the connection is reset before the answer comes.
    ReplyLost,
    /// The connection is reset, and the request has its effect minutes later, while its sender goes
    /// on.
    Late,
    /// No connection: it never leaves.
    NeverSent,
    /// 503, without effect.
    Unavailable,
    /// 500, after its effect: an SDK that sends it again meets its own write.
    FailedAfter,
    /// S3: 409, another conditional write is under way.
    Conflict,
    /// It has its effect, and no answer ever comes.
    NoReply,
    /// Half of the answer's body, then a reset.
    HalfBody,
    /// The message in work is delivered once more; the first delivery stands still until the second
    /// is through.
    Twice,
    /// The message comes once more although its work was done.
    AckLost,
    /// The sender stands still for 14 minutes, just short of Lambda's limit.
    Paused,
    /// It stands still for 20 minutes: Lambda kills it meanwhile, and its request was never sent.
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
    /// Those that can be told apart at a request; `first` says that it is its invocation's first.
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
            Self::HalfBody => sent.method == Method::GET && sent.service != Service::Sqs,
            Self::AckLost => first,
        };
        NAMES.iter().map(|(fault, _)| *fault).filter(fits).collect()
    }

    /// Of those, the ones that are worth trying second: each leaves another world behind. Where a
    /// request changes nothing in AWS, a kill is one before the next request that does; an error
    /// that a client repeats away leaves nothing; a reply that is lost is one that failed, and one
    /// that never comes is a kill.
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
    /// Whether it is a crash and nothing else: before the request, after it, or with the request
    /// still on its way.
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
            format!("{text:?} is no fault; there are {}", names.join(", "))
        })
    }
}

/// A fault at the request of this number, counted over a whole world from 0: `37:reply-lost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// Selector request.
    pub request: usize,
    /// What goes wrong there.
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
            .ok_or("a fault is written REQUEST:FAULT, as in 37:reply-lost")?;
        let request = request
            .parse()
            .map_err(|_| format!("{request:?} is no number of a request"))?;
        Ok(Self {
            request,
            fault: fault.parse()?,
        })
    }
}
