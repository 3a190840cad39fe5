//! What a simulation found.

use std::{collections::BTreeMap, time::Duration};

use darkroom::chain::Function;
use jiff::SignedDuration;

use super::{
    meter::{Count, Counts, Kind, USER},
    template::Template,
};

/// What a function used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// The number of invocations.
    pub invocations: u64,
    /// The number of messages that they received.
    pub messages: u64,
    /// How long they waited for answers.
    pub waiting: Duration,
    /// Their CPU time on this machine.
    pub computing: Duration,
    /// The bytes that they sent and received.
    pub bytes: u64,
    /// How long they would have taken on Lambda: waiting, transferring all bytes and computing with
    /// their share of a core, one after the other.
    pub billed: Duration,
    /// The longest of them, as billed.
    pub longest: Duration,
}

/// What a simulation found.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The number of images in the bucket.
    pub images: u64,
    /// The number of shards, rounds included.
    pub shards: u64,
    /// The requests of every caller.
    pub counts: Counts,
    /// What each function used.
    pub usage: BTreeMap<&'static str, Usage>,
    /// The bytes in the bucket at the end.
    pub stored_bytes: u64,
    /// What the simulated Gemini charged, in dollars, tokens included.
    pub gemini_usd: f64,
    /// How long the job took in simulated time.
    pub simulated: SignedDuration,
    /// How long the simulation took.
    pub wall: Duration,
}

impl Figures {
    /// Returns the requests of all functions and triggers of one kind. Those of the user do not
    /// count.
    pub fn requests(&self, kind: Kind) -> u64 {
        self.of_functions(|of| of == kind, |count| count.requests)
    }

    /// Returns all requests of functions and triggers.
    pub fn all_requests(&self) -> u64 {
        self.of_functions(|_| true, |count| count.requests)
    }

    /// Sums a quantity over the selected kinds of requests of functions and triggers.
    pub fn of_functions(
        &self,
        select: impl Fn(Kind) -> bool,
        quantity: impl Fn(Count) -> u64,
    ) -> u64 {
        self.counts
            .iter()
            .filter(|((caller, kind), _)| *caller != USER && select(*kind))
            .map(|(_, count)| quantity(*count))
            .sum()
    }

    /// Returns the number of states that `report` has read for each message that it received.
    pub fn state_reads_per_report(&self) -> f64 {
        let report = Function::Report.name();
        let reads = self.counts.get(&(report, Kind::GetState));
        let reads = reads.map_or(0, |count| count.requests);
        let messages = self.usage.get(report).map_or(0, |usage| usage.messages);
        reads as f64 / messages.max(1) as f64
    }

    /// Returns the number of invocations of all functions.
    pub fn invocations(&self) -> u64 {
        self.usage.values().map(|usage| usage.invocations).sum()
    }

    /// Returns the GB-seconds of a function: its billed time by the memory of the template.
    ///
    /// # Errors
    /// If the template has no such function.
    pub fn gb_seconds(&self, template: &Template, function: &str) -> anyhow::Result<f64> {
        let Some(usage) = self.usage.get(function) else {
            return Ok(0.0);
        };
        let memory = f64::from(template.function(function)?.memory_mb);
        Ok(usage.billed.as_secs_f64() * memory / 1024.0)
    }

    /// Returns the GB-seconds of all functions.
    ///
    /// # Errors
    /// As [`Self::gb_seconds`].
    pub fn all_gb_seconds(&self, template: &Template) -> anyhow::Result<f64> {
        let functions = self.usage.keys();
        functions.map(|name| self.gb_seconds(template, name)).sum()
    }
}
