//! Faults of single calls: an error instead of an answer, no answer, or half of one.
//!
//! A rule has the form `CALL:FAULT:WHICH`:
//!
//! ```text
//! create-batch:429:20%           a fifth of the create calls
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

/// A fault of a call. The call is counted anyway.
///
/// The call has no effect, unless the description of the fault states otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 400 that names no line: the MIME type of the input file is rejected.
    Invalid,
    /// 400 with the reason `API_KEY_INVALID`.
    KeyInvalid,
    /// 400 `FAILED_PRECONDITION`: the service is not offered in the caller's country.
    CountryNotServed,
    /// 400 with a message that a terminal, a Markdown viewer or a browser would obey.
    HostileMessage,
    /// 401: the credentials are missing or of the wrong kind.
    Unauthenticated,
    /// 403: the key may not make this call.
    Forbidden,
    /// 403 with the reason `SERVICE_DISABLED`: the API is not enabled in the key's project.
    ApiDisabled,
    /// 404.
    NotFound,
    /// 408, with an HTML page in the format of Google's front end.
    RequestTimeout,
    /// 429 as captured on batch creation: it names neither the quota nor a time to wait.
    Exhausted,
    /// 429 with a per-minute quota and a time to wait.
    RateLimited,
    /// 429 with a per-day quota.
    DayExhausted,
    /// 429: the prepaid credit is exhausted. Waiting does not help.
    PrepaymentDepleted,
    /// 429 with a time to wait of more than 30,000 years.
    RateLimitedForever,
    /// 500.
    Internal,
    /// 502 with an HTML page from a proxy.
    ProxyPage,
    /// 503.
    Unavailable,
    /// 504.
    DeadlineExceeded,
    /// The connection ends before the request arrives: the call has no effect.
    LostRequest,
    /// The connection ends before the answer is sent: the call takes full effect.
    LostReply,
    /// The request is received, and no answer is sent until the caller gives up: the call has no
    /// effect.
    NoAnswer,
    /// 200 with an empty body and no headers: the call takes full effect, but the caller does not
    /// learn that.
    EmptyBody,
    /// The body of the answer arrives slowly, at 64 KiB per second.
    Slow,
    /// The connection ends in the middle of the body: the call takes full effect.
    Cut,
}

impl Fault {
    /// All faults, with their names in rules.
    pub(crate) const NAMES: [(Self, &str); 24] = [
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
        (Self::HostileMessage, "400-hostile"),
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

    /// Returns the fault with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(fault, _)| *fault)
    }

    /// Returns all names as a list for messages.
    pub(crate) fn names() -> String {
        list(Self::NAMES.iter().map(|(_, name)| *name))
    }
}

/// A rule that makes calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct FaultRule {
    /// The kind of call; `None` for every kind.
    pub call: Option<Call>,
    /// The fault.
    pub fault: Fault,
    /// The calls of that kind, by their ordinal since the state folder was created, or as a share.
    pub which: Selector,
}

/// An invalid [`FaultRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultRuleError {
    /// The rule does not have three parts.
    #[error("invalid fault: expected CALL:FAULT:WHICH, as in create-batch:429:20%")]
    Shape,
    /// There is no such call.
    #[error("unknown call {0:?}: expected one of {calls}", calls = list(std::iter::once(ANY).chain(Call::names())))]
    Call(String),
    /// There is no such fault.
    #[error("unknown fault {0:?}: expected one of {faults}", faults = Fault::names())]
    Fault(String),
    /// The selector is invalid.
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

/// The name of every kind of call in a rule.
pub(crate) const ANY: &str = "any";

/// Joins names to a list for messages.
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
            name => {
                Some(Call::from_name(name).ok_or_else(|| FaultRuleError::Call(name.to_owned()))?)
            }
        };
        let fault =
            Fault::from_name(fault).ok_or_else(|| FaultRuleError::Fault(fault.to_owned()))?;
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
    fn invalid_rules_are_rejected_with_the_valid_names() {
        let message = |text: &str| text.parse::<FaultRule>().expect_err("wrong").to_string();
        assert!(message("create-batch:429").contains("CALL:FAULT:WHICH"));
        assert!(
            message("create:429:5%")
                .starts_with("unknown call \"create\": expected one of any, start-upload, ")
        );
        assert!(
            message("any:418:5%")
                .ends_with("lost-request, lost-reply, timeout, html, empty, slow, cut")
        );
        assert!(message("any:429:often").contains("20%"));
    }

    #[test]
    fn every_fault_has_a_unique_name() {
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
        fn rules_round_trip(
            call in proptest::option::of(proptest::sample::select(Call::ALL.to_vec())),
            named in proptest::sample::select(Fault::NAMES.to_vec()),
            which in any_which(),
        ) {
            let rule = FaultRule { call, fault: named.0, which };
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }
}
