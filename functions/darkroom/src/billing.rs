//! What Gemini charged for, derived from the tokens that its answers report. The summary and the
//! ledger share this one rule.
//!
//! - An answer that reports tokens was charged for, with or without an image and whatever its key
//!   is.
//! - An answer that is reported twice (with one `responseId`) was generated and charged for once.
//! - Two answers to one key are two charges.
//! - The charge for a lost answer is unknown. It is counted separately, at its estimate.
//! - An answer is charged for at the prices of the lane that served it, which may differ from the
//!   lane in which it was requested.

use std::{
    collections::HashSet,
    iter::Sum,
    ops::{Add, AddAssign},
};

use crate::{
    chunks::ChunkLine,
    cost::{self, Estimate, Usage},
    lane::Lane,
    models::Model,
    money::Usd,
    results::{ResultLine, Status, UNMATCHED, is_error_entry, is_image_elsewhere},
};

/// The cost of answers, and what they would have cost in the interactive lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// The cost in the lanes that served the answers.
    pub actual: Usd,
    /// The cost of the same tokens in the interactive lane.
    pub interactive: Usd,
}

impl Charge {
    /// Returns the charge for `usage` at the prices of `model` in a lane. A lane that the model
    /// does not have costs as much as the interactive one.
    pub fn of(usage: &Usage, model: &Model, lane: Lane) -> Self {
        Self {
            actual: cost::actual(usage, model.rates(lane).unwrap_or(&model.standard)),
            interactive: cost::actual(usage, &model.standard),
        }
    }

    /// Returns the charge for an answer of a lane that reports no tokens. `estimate` is that of its
    /// image, in the lane of the plan.
    pub fn estimated(estimate: Estimate, lane: Lane) -> Self {
        Self {
            actual: match lane {
                Lane::Batch => estimate.batch_usd,
                Lane::Interactive => estimate.interactive_usd,
                // Only an image that is planned in this lane has an estimate at its prices. Another
                // image is not requested in this lane.
                Lane::Flex => estimate.usd(),
            },
            interactive: estimate.interactive_usd,
        }
    }
}

impl Add for Charge {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            actual: self.actual + other.actual,
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
        models::Catalog,
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

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    #[test]
    fn a_charge_has_the_prices_of_its_lane() {
        let catalog = Catalog::built_in();
        let usage = Usage {
            prompt_tokens: 1_000,
            output_image_tokens: 1_120,
            output_text_tokens: 20,
            thought_tokens: 80,
        };
        let actual = |model: &Model, lane| {
            let charge = Charge::of(&usage, model, lane);
            assert_eq!(charge.interactive, cost::actual(&usage, &model.standard));
            charge.actual
        };
        let pro = catalog.model("gemini-3-pro-image").unwrap();
        assert_eq!(actual(pro, Lane::Batch), usd("0.0688"));
        assert_eq!(actual(pro, Lane::Flex), usd("0.0688"));
        assert_eq!(actual(pro, Lane::Interactive), usd("0.1376"));
        // This model has no flex tier.
        let lite = catalog.model("gemini-3.1-flash-lite-image").unwrap();
        assert_eq!(lite.rates(Lane::Flex), None);
        assert_eq!(
            actual(lite, Lane::Flex),
            cost::actual(&usage, &lite.standard)
        );
    }

    #[test]
    fn an_answer_without_tokens_costs_the_estimate_of_its_lane() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-3-pro-image").unwrap();
        // Gemini may serve a request of the flex tier at full price.
        for (planned, served, actual) in [
            (Lane::Batch, Lane::Batch, "0.068"),
            (Lane::Flex, Lane::Flex, "0.0682"),
            (Lane::Flex, Lane::Interactive, "0.136"),
            (Lane::Interactive, Lane::Interactive, "0.136"),
        ] {
            let estimate = cost::estimate(model, planned, None, 1_000);
            let expected = Charge {
                actual: usd(actual),
                interactive: usd("0.136"),
            };
            assert_eq!(
                Charge::estimated(estimate, served),
                expected,
                "{planned} {served}"
            );
        }
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
            (Status::Failed, Some("NO_CAPACITY"), Charged::Nothing),
            (Status::Failed, Some("NO_ANSWER"), Charged::Unknown),
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
