//! Outages: periods in which every call of some kind is answered in the same way.
//!
//! An outage has the form `CALL:ANSWER:FROM..TO`, with durations since the state folder was
//! created:
//!
//! ```text
//! download:503:0..81m            downloads fail for the first 81 minutes
//! get-batch:429-prepaid:2h..62h  the prepaid credit is exhausted for 60 hours
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

/// A period in which all calls of some kind are answered in the same way. They are counted anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Outage {
    /// The calls.
    pub call: Calls,
    /// How they are answered.
    pub answer: Fault,
    /// When it starts, since the state folder was created. Whole milliseconds.
    pub from: Duration,
    /// When it ends, since the state folder was created. Whole milliseconds.
    pub until: Duration,
}

/// The calls that an outage affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Every call.
    Any,
    /// All calls of uploads.
    Uploads,
    /// All downloads of output files.
    Downloads,
    /// The calls of this kind.
    Of(Call),
}

/// An invalid [`Outage`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutageError {
    /// The outage does not have three parts, with a range as the last.
    #[error("invalid outage: expected CALL:ANSWER:FROM..TO, as in download:503:0..81m")]
    Shape,
    /// There are no such calls.
    #[error("unknown call {0:?}: expected one of {calls}", calls = list(Calls::names()))]
    Calls(String),
    /// There is no such answer.
    #[error("unknown answer {0:?}: expected one of {answers}", answers = Fault::names())]
    Answer(String),
    /// A duration is invalid.
    #[error(transparent)]
    Moment(#[from] DurationError),
    /// The outage would end before it starts.
    #[error("invalid outage from {from} until {until}: the end must be later than the start", from = duration::format(*.from), until = duration::format(*.until))]
    EndsBeforeStart {
        /// Its start.
        from: Duration,
        /// Its end.
        until: Duration,
    },
}

impl Scenario {
    /// Returns the answer to a call at this age of the state folder, if an outage affects it. The
    /// first matching outage applies.
    pub(crate) fn outage(&self, call: Call, age: Duration) -> Option<Fault> {
        let applies = |outage: &&Outage| {
            outage.call.include(call) && (outage.from..outage.until).contains(&age)
        };
        self.outages
            .iter()
            .find(applies)
            .map(|outage| outage.answer)
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

    fn from_name(name: &str) -> Option<Self> {
        match name {
            ANY => Some(Self::Any),
            Self::UPLOADS => Some(Self::Uploads),
            Self::DOWNLOADS => Some(Self::Downloads),
            name => Call::from_name(name).map(Self::Of),
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
        let (from, until) = (duration::format(self.from), duration::format(self.until));
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
        let call = Calls::from_name(call).ok_or_else(|| OutageError::Calls(call.to_owned()))?;
        let answer =
            Fault::from_name(answer).ok_or_else(|| OutageError::Answer(answer.to_owned()))?;
        let (from, until) = (duration::parse(from)?, duration::parse(until)?);
        if from < until {
            Ok(Self {
                call,
                answer,
                from,
                until,
            })
        } else {
            Err(OutageError::EndsBeforeStart { from, until })
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
    fn an_outage_includes_its_start_and_excludes_its_end() {
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
    fn groups_contain_only_their_calls() {
        let applies = |rule: &str| {
            let scenario = outages(&[rule]);
            let on = |call: &Call| scenario.outage(*call, Duration::ZERO).is_some();
            Call::ALL.into_iter().filter(on).collect::<Vec<_>>()
        };
        assert_eq!(
            applies("uploads:500:0..1s"),
            [Call::StartUpload, Call::ContinueUpload]
        );
        assert_eq!(applies("downloads:500:0..1s"), [Call::Download]);
        assert_eq!(applies("list-batches:500:0..1s"), [Call::ListBatches]);
        assert_eq!(applies("any:500:0..1s"), Call::ALL);
    }

    #[test]
    fn the_first_matching_outage_applies() {
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
    fn invalid_outages_are_rejected_with_a_reason() {
        let message = |text: &str| text.parse::<Outage>().expect_err("wrong").to_string();
        assert!(message("download:503").contains("CALL:ANSWER:FROM..TO"));
        assert!(message("download:503:81m").contains("CALL:ANSWER:FROM..TO"));
        assert!(
            message("upload:503:0..1h")
                .starts_with("unknown call \"upload\": expected one of any, uploads, downloads, ")
        );
        assert!(
            message("any:418:0..1h")
                .starts_with("unknown answer \"418\": expected one of 400, 401, ")
        );
        assert!(message("any:503:0..soon").contains("invalid duration \"soon\""));
        assert_eq!(
            message("any:503:2h..90m"),
            "invalid outage from 2h until 1h30m: the end must be later than the start"
        );
    }

    proptest! {
        #[test]
        fn outages_round_trip(
            name in proptest::sample::select(Calls::names().collect::<Vec<_>>()),
            answer in proptest::sample::select(Fault::NAMES.to_vec()),
            from in 0..u64::MAX / 2,
            lasts in 1..u64::MAX / 2,
        ) {
            let call = Calls::from_name(name).expect("a name");
            let (from, until) = (Duration::from_millis(from), Duration::from_millis(from + lasts));
            let outage = Outage { call, answer: answer.0, from, until };
            prop_assert_eq!(outage.to_string().parse(), Ok(outage));
        }
    }
}
