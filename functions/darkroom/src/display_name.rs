//! The display names of Darkroom's batches and input files at Gemini. They are the only way to find
//! the shard of a batch or a file.

use std::{fmt, str::FromStr};

use crate::names::{JobId, ShardId};

/// The display name of one attempt's input file and batch: `<stack>/<job>/<shard>/<attempt>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName {
    /// The stack name of the deployment.
    pub stack: String,
    /// The job.
    pub job: JobId,
    /// The shard.
    pub shard: ShardId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
}

impl DisplayName {
    /// Whether it belongs to any attempt of this shard in this deployment.
    pub fn is_of(&self, stack: &str, job: &JobId, shard: ShardId) -> bool {
        self.stack == stack && self.job == *job && self.shard == shard
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.stack, self.job, self.shard, self.attempt
        )
    }
}

/// The text is not a display name that Darkroom creates.
#[derive(Debug, thiserror::Error)]
#[error("invalid display name: expected STACK/JOB/SHARD/ATTEMPT")]
pub struct DisplayNameError;

impl FromStr for DisplayName {
    type Err = DisplayNameError;

    fn from_str(text: &str) -> Result<Self, DisplayNameError> {
        let parse = || {
            let mut parts = text.rsplitn(4, '/');
            let (attempt, shard, job) = (parts.next()?, parts.next()?, parts.next()?);
            let stack = parts.next()?.to_owned();
            let (shard, attempt) = (shard.parse().ok()?, attempt.parse().ok()?);
            Some(Self {
                stack,
                job: JobId::new(job),
                shard,
                attempt,
            })
        };
        parse()
            .filter(|name| name.to_string() == text)
            .ok_or(DisplayNameError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_name_identifies_its_shard() {
        let job = JobId::new("catalog-9cf485441ecdeefd");
        let shard = ShardId::first(7).next_round();
        let name = DisplayName {
            stack: "darkroom".to_owned(),
            job: job.clone(),
            shard,
            attempt: 2,
        };
        assert_eq!(
            name.to_string(),
            "darkroom/catalog-9cf485441ecdeefd/0007.r2/2"
        );
        assert_eq!(name.to_string().parse::<DisplayName>().unwrap(), name);
        assert!(name.is_of("darkroom", &job, shard));
        assert!(
            !name.is_of("other", &job, shard) && !name.is_of("darkroom", &job, ShardId::first(7))
        );
    }

    #[test]
    fn rejects_names_that_darkroom_does_not_create() {
        for text in [
            "",
            "my batch",
            "a/b/c/d",
            "a/b/0000/01",
            "b/0000/1",
            "a/b/0000/-1",
            "a/b/7/1",
        ] {
            assert!(text.parse::<DisplayName>().is_err(), "{text}");
        }
    }
}
