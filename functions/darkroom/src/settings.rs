//! Settings with bounds. The functions read them from their environment, the `darkroom` command from
//! its options, and the template's parameters have the same bounds.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::{money::Usd, state::QUIET_PERIOD};

// Each constant has the name of the environment variable that it bounds: tests/template.py compares
// them with the template's parameters.

/// A job is a hop from `collect` to `submit` for each round, and Lambda stops a chain of 16 hops.
pub const MAX_ROUNDS: Bounds<u8> = Bounds::between(1, 9);
/// Google lets 100 batches of a project be pending or running at once
/// (<https://ai.google.dev/gemini-api/docs/rate-limits>, read 2026-11).
pub const MAX_LIVE_BATCHES: Bounds<u32> = Bounds::between(1, 100);
/// Longer than a function can live, and well below the 12 hours that SQS lets a message wait.
pub const QUIET_PERIOD_MINUTES: Bounds<u32> = Bounds::between(20, 600);
/// Each status request is a request to the Gemini API and a receive of the shard's message.
pub const POLL_SHORTEST_SECONDS: Bounds<u32> = Bounds::at_least(10);
/// A message is received at most 1,000 times. With three minutes between two receives they last for
/// 50 hours, which is longer than a batch's deadline. The upper bound is below the 12 hours that SQS
/// lets a message wait.
pub const POLL_LONGEST_SECONDS: Bounds<u32> = Bounds::between(180, 43_000);
/// See [`crate::job::ShardLimits::requests`].
pub const SHARD_REQUESTS: Bounds<u32> = Bounds::between(1, 100_000);
/// See [`crate::job::ShardLimits::input_bytes`].
pub const SHARD_INPUT_BYTES: Bounds<u64> = Bounds::at_least(1);
/// See [`crate::job::ShardLimits::response_bytes`].
pub const SHARD_RESPONSE_BYTES: Bounds<u64> = Bounds::at_least(1);
/// See [`crate::job::ShardLimits::tokens`]. One request with reference pictures has thousands.
pub const SHARD_TOKENS: Bounds<u64> = Bounds::at_least(10_000);

/// Calls in flight of one invocation of `generate`, each with an image in memory.
pub const GENERATE_IN_FLIGHT: Bounds<usize> = Bounds::between(1, 32);
/// See [`GenerateLimits::flex_patience`]. A message must be received again in the meantime.
pub const FLEX_PATIENCE_MINUTES: Bounds<u32> = Bounds::between(1, 1_440);

/// The whole numbers that a setting accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds<T> {
    min: T,
    max: Option<T>,
}

/// A value that a setting does not accept. The message gives the bounds and does not repeat the
/// value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number, {0}")]
pub struct OutOfBounds(String);

impl<T> Bounds<T> {
    /// From `min` to `max`, both included.
    pub const fn between(min: T, max: T) -> Self {
        Self {
            min,
            max: Some(max),
        }
    }

    /// `min` or more.
    pub const fn at_least(min: T) -> Self {
        Self { min, max: None }
    }
}

impl<T: Copy + PartialOrd> Bounds<T> {
    /// Whether the value is within the bounds.
    pub fn accepts(self, value: T) -> bool {
        value >= self.min && self.max.is_none_or(|max| value <= max)
    }
}

impl<T: Copy + PartialOrd + Display> Bounds<T> {
    /// Returns the value if it is within the bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] if it is not.
    pub fn check(self, value: T) -> Result<T, OutOfBounds> {
        self.accepts(value)
            .then_some(value)
            .ok_or_else(|| OutOfBounds(self.to_string()))
    }

    /// Reads a value that must be within the bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] if the text is not a whole number, or the number is not within the bounds.
    pub fn parse(self, text: &str) -> Result<T, OutOfBounds>
    where
        T: FromStr,
    {
        let value = text.parse().map_err(|_| OutOfBounds(self.to_string()))?;
        self.check(value)
    }
}

impl<T: Display> Display for Bounds<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.max {
            Some(max) => write!(f, "{} to {max}", self.min),
            None => write!(f, "{} or more", self.min),
        }
    }
}

/// How many times an image is requested in total if it fails for a transient reason: 1 to 9. In JSON
/// it is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct MaxRounds(u8);

impl MaxRounds {
    /// The number, if it is within the bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] if it is not.
    pub fn new(rounds: u8) -> Result<Self, OutOfBounds> {
        MAX_ROUNDS.check(rounds).map(Self)
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for MaxRounds {
    fn default() -> Self {
        Self(3)
    }
}

impl TryFrom<u8> for MaxRounds {
    type Error = OutOfBounds;

    fn try_from(rounds: u8) -> Result<Self, OutOfBounds> {
        Self::new(rounds)
    }
}

impl From<MaxRounds> for u8 {
    fn from(rounds: MaxRounds) -> Self {
        rounds.0
    }
}

impl FromStr for MaxRounds {
    type Err = OutOfBounds;

    fn from_str(text: &str) -> Result<Self, OutOfBounds> {
        MAX_ROUNDS.parse(text).map(Self)
    }
}

/// How many batches may be pending or running at once: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxLiveBatches(u32);

impl MaxLiveBatches {
    /// The number, if it is within the bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] if it is not.
    pub fn new(batches: u32) -> Result<Self, OutOfBounds> {
        MAX_LIVE_BATCHES.check(batches).map(Self)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for MaxLiveBatches {
    fn default() -> Self {
        Self(100)
    }
}

impl Display for MaxLiveBatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl FromStr for MaxLiveBatches {
    type Err = OutOfBounds;

    fn from_str(text: &str) -> Result<Self, OutOfBounds> {
        MAX_LIVE_BATCHES.parse(text).map(Self)
    }
}

/// How long to wait, after a create call with unknown outcome, before looking for its batch: 20 to
/// 600 minutes. As text it is a number of minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietPeriod(SignedDuration);

impl QuietPeriod {
    /// No quiet period at all, which can buy a second batch for a shard. It exists for the null
    /// control of the fault harness, which must find that second batch.
    pub const fn zero_for_null_control() -> Self {
        Self(SignedDuration::ZERO)
    }

    /// The period.
    pub fn duration(self) -> SignedDuration {
        self.0
    }
}

impl Default for QuietPeriod {
    fn default() -> Self {
        Self(QUIET_PERIOD)
    }
}

impl FromStr for QuietPeriod {
    type Err = OutOfBounds;

    fn from_str(text: &str) -> Result<Self, OutOfBounds> {
        let minutes = QUIET_PERIOD_MINUTES.parse(text)?;
        Ok(Self(SignedDuration::from_mins(minutes.into())))
    }
}

/// How long to wait between two status requests for a batch: at first at least ten seconds, and
/// after the batch has run for hours, three minutes to almost twelve hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollBackoff {
    shortest: SignedDuration,
    longest: SignedDuration,
}

/// Waits that `poll` does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a shortest wait in seconds, {POLL_SHORTEST_SECONDS}, and a longest wait, {POLL_LONGEST_SECONDS}, \
     that is not below the shortest"
)]
pub struct PollBackoffError;

impl Default for PollBackoff {
    fn default() -> Self {
        Self::for_simulated_batches(
            Self::DEFAULT_SHORTEST_SECONDS,
            Self::DEFAULT_LONGEST_SECONDS,
        )
    }
}

impl PollBackoff {
    /// The shortest wait of a deployment that sets none.
    pub const DEFAULT_SHORTEST_SECONDS: u32 = 60;
    /// The longest wait of a deployment that sets none.
    pub const DEFAULT_LONGEST_SECONDS: u32 = 15 * 60;

    /// Waits from `shortest` to `longest` seconds.
    ///
    /// # Errors
    /// [`PollBackoffError`] if they are out of bounds, or `shortest` exceeds `longest`.
    pub fn from_seconds(shortest: u32, longest: u32) -> Result<Self, PollBackoffError> {
        let are_accepted = POLL_SHORTEST_SECONDS.accepts(shortest)
            && POLL_LONGEST_SECONDS.accepts(longest)
            && shortest <= longest;
        are_accepted
            .then(|| Self::for_simulated_batches(shortest, longest))
            .ok_or(PollBackoffError)
    }

    /// Waits from `shortest` to `longest` seconds without bounds, for simulated batches, which may
    /// take only seconds.
    pub const fn for_simulated_batches(shortest: u32, longest: u32) -> Self {
        Self {
            shortest: SignedDuration::from_secs(shortest as i64),
            longest: SignedDuration::from_secs(longest as i64),
        }
    }

    /// The wait at first.
    pub fn shortest(self) -> SignedDuration {
        self.shortest
    }

    /// The wait after the batch has run for hours, and after Gemini has limited the request rate.
    pub fn longest(self) -> SignedDuration {
        self.longest
    }

    /// How long to wait before the next request about a batch that has run for `waited`: a tenth of
    /// that time, within the bounds.
    ///
    /// `fraction`, from 0 to 1, varies the result by up to a tenth, so that shards that were
    /// submitted together don't ask together.
    pub fn after(self, waited: SignedDuration, fraction: f64) -> SignedDuration {
        let pause = (waited / 10).clamp(self.shortest, self.longest.max(self.shortest));
        pause.mul_f64(0.9 + 0.2 * fraction)
    }
}

/// Dollars that all jobs together may spend or reserve in one day: more than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DailyCap(Usd);

/// A text that is not a daily cap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an amount in dollars above zero, such as 25 or 12.50")]
pub struct DailyCapError;

impl FromStr for DailyCap {
    type Err = DailyCapError;

    fn from_str(text: &str) -> Result<Self, DailyCapError> {
        match text.parse::<Usd>() {
            Ok(usd) if usd > Usd::ZERO => Ok(Self(usd)),
            Ok(_) | Err(_) => Err(DailyCapError),
        }
    }
}

impl From<DailyCap> for Usd {
    fn from(cap: DailyCap) -> Self {
        cap.0
    }
}

/// How fast `collect` reads, and how often it records its progress.
#[derive(Clone, Copy, Debug)]
pub struct CollectLimits {
    /// Concurrent uploads of images to S3.
    pub puts: usize,
    /// Bytes of images that are uploaded concurrently. A larger image is uploaded alone.
    pub put_bytes: usize,
    /// Bytes of the responses file between two checkpoints. If an invocation is killed, the next one
    /// reads up to this many again.
    pub checkpoint_bytes: u64,
    /// Results between two checkpoints.
    pub checkpoint_results: usize,
    /// Time that is kept at the end of an invocation to record progress.
    pub reserve: SignedDuration,
}

impl Default for CollectLimits {
    fn default() -> Self {
        Self {
            puts: 6,
            put_bytes: 48 << 20,
            checkpoint_bytes: 64 << 20,
            checkpoint_results: 200,
            reserve: SignedDuration::from_secs(30),
        }
    }
}

/// How fast images of the synchronous lanes are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerateLimits {
    /// Calls in flight of one invocation. If it is killed, as many answers may be lost.
    pub in_flight: usize,
    /// How long a shard waits for the flex tier while Gemini refuses every call for lack of
    /// capacity.
    pub flex_patience: SignedDuration,
    /// Bytes of unused image buffers that are kept for the next image.
    pub idle_bytes: usize,
    /// Time that is kept at the end of an invocation to record results.
    pub reserve: SignedDuration,
}

impl Default for GenerateLimits {
    fn default() -> Self {
        Self {
            in_flight: 8,
            flex_patience: SignedDuration::from_mins(30),
            idle_bytes: 32 << 20,
            reserve: SignedDuration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_is_within_the_bounds_and_nothing_else() {
        let between = Bounds::between(1_u8, 9);
        assert_eq!((between.parse("1"), between.parse("9")), (Ok(1), Ok(9)));
        for refused in ["0", "10", "-1", "300", "1.5", "many", ""] {
            let error = between.parse(refused).unwrap_err().to_string();
            assert_eq!(error, "expected a whole number, 1 to 9", "{refused}");
        }
        let at_least = Bounds::at_least(10_u32);
        assert_eq!(at_least.parse("10"), Ok(10));
        assert_eq!(
            at_least.parse("9").unwrap_err().to_string(),
            "expected a whole number, 10 or more"
        );
    }

    #[test]
    fn the_quiet_period_can_not_be_switched_off() {
        assert!("0".parse::<QuietPeriod>().is_err());
        assert!("19".parse::<QuietPeriod>().is_err());
        let shortest: QuietPeriod = "20".parse().unwrap();
        assert_eq!(shortest.duration(), SignedDuration::from_mins(20));
        let default = QuietPeriod::default().duration().as_mins();
        assert_eq!(default.to_string().parse(), Ok(QuietPeriod::default()));
    }

    #[test]
    fn defaults_are_within_the_bounds() {
        assert_eq!(
            MaxRounds::new(MaxRounds::default().get()),
            Ok(MaxRounds::default())
        );
        assert_eq!(
            MaxLiveBatches::new(MaxLiveBatches::default().get()),
            Ok(MaxLiveBatches::default())
        );
        assert_eq!(
            PollBackoff::from_seconds(60, 900),
            Ok(PollBackoff::default())
        );
    }

    #[test]
    fn the_poll_backoff_refuses_what_would_use_up_the_receives_of_a_message() {
        assert!(PollBackoff::from_seconds(180, 180).is_ok());
        for (shortest, longest) in [(9, 900), (10, 1), (10, 179), (10, 43_001), (181, 180)] {
            assert_eq!(
                PollBackoff::from_seconds(shortest, longest),
                Err(PollBackoffError)
            );
        }
    }

    #[test]
    fn the_number_of_rounds_is_a_number_in_json() {
        assert_eq!(serde_json::to_string(&MaxRounds::default()).unwrap(), "3");
        assert_eq!(serde_json::from_str::<MaxRounds>("9").unwrap().get(), 9);
        let error = serde_json::from_str::<MaxRounds>("0").unwrap_err();
        assert!(error.to_string().contains("1 to 9"), "{error}");
    }

    #[test]
    fn a_daily_cap_is_above_zero() {
        assert_eq!(
            "12.50".parse().map(|cap: DailyCap| Usd::from(cap)),
            Ok("12.50".parse().unwrap())
        );
        for refused in ["0", "0.00", "-1", "much"] {
            assert_eq!(refused.parse::<DailyCap>(), Err(DailyCapError), "{refused}");
        }
    }

    #[test]
    fn pauses_grow_from_a_minute_to_a_quarter_of_an_hour() {
        let pause = |minutes, fraction| {
            PollBackoff::default()
                .after(SignedDuration::from_mins(minutes), fraction)
                .as_secs()
        };
        assert_eq!(pause(0, 0.5), 60);
        assert_eq!(pause(60, 0.5), 360);
        assert_eq!(pause(60 * 24, 0.5), 900);
        assert!(pause(60, 0.0) < pause(60, 0.99));
    }
}
