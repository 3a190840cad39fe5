//! How our batches and input files are called at Gemini: the only way back from there to a shard.

use std::{fmt, str::FromStr};

use crate::names::{JobId, ShardId};

/// `<stack>/<job>/<shard>/<attempt>`, the display name of one attempt's input file and batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName {
    /// The deployment.
    pub stack: String,
    /// The job.
    pub job: JobId,
    /// The shard.
    pub shard: ShardId,
    /// The attempt, from 1.
    pub attempt: u32,
}

impl DisplayName {
    /// Whether it is of this shard of this deployment, whatever the attempt.
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

/// A text that no deployment of Darkroom gave.
#[derive(Debug, thiserror::Error)]
#[error("not the name of a shard's attempt")]
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
    fn a_display_name_leads_back_to_its_shard() {
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
    fn the_batches_of_others_have_other_names() {
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
