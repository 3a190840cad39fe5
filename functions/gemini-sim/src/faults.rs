//! What may go wrong with one call: an error instead of an answer, no answer at all, or half of
//! one.
//!
//! A rule is written `CALL:FAULT:WHICH`:
//!
//! ```text
//! create-batch:429:20%           a fifth of the creations
//! any:503:5%                     a twentieth of all calls
//! download:cut:first-2           the first two downloads
//! continue-upload:lost-reply:3   the third chunk of an upload
//! ```

pub(crate) mod inject;
pub(crate) mod outage;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    scenario::selector::{Selector, SelectorError},
    wire::route::Call,
};

/// What goes wrong with a call. It is counted all the same.
///
/// Unless the description says otherwise, the call has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 400 that names no line: the MIME type of the input file is refused.
    Invalid,
    /// 400 with the reason `API_KEY_INVALID`.
    KeyInvalid,
    /// 400 `FAILED_PRECONDITION`: the service is not offered in the caller's country.
    CountryNotServed,
    /// 401: the credentials are missing or of the wrong kind.
    Unauthenticated,
    /// 403: the key may not make this call.
    Forbidden,
    /// 403 with the reason `SERVICE_DISABLED`: the API is not enabled in the key's project.
    ApiDisabled,
    /// 404.
    NotFound,
    /// 408, with a page in HTML as Google's front end writes it.
    RequestTimeout,
    /// 429 as batch creation was seen to answer: neither which quota, nor until when.
    Exhausted,
    /// 429 with the quota of a minute and the time to wait.
    RateLimited,
    /// 429 with the quota of a day.
    DayExhausted,
    /// 429: the prepaid credit is spent. No wait helps.
    PrepaymentDepleted,
    /// 429 with a time to wait of more than 30,000 years.
    RateLimitedForever,
    /// 500.
    Internal,
    /// 502 with a page in HTML from a proxy.
    ProxyPage,
    /// 503.
    Unavailable,
    /// 504.
    DeadlineExceeded,
    /// The connection ends before the request arrives: nothing happens.
    LostRequest,
    /// The connection ends before the answer leaves: all of it has happened.
    LostReply,
    /// The request is taken, and no answer comes until the caller gives up: nothing happens.
    NoAnswer,
    /// 200 with an empty body and no headers: all of it has happened, and the caller learns nothing
    /// of it.
    EmptyBody,
    /// The answer's body comes slowly: 64 KiB a second.
    Slow,
    /// The connection ends in the middle of the answer's body.
    Cut,
}

impl Fault {
    /// All of them, with their names in rules.
    pub(crate) const NAMES: [(Self, &str); 23] = [
        (Self::Invalid, "400"),
        (Self::Unauthenticated, "401"),
        (Self::Forbidden, "403"),
        (Self::NotFound, "404"),
        (Self::RequestTimeout, "408"),
        (Self::Exhausted, "429"),
        (Self::RateLimited, "429-minute"),
        (Self::DayExhausted, "429-day"),
        (Self::PrepaymentDepleted, "429-prepaid"),
        (Self::RateLimitedForever, "429-forever"),
        (Self::Internal, "500"),
        (Self::Unavailable, "503"),
        (Self::DeadlineExceeded, "504"),
        (Self::KeyInvalid, "key-invalid"),
        (Self::ApiDisabled, "api-disabled"),
        (Self::CountryNotServed, "country"),
        (Self::LostRequest, "lost-request"),
        (Self::LostReply, "lost-reply"),
        (Self::NoAnswer, "timeout"),
        (Self::ProxyPage, "html"),
        (Self::EmptyBody, "empty"),
        (Self::Slow, "slow"),
        (Self::Cut, "cut"),
    ];

    /// The fault of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(fault, _)| *fault)
    }

    /// All names, as a list for people.
    pub(crate) fn names() -> String {
        list(Self::NAMES.iter().map(|(_, name)| *name))
    }
}

/// Selector calls go wrong, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FaultRule {
    /// The kind of call; every kind where there is none.
    pub call: Option<Call>,
    /// What goes wrong.
    pub fault: Fault,
    /// Selector calls of that kind, by their ordinal since the state folder is new, or as a share.
    pub which: Selector,
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
    #[error("{0:?} is no fault; there are {faults}", faults = Fault::names())]
    Fault(String),
    /// Nothing that means some of the calls.
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

/// Stands for every kind of call in a rule.
pub(crate) const ANY: &str = "any";

/// Names as a list for people.
pub(crate) fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES
            .iter()
            .find(|(fault, _)| fault == self)
            .map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}",
            self.call.map_or(ANY, Call::name),
            self.fault,
            self.which
        )
    }
}

impl FromStr for FaultRule {
    type Err = FaultRuleError;

    fn from_str(text: &str) -> Result<Self, FaultRuleError> {
        let parts: Vec<&str> = text.split(':').collect();
        let [call, fault, which] = parts[..] else {
            return Err(FaultRuleError::Shape);
        };
        let call = match call {
            ANY => None,
            name => Some(Call::named(name).ok_or_else(|| FaultRuleError::Call(name.to_owned()))?),
        };
        let fault = Fault::named(fault).ok_or_else(|| FaultRuleError::Fault(fault.to_owned()))?;
        Ok(Self {
            call,
            fault,
            which: which.parse()?,
        })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenario::selector::tests::any_which;

    #[test]
    fn wrong_rules_say_what_there_is() {
        let told = |text: &str| text.parse::<FaultRule>().expect_err("wrong").to_string();
        assert!(told("create-batch:429").contains("CALL:FAULT:WHICH"));
        assert!(
            told("create:429:5%")
                .starts_with("\"create\" is no call; there are any, start-upload, ")
        );
        assert!(
            told("any:418:5%")
                .ends_with("lost-request, lost-reply, timeout, html, empty, slow, cut")
        );
        assert!(told("any:429:often").contains("20%"));
    }

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        for (n, (fault, name)) in Fault::NAMES.iter().enumerate() {
            let others = &Fault::NAMES[n + 1..];
            assert!(
                others
                    .iter()
                    .all(|(other, known)| other != fault && known != name),
                "{name}"
            );
        }
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
