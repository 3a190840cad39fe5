//! The chain as it is deployed: which queue triggers which function, and with what settings.

use jiff::SignedDuration;

/// How long a function may run. Lambda allows 15 minutes
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html>, read 2026-11).
pub const FUNCTION_TIMEOUT: SignedDuration = SignedDuration::from_mins(15);

/// How long a received message stays hidden: six times the functions' timeout, as Lambda advises
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>, read 2026-11).
pub const VISIBILITY_TIMEOUT: SignedDuration = SignedDuration::from_mins(90);

/// How long every queue keeps a message: 14 days, the longest that SQS allows.
pub const RETENTION: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A function of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    /// A manifest becomes a plan.
    Plan,
    /// A shard becomes a batch.
    Submit,
    /// A batch is waited for.
    Poll,
    /// An ended batch becomes images.
    Collect,
    /// A finished job becomes a report.
    Report,
    /// A person's request is carried out.
    Control,
}

/// A queue and the event source mapping that empties it.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The queue.
    pub queue: &'static str,
    /// The function that its messages trigger.
    pub function: Function,
    /// Messages of one event, at the most. Where they are more than the ten that SQS gives at a
    /// time, Lambda gathers them.
    pub batch_size: usize,
    /// Events handled at once, at the most.
    pub concurrency: usize,
    /// How often a message may be received before it is a dead letter. Where messages wait by
    /// visibility, each wait is a receive.
    pub max_receive_count: u32,
}

/// S3's notifications of uploads.
pub const MANIFESTS: &str = "manifests";
/// Shards to submit.
pub const SHARDS: &str = "shards";
/// Batches to wait for.
pub const POLLS: &str = "polls";
/// Batches that ended.
pub const RESULTS: &str = "results";
/// Jobs of which a shard has changed.
pub const REPORTS: &str = "reports";

/// S3's notifications of what people ask.
pub const CONTROLS: &str = "controls";

/// What follows a queue's name, in capitals, in the name of the environment variable that holds the
/// queue's URL.
const URL_VARIABLE_SUFFIX: &str = "_QUEUE_URL";

/// The environment variable that holds the URL of a queue: `SHARDS_QUEUE_URL` for [`SHARDS`].
pub fn url_variable(queue: &str) -> String {
    queue.to_ascii_uppercase() + URL_VARIABLE_SUFFIX
}

/// How often `sweep` runs, which no queue triggers.
pub const SWEEP_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// The whole chain, in its order.
pub const CHAIN: [Source; 6] = [
    Source {
        queue: MANIFESTS,
        function: Function::Plan,
        batch_size: 1,
        concurrency: 2,
        max_receive_count: 100,
    },
    Source {
        queue: SHARDS,
        function: Function::Submit,
        batch_size: 1,
        concurrency: 4,
        max_receive_count: 1_000,
    },
    Source {
        queue: POLLS,
        function: Function::Poll,
        batch_size: 10,
        concurrency: 2,
        max_receive_count: 1_000,
    },
    Source {
        queue: RESULTS,
        function: Function::Collect,
        batch_size: 1,
        concurrency: 2,
        max_receive_count: 1_000,
    },
    Source {
        queue: REPORTS,
        function: Function::Report,
        batch_size: 1_000,
        concurrency: 2,
        max_receive_count: 100,
    },
    Source {
        queue: CONTROLS,
        function: Function::Control,
        batch_size: 1,
        concurrency: 2,
        max_receive_count: 100,
    },
];

impl Source {
    /// The queue's dead-letter queue.
    pub fn dead_letters(&self) -> String {
        format!("{}-dead", self.queue)
    }
}
