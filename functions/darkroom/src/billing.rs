//! What Gemini charged for, by what it told: one rule for the summary and for the ledger.
//!
//! Whoever tells tokens has charged for them, image or not, and whosever key stands on the line. An
//! answer that is told twice (one `responseId`) was made, and charged for, once; two answers to one
//! key are two charges. What was lost on its way can't be known, and is counted apart, with its
//! estimate.

use std::{
    collections::HashSet,
    iter::Sum,
    ops::{Add, AddAssign},
};

use crate::{
    chunks::ChunkLine,
    cost::{self, Estimate, Usage, Usd},
    models::Model,
    results::{ResultLine, Status, UNMATCHED, is_error_entry, is_image_elsewhere},
};

/// What answers cost in a batch, and what they would have cost interactively.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// In a batch.
    pub batch: Usd,
    /// Asked for synchronously.
    pub interactive: Usd,
}

impl Charge {
    /// That of `usage` at the prices of `model`.
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

/// What a line of a part says about money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// These tokens.
    Told(Usage),
    /// An image without a word about tokens: it was paid for all the same, about what was
    /// estimated.
    Estimated,
    /// Whether anything was charged isn't known: an answer that was lost, can't be read, or doesn't
    /// say. No more than about what was estimated.
    Unknown,
    /// Nothing, or nothing more: an error, a turn that never came, an answer that is counted
    /// already.
    Nothing,
}

/// Counts each answer once. Keeps the ids of the answers of one shard.
#[derive(Debug, Default)]
pub struct Meter {
    answers: HashSet<String>,
}

impl Meter {
    /// What `line` says about money, if its answer is new.
    pub fn charged(&mut self, line: &ChunkLine) -> Charged {
        let (usage, answer) = match line {
            ChunkLine::Result(result) => (&result.usage, &result.response_id),
            ChunkLine::Unmatched(unmatched) => (&unmatched.usage, &unmatched.response_id),
        };
        match (usage, line) {
            (Some(usage), _) => match answer {
                Some(answer) if !self.answers.insert(answer.clone()) => Charged::Nothing,
                Some(_) | None => Charged::Told(*usage),
            },
            (None, ChunkLine::Result(result)) => without_usage(result),
            (None, ChunkLine::Unmatched(_)) => Charged::Nothing,
        }
    }
}

fn without_usage(result: &ResultLine) -> Charged {
    match result.status {
        Status::Succeeded => Charged::Estimated,
        Status::Failed
            if result
                .error
                .as_ref()
                .is_some_and(|error| is_error_entry(&error.code)) =>
        {
            Charged::Nothing
        }
        // Its image is counted where it lies, as one that belongs to no request.
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
        Status::Expired | Status::Cancelled | Status::Skipped | Status::Invalid => Charged::Nothing,
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
    fn tokens_count_whatever_the_answer_is_and_whosever() {
        for status in [
            Status::Succeeded,
            Status::Blocked,
            Status::NoImage,
            Status::Failed,
            Status::Cancelled,
        ] {
            let told =
                Meter::default().charged(&result(status, Some("INTERNAL"), Some(USAGE), None));
            assert_eq!(told, Charged::Told(USAGE), "{status:?}");
        }
        assert_eq!(
            Meter::default().charged(&unmatched(Some(USAGE), None)),
            Charged::Told(USAGE)
        );
    }

    #[test]
    fn an_answer_counts_once_and_two_answers_twice() {
        let mut meter = Meter::default();
        let line = |answer| result(Status::Blocked, None, Some(USAGE), answer);
        assert_eq!(meter.charged(&line(Some("r1"))), Charged::Told(USAGE));
        assert_eq!(
            meter.charged(&unmatched(Some(USAGE), Some("r1"))),
            Charged::Nothing
        );
        assert_eq!(
            meter.charged(&unmatched(Some(USAGE), Some("r2"))),
            Charged::Told(USAGE)
        );
        // Without an id nobody can tell them apart, and too much is better than too little.
        assert_eq!(
            (meter.charged(&line(None)), meter.charged(&line(None))),
            (Charged::Told(USAGE), Charged::Told(USAGE))
        );
    }

    #[test]
    fn what_says_nothing_of_tokens_is_free_only_if_it_was_not_served() {
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
