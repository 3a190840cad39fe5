//! The chain: which queue triggers which function, and with what settings. The local host runs it from
//! this table, and tests/template.py compares the deployed template with it.

use jiff::SignedDuration;

/// How long a function may run. Lambda allows 15 minutes
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html>, read 2026-11).
pub const FUNCTION_TIMEOUT: SignedDuration = SignedDuration::from_mins(15);

/// How long a received message stays hidden: six times the functions' timeout, as Lambda recommends
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>, read 2026-11).
pub const VISIBILITY_TIMEOUT: SignedDuration = SignedDuration::from_mins(90);

/// How long every queue keeps a message: 14 days, the maximum of SQS.
pub const RETENTION: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A function of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Function {
    /// Turns a manifest into a plan.
    Plan,
    /// Turns a shard into a batch.
    Submit,
    /// Waits for a batch to end.
    Poll,
    /// Turns the output of a batch into images.
    Collect,
    /// Requests images one by one, and stores them.
    Generate,
    /// Reports on a job and closes it.
    Report,
    /// Makes thumbnails of the images of a shard.
    Thumbs,
    /// Carries out what a user requests for a job.
    Control,
    /// Sends events about jobs to other programs and to people.
    Notify,
}

impl Function {
    /// Returns the name of the function, which follows the name of the stack in a deployment.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Submit => "submit",
            Self::Poll => "poll",
            Self::Collect => "collect",
            Self::Generate => "generate",
            Self::Report => "report",
            Self::Thumbs => "thumbs",
            Self::Control => "control",
            Self::Notify => "notify",
        }
    }
}

/// The name of the function that a schedule triggers.
pub const SWEEP: &str = "sweep";

/// A queue and the event source mapping from it to a function.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The name of the queue.
    pub queue: &'static str,
    /// The function that its messages trigger.
    pub function: Function,
    /// The maximum number of messages in an event. SQS delivers at most ten at a time, so Lambda
    /// collects larger events from several deliveries.
    pub batch_size: usize,
    /// The maximum number of events that are handled concurrently.
    pub concurrency: usize,
    /// How many times a message may be received before it becomes a dead letter. A message that waits
    /// by its visibility timeout uses one receive per wait.
    pub max_receive_count: u32,
}

/// The queue of S3's notifications of uploads to `inbox/`.
pub const MANIFESTS: &str = "manifests";
/// The queue of shards to submit.
pub const SHARDS: &str = "shards";
/// The queue of batches to wait for.
pub const POLLS: &str = "polls";
/// The queue of batches that ended.
pub const RESULTS: &str = "results";
/// The queue of shards whose images are requested one by one.
pub const GENERATIONS: &str = "generations";
/// The queue of jobs with a changed shard.
pub const REPORTS: &str = "reports";
/// The queue of shards whose images get thumbnails.
pub const THUMBNAILS: &str = "thumbnails";
/// The queue of S3's notifications of uploads to `control/`.
pub const CONTROLS: &str = "controls";
/// The queue of jobs with events to send.
pub const NOTIFICATIONS: &str = "notifications";

/// What follows a queue's name, in capitals, in the name of the environment variable that holds the
/// queue's URL.
const URL_VARIABLE_SUFFIX: &str = "_QUEUE_URL";

/// The environment variable that holds the URL of a queue: `SHARDS_QUEUE_URL` for [`SHARDS`].
pub fn url_variable(queue: &str) -> String {
    queue.to_ascii_uppercase() + URL_VARIABLE_SUFFIX
}

/// How often `sweep` runs. A schedule triggers it, not a queue.
pub const SWEEP_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// The chain, in its order.
pub const CHAIN: [Source; 9] = [
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
        queue: GENERATIONS,
        function: Function::Generate,
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
        queue: THUMBNAILS,
        function: Function::Thumbs,
        batch_size: 1,
        concurrency: 4,
        max_receive_count: 100,
    },
    Source {
        queue: CONTROLS,
        function: Function::Control,
        batch_size: 1,
        concurrency: 2,
        max_receive_count: 100,
    },
    // A failed attempt is repeated after a wait that grows to 15 minutes, so a hundred receives last
    // a day.
    Source {
        queue: NOTIFICATIONS,
        function: Function::Notify,
        batch_size: 10,
        concurrency: 2,
        max_receive_count: 100,
    },
];

impl Source {
    /// Returns the name of the queue's dead-letter queue.
    pub fn dead_letters(&self) -> String {
        format!("{}-dead", self.queue)
    }
}
