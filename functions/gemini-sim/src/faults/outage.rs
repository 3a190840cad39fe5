//! Outages: spans of time in which every call of some kind is answered in one way.
//!
//! An outage is written `CALL:ANSWER:FROM..TO`, with durations since the state folder was made:
//!
//! ```text
//! download:503:0..81m            downloads fail for the first 81 minutes
//! get-batch:429-prepaid:2h..62h  the prepaid credit is used up for 60 hours
//! uploads:timeout:1d..20d        no call of an upload is answered for 19 days
//! ```

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    faults::{ANY, Fault, list},
    scenario::{
        Scenario,
        duration::{self, DurationError},
    },
    wire::route::Call,
};

/// From one moment until another, all calls of some kind are answered in the same way. They are
/// counted all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Outage {
    /// The calls.
    pub call: Calls,
    /// How they are answered.
    pub answer: Fault,
    /// When it begins, since the state folder was made. Whole milliseconds.
    pub from: Duration,
    /// When it is over, since the state folder was made. Whole milliseconds.
    pub until: Duration,
}

/// The calls that an outage is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Every call.
    Any,
    /// All calls of resumable uploads.
    Uploads,
    /// All downloads of output files.
    Downloads,
    /// The calls of this kind.
    Of(Call),
}

/// A text that is no [`Outage`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutageError {
    /// It has not three parts, the last of them a range.
    #[error("an outage is written CALL:ANSWER:FROM..TO, as in download:503:0..81m")]
    Shape,
    /// No such calls.
    #[error("{0:?} is no call; there are {calls}", calls = list(Calls::names()))]
    Calls(String),
    /// No such answer.
    #[error("{0:?} is no answer; there are {answers}", answers = Fault::names())]
    Answer(String),
    /// A moment that can't be read.
    #[error(transparent)]
    Moment(#[from] DurationError),
    /// It would be over before it begins.
    #[error("an outage from {from} until {until} would never begin: its end must be later than its start", from = duration::written(*.from), until = duration::written(*.until))]
    NeverBegins {
        /// Its start.
        from: Duration,
        /// Its end.
        until: Duration,
    },
}

impl Scenario {
    /// How a call is answered that comes this long after the state folder was made, if an outage
    /// decides about it. The first outage that means the call decides.
    pub(crate) fn outage(&self, call: Call, age: Duration) -> Option<Fault> {
        let meant = |outage: &&Outage| {
            outage.call.include(call) && (outage.from..outage.until).contains(&age)
        };
        self.outages.iter().find(meant).map(|outage| outage.answer)
    }
}

impl Calls {
    const UPLOADS: &str = "uploads";
    const DOWNLOADS: &str = "downloads";

    fn include(self, call: Call) -> bool {
        match self {
            Self::Any => true,
            Self::Uploads => matches!(call, Call::StartUpload | Call::ContinueUpload),
            Self::Downloads => call == Call::Download,
            Self::Of(kind) => call == kind,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Any => ANY,
            Self::Uploads => Self::UPLOADS,
            Self::Downloads => Self::DOWNLOADS,
            Self::Of(kind) => kind.name(),
        }
    }

    fn named(name: &str) -> Option<Self> {
        match name {
            ANY => Some(Self::Any),
            Self::UPLOADS => Some(Self::Uploads),
            Self::DOWNLOADS => Some(Self::Downloads),
            name => Call::named(name).map(Self::Of),
        }
    }

    fn names() -> impl Iterator<Item = &'static str> {
        [ANY, Self::UPLOADS, Self::DOWNLOADS]
            .into_iter()
            .chain(Call::names())
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = (duration::written(self.from), duration::written(self.until));
        write!(f, "{}:{}:{from}..{until}", self.call.name(), self.answer)
    }
}

impl FromStr for Outage {
    type Err = OutageError;

    fn from_str(text: &str) -> Result<Self, OutageError> {
        let parts: Vec<&str> = text.split(':').collect();
        let [call, answer, span] = parts[..] else {
            return Err(OutageError::Shape);
        };
        let (from, until) = span.split_once("..").ok_or(OutageError::Shape)?;
        let call = Calls::named(call).ok_or_else(|| OutageError::Calls(call.to_owned()))?;
        let answer = Fault::named(answer).ok_or_else(|| OutageError::Answer(answer.to_owned()))?;
        let (from, until) = (duration::read(from)?, duration::read(until)?);
        if from < until {
            Ok(Self {
                call,
                answer,
                from,
                until,
            })
        } else {
            Err(OutageError::NeverBegins { from, until })
        }
    }
}

impl From<Outage> for String {
    fn from(outage: Outage) -> Self {
        outage.to_string()
    }
}

impl TryFrom<String> for Outage {
    type Error = OutageError;

    fn try_from(text: String) -> Result<Self, OutageError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outages(rules: &[&str]) -> Scenario {
        Scenario {
            outages: rules
                .iter()
                .map(|rule| rule.parse().expect("valid"))
                .collect(),
            ..Scenario::default()
        }
    }

    #[test]
    fn an_outage_begins_at_its_start_and_is_over_at_its_end() {
        let scenario = outages(&["download:503:1m..2m"]);
        let at = |seconds| scenario.outage(Call::Download, Duration::from_secs(seconds));
        assert_eq!(
            [at(59), at(60), at(119), at(120)],
            [
                None,
                Some(Fault::Unavailable),
                Some(Fault::Unavailable),
                None
            ]
        );
    }

    #[test]
    fn groups_hold_their_calls_and_no_other() {
        let meant = |rule: &str| {
            let scenario = outages(&[rule]);
            let on = |call: &Call| scenario.outage(*call, Duration::ZERO).is_some();
            Call::ALL.into_iter().filter(on).collect::<Vec<_>>()
        };
        assert_eq!(
            meant("uploads:500:0..1s"),
            [Call::StartUpload, Call::ContinueUpload]
        );
        assert_eq!(meant("downloads:500:0..1s"), [Call::Download]);
        assert_eq!(meant("list-batches:500:0..1s"), [Call::ListBatches]);
        assert_eq!(meant("any:500:0..1s"), Call::ALL);
    }

    #[test]
    fn first_outage_that_means_a_call_decides() {
        let scenario = outages(&["get-batch:404:0..1h", "any:503:0..1d"]);
        let answers = [
            (Call::GetBatch, 0),
            (Call::GetBatch, 3_600),
            (Call::Download, 0),
        ]
        .map(|(call, seconds)| scenario.outage(call, Duration::from_secs(seconds)));
        assert_eq!(
            answers,
            [Fault::NotFound, Fault::Unavailable, Fault::Unavailable].map(Some)
        );
    }

    #[test]
    fn wrong_outages_say_what_is_wrong() {
        let told = |text: &str| text.parse::<Outage>().expect_err("wrong").to_string();
        assert!(told("download:503").contains("CALL:ANSWER:FROM..TO"));
        assert!(told("download:503:81m").contains("CALL:ANSWER:FROM..TO"));
        assert!(
            told("upload:503:0..1h")
                .starts_with("\"upload\" is no call; there are any, uploads, downloads, ")
        );
        assert!(told("any:418:0..1h").starts_with("\"418\" is no answer; there are 400, 401, "));
        assert!(told("any:503:0..soon").contains("\"soon\" is no duration"));
        assert_eq!(
            told("any:503:2h..90m"),
            "an outage from 2h until 1h30m would never begin: its end must be later than its start"
        );
    }

    proptest! {
        #[test]
        fn outage_that_is_written_is_read_again(
            name in proptest::sample::select(Calls::names().collect::<Vec<_>>()),
            answer in proptest::sample::select(Fault::NAMES.to_vec()),
            from in 0..u64::MAX / 2,
            lasts in 1..u64::MAX / 2,
        ) {
            let call = Calls::named(name).expect("a name");
            let (from, until) = (Duration::from_millis(from), Duration::from_millis(from + lasts));
            let outage = Outage { call, answer: answer.0, from, until };
            prop_assert_eq!(outage.to_string().parse(), Ok(outage));
        }
    }
}
