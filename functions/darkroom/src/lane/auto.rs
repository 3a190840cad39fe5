//! The lane of images with the lane `auto`: the cheapest one that ends in time.
//!
//! Times are those that sources agree on (<https://ai.google.dev/gemini-api/docs/batch-api>,
//! <https://ai.google.dev/gemini-api/docs/flex-inference>, read 2026-11, and measurements of
//! several users, October 2026). Where they give a range, the slow end counts.

use jiff::SignedDuration;

use super::Lane;
use crate::models::Model;

/// The requests that are in flight at the same time in a synchronous lane.
const IN_FLIGHT: u64 = 16;

/// The time of one interactive request: 12 to 15 seconds at 1K, 25 at 2K and up to 34 at 4K. With 16
/// requests in flight that is 32 images a minute, or more of the smaller sizes.
const INTERACTIVE_CALL: SignedDuration = SignedDuration::from_secs(30);

/// The time of one request of the flex tier: 1 to 15 minutes.
const FLEX_CALL: SignedDuration = SignedDuration::from_mins(15);

/// The time of a batch, which Google states as its target. Most batches end sooner.
const BATCH: SignedDuration = SignedDuration::from_hours(24);

/// The lane of some images, and the rule that gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The lane.
    pub lane: Lane,
    /// The rule.
    pub rule: Rule,
}

/// The rules for `auto`, in the order in which they apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The job has no time limit, so the images are made in batches.
    NoLimit,
    /// A batch ends within the limit.
    BatchInTime,
    /// Requests of the flex tier end within the limit, and cost less than interactive ones.
    FlexInTime,
    /// Interactive requests end within the limit.
    InteractiveInTime,
    /// No lane ends within the limit, so the fastest one is used.
    TooLate,
}

/// Decides the lane of `images` images of a model that must arrive within a time.
pub fn decide(within: Option<SignedDuration>, images: u64, model: &Model) -> Decision {
    let Some(within) = within else {
        return Decision {
            lane: Lane::Batch,
            rule: Rule::NoLimit,
        };
    };
    let is_in_time = |lane| duration(lane, images) <= within;
    let flex = model.flex.as_ref().map(|flex| flex.rates.image);
    let (lane, rule) = if is_in_time(Lane::Batch) {
        (Lane::Batch, Rule::BatchInTime)
    } else if flex.is_some_and(|price| price < model.standard.image) && is_in_time(Lane::Flex) {
        (Lane::Flex, Rule::FlexInTime)
    } else if is_in_time(Lane::Interactive) {
        (Lane::Interactive, Rule::InteractiveInTime)
    } else {
        (Lane::Interactive, Rule::TooLate)
    };
    Decision { lane, rule }
}

/// Returns how long some images take in a lane at most, if Gemini has capacity and no request is
/// repeated. All images of a batch take as long as one.
pub fn duration(lane: Lane, images: u64) -> SignedDuration {
    let call = match lane {
        Lane::Batch => return BATCH,
        Lane::Flex => FLEX_CALL,
        Lane::Interactive => INTERACTIVE_CALL,
    };
    // A manifest has at most a million images.
    let calls = i32::try_from(images.div_ceil(IN_FLIGHT)).unwrap_or(i32::MAX);
    call.saturating_mul(calls)
}

/// Returns a duration as text, rounded up to minutes: `20 min`, `2 h 30 min`, `1 d`.
pub(crate) fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60 + i64::from(seconds % 60 > 0);
    match (minutes / 60, minutes % 60) {
        _ if seconds < 60 => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) if hours % 24 == 0 => format!("{} d", hours / 24),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::models::Catalog;

    /// A model with a flex tier, and one without.
    const MODELS: [&str; 2] = ["gemini-3-pro-image", "gemini-nano-banana-2.1"];

    fn decided(within: Option<SignedDuration>, images: u64) -> [Decision; 2] {
        let catalog = Catalog::built_in();
        MODELS.map(|id| decide(within, images, catalog.model(id).unwrap()))
    }

    fn both(lane: Lane, rule: Rule) -> [Decision; 2] {
        [Decision { lane, rule }; 2]
    }

    #[test]
    fn without_a_limit_images_are_made_in_batches() {
        for images in [1, 1_000_000] {
            assert_eq!(decided(None, images), both(Lane::Batch, Rule::NoLimit));
        }
    }

    #[test]
    fn a_limit_of_a_day_or_more_leaves_time_for_a_batch() {
        for within in [
            SignedDuration::from_hours(24),
            SignedDuration::from_hours(7 * 24),
        ] {
            assert_eq!(
                decided(Some(within), 1_000_000),
                both(Lane::Batch, Rule::BatchInTime)
            );
        }
    }

    #[test]
    fn a_model_with_a_flex_tier_uses_it_if_its_calls_fit() {
        // Two waves of 16 calls take half an hour.
        let [flex, interactive] = decided(Some(SignedDuration::from_mins(30)), 32);
        assert_eq!((flex.lane, flex.rule), (Lane::Flex, Rule::FlexInTime));
        assert_eq!(
            (interactive.lane, interactive.rule),
            (Lane::Interactive, Rule::InteractiveInTime)
        );
        for (within, images) in [(29, 32), (30, 33)] {
            let [flex, _] = decided(Some(SignedDuration::from_mins(within)), images);
            assert_eq!(flex.lane, Lane::Interactive, "{images} within {within}");
        }
    }

    #[test]
    fn a_flex_tier_at_full_price_is_not_used() {
        let mut model = Catalog::built_in().model(MODELS[0]).unwrap().clone();
        model.flex.as_mut().unwrap().rates = model.standard.clone();
        let decision = decide(Some(SignedDuration::from_hours(2)), 1, &model);
        assert_eq!(decision.lane, Lane::Interactive);
    }

    #[test]
    fn images_that_are_due_soon_are_requested_interactively() {
        // 16 calls in flight make 32 images a minute.
        for (within, images) in [(1, 32), (10, 320)] {
            let [_, interactive] = decided(Some(SignedDuration::from_mins(within)), images);
            assert_eq!(interactive.rule, Rule::InteractiveInTime);
            assert_eq!(interactive.lane, Lane::Interactive);
        }
    }

    #[test]
    fn images_that_no_lane_makes_in_time_use_the_fastest_one() {
        for (within, images) in [(1, 33), (10, 321), (60, 1_000_000)] {
            assert_eq!(
                decided(Some(SignedDuration::from_mins(within)), images),
                both(Lane::Interactive, Rule::TooLate)
            );
        }
    }

    #[test]
    fn a_span_is_written_in_its_largest_whole_units() {
        for (seconds, expected) in [
            (30, "30 s"),
            (60, "1 min"),
            (90, "2 min"),
            (20 * 60, "20 min"),
            (3_600, "1 h"),
            (9_000, "2 h 30 min"),
            (86_400, "1 d"),
            (90_000, "25 h"),
            (7 * 86_400, "7 d"),
        ] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), expected);
        }
    }

    proptest! {
        #[test]
        fn more_time_or_fewer_images_never_make_a_job_dearer(
            minutes in 1..10_080_i64, more in 0..10_080_i64, images in 1..1_000_000_u64, fewer in 0..1_000_000_u64,
        ) {
            let price = |decision: Decision| match decision.lane {
                Lane::Batch => 0,
                Lane::Flex => 1,
                Lane::Interactive => 2,
            };
            let tight = decided(Some(SignedDuration::from_mins(minutes)), images);
            let loose = decided(
                Some(SignedDuration::from_mins(minutes + more)),
                images.saturating_sub(fewer).max(1),
            );
            for (tight, loose) in tight.into_iter().zip(loose) {
                prop_assert!(price(loose) <= price(tight));
            }
        }

        #[test]
        fn a_lane_that_is_in_time_takes_no_longer_than_the_limit(minutes in 1..10_080_i64, images in 1..1_000_000_u64) {
            let within = SignedDuration::from_mins(minutes);
            for Decision { lane, rule } in decided(Some(within), images) {
                prop_assert_eq!(duration(lane, images) <= within, rule != Rule::TooLate);
            }
        }
    }
}
