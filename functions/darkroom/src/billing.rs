//! What Gemini charged for, derived from the tokens that its answers report. The summary and the
//! ledger share this one rule.
//!
//! - An answer that reports tokens was charged for, with or without an image and whatever its key
//!   is.
//! - An answer that is reported twice (with one `responseId`) was generated and charged for once.
//! - Two answers to one key are two charges.
//! - The charge for a lost answer is unknown. It is counted separately, at its estimate.

use std::{
    collections::HashSet,
    iter::Sum,
    ops::{Add, AddAssign},
};

use crate::{
    chunks::ChunkLine,
    cost::{self, Estimate, Usage},
    models::Model,
    money::Usd,
    results::{ResultLine, Status, UNMATCHED, is_error_entry, is_image_elsewhere},
};

/// The cost of answers in a batch, and what they would have cost interactively.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// The cost in a batch.
    pub batch: Usd,
    /// The cost of the same tokens in synchronous requests.
    pub interactive: Usd,
}

impl Charge {
    /// Returns the charge for `usage` at the prices of `model`.
    pub fn of(usage: &Usage, model: &Model) -> Self {
        Self {
            batch: cost::actual(usage, &model.batch),
            interactive: cost::actual(usage, &model.standard),
        }
    }
}

impl From<Estimate> for Charge {
    fn from(estimate: Estimate) -> Self {
        Self {
            batch: estimate.batch_usd,
            interactive: estimate.interactive_usd,
        }
    }
}

impl Add for Charge {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            batch: self.batch + other.batch,
            interactive: self.interactive + other.interactive,
        }
    }
}

impl AddAssign for Charge {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Charge {
    fn sum<I: Iterator<Item = Self>>(charges: I) -> Self {
        charges.fold(Self::default(), Add::add)
    }
}

/// What one line of a chunk shows about the charge for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// The answer reports these tokens.
    Reported(Usage),
    /// There is an image but no token count. It was charged for, at about the estimate.
    Estimated,
    /// It isn't known whether anything was charged: the answer was lost, can't be read, or reports
    /// no tokens. The charge is at most about the estimate.
    Unknown,
    /// There is no charge, or no further charge: an error, a request that was never served, or an
    /// answer that is already counted.
    Nothing,
}

/// Counts the charge for each answer once. It keeps the ids of the answers of one shard.
#[derive(Debug, Default)]
pub struct Meter {
    answers: HashSet<String>,
}

impl Meter {
    /// Returns the charge that `line` shows, or [`Charged::Nothing`] if its answer is already
    /// counted.
    pub fn charged(&mut self, line: &ChunkLine) -> Charged {
        let (usage, answer) = match line {
            ChunkLine::Result(result) => (&result.usage, &result.response_id),
            ChunkLine::Unmatched(unmatched) => (&unmatched.usage, &unmatched.response_id),
        };
        match (usage, line) {
            (Some(usage), _) => match answer {
                Some(answer) if !self.answers.insert(answer.clone()) => Charged::Nothing,
                Some(_) | None => Charged::Reported(*usage),
            },
            (None, ChunkLine::Result(result)) => without_usage(result),
            (None, ChunkLine::Unmatched(_)) => Charged::Nothing,
        }
    }
}

/// Returns the charge for a result that reports no tokens.
fn without_usage(result: &ResultLine) -> Charged {
    match result.status {
        // An image is always charged for.
        Status::Succeeded => Charged::Estimated,
        Status::Failed
            if result
                .error
                .as_ref()
                .is_some_and(|error| is_error_entry(&error.code)) =>
        {
            Charged::Nothing
        }
        // Its image is in the unmatched result, and is counted there.
        Status::Failed
            if result
                .error
                .as_ref()
                .is_some_and(|error| error.code == UNMATCHED) =>
        {
            Charged::Nothing
        }
        Status::Failed
            if result
                .error
                .as_ref()
                .is_some_and(|error| is_image_elsewhere(&error.code)) =>
        {
            Charged::Estimated
        }
        Status::Failed | Status::Blocked | Status::NoImage => Charged::Unknown,
        Status::Expired | Status::Cancelled | Status::Skipped => Charged::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chunks::{UnmatchedReason, UnmatchedResult},
        names::RequestKey,
        results::Reason,
    };

    const USAGE: Usage = Usage {
        prompt_tokens: 7,
        output_image_tokens: 0,
        output_text_tokens: 0,
        thought_tokens: 3,
    };

    fn result(
        status: Status,
        code: Option<&str>,
        usage: Option<Usage>,
        answer: Option<&str>,
    ) -> ChunkLine {
        let error = code.map(|code| Reason {
            code: code.into(),
            message: String::new(),
            retryable: true,
        });
        let line = ResultLine::new(RequestKey::new("k"), status);
        ChunkLine::Result(Box::new(ResultLine {
            error,
            usage,
            response_id: answer.map(Into::into),
            ..line
        }))
    }

    fn unmatched(usage: Option<Usage>, answer: Option<&str>) -> ChunkLine {
        ChunkLine::Unmatched(Box::new(UnmatchedResult {
            usage,
            response_id: answer.map(Into::into),
            ..UnmatchedResult::new(UnmatchedReason::UnknownKey, 0)
        }))
    }

    #[test]
    fn reported_tokens_count_for_every_status_and_every_key() {
        for status in [
            Status::Succeeded,
            Status::Blocked,
            Status::NoImage,
            Status::Failed,
            Status::Cancelled,
        ] {
            let charged =
                Meter::default().charged(&result(status, Some("INTERNAL"), Some(USAGE), None));
            assert_eq!(charged, Charged::Reported(USAGE), "{status:?}");
        }
        assert_eq!(
            Meter::default().charged(&unmatched(Some(USAGE), None)),
            Charged::Reported(USAGE)
        );
    }

    #[test]
    fn an_answer_counts_once_and_two_answers_count_twice() {
        let mut meter = Meter::default();
        let line = |answer| result(Status::Blocked, None, Some(USAGE), answer);
        assert_eq!(meter.charged(&line(Some("r1"))), Charged::Reported(USAGE));
        assert_eq!(
            meter.charged(&unmatched(Some(USAGE), Some("r1"))),
            Charged::Nothing
        );
        assert_eq!(
            meter.charged(&unmatched(Some(USAGE), Some("r2"))),
            Charged::Reported(USAGE)
        );
        // Answers without an id can't be distinguished. Overcounting is the safer error.
        assert_eq!(
            (meter.charged(&line(None)), meter.charged(&line(None))),
            (Charged::Reported(USAGE), Charged::Reported(USAGE))
        );
    }

    #[test]
    fn a_result_without_tokens_is_free_only_if_it_was_not_served() {
        for (status, code, charged) in [
            (Status::Succeeded, None, Charged::Estimated),
            (Status::Blocked, Some("IMAGE_SAFETY"), Charged::Unknown),
            (Status::NoImage, Some("NO_IMAGE"), Charged::Unknown),
            (Status::Failed, Some("MISSING"), Charged::Unknown),
            (Status::Failed, Some("TRUNCATED_LINE"), Charged::Unknown),
            (Status::Failed, Some("NOT_AN_IMAGE"), Charged::Unknown),
            (Status::Failed, Some("UNREAD_LINE"), Charged::Unknown),
            (Status::Failed, Some("UNMATCHED"), Charged::Nothing),
            (Status::Failed, Some("FILE_DATA"), Charged::Estimated),
            (Status::Failed, Some("IMAGE_AS_TEXT"), Charged::Estimated),
            (Status::Failed, Some("INTERNAL"), Charged::Nothing),
            (Status::Failed, Some("BATCH_FAILED"), Charged::Nothing),
            (Status::Expired, Some("EXPIRED"), Charged::Nothing),
            (Status::Cancelled, Some("CANCELLED"), Charged::Nothing),
        ] {
            assert_eq!(
                Meter::default().charged(&result(status, code, None, None)),
                charged,
                "{status:?} {code:?}"
            );
        }
        assert_eq!(
            Meter::default().charged(&unmatched(None, None)),
            Charged::Nothing
        );
    }
}
