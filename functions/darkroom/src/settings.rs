//! Settings of a deployment that belong to no job.

use jiff::SignedDuration;

/// How long to wait between two status requests for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollBackoff {
    /// At first.
    pub shortest: SignedDuration,
    /// After the batch has run for hours, and after errors.
    pub longest: SignedDuration,
}

impl Default for PollBackoff {
    fn default() -> Self {
        Self {
            shortest: SignedDuration::from_mins(1),
            longest: SignedDuration::from_mins(15),
        }
    }
}

impl PollBackoff {
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
            puts: 8,
            put_bytes: 48 << 20,
            checkpoint_bytes: 64 << 20,
            checkpoint_results: 200,
            reserve: SignedDuration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
