//! One job through the whole chain: the real functions, the stand-ins and the simulated Gemini, as
//! a discrete-event simulation in which invocations take time.
//!
//! The simulation is serial. An event is handled completely at its moment of the simulated time,
//! which does not pass meanwhile, and then occupies its place among the concurrent invocations of
//! its function for as long as the invocation would have taken. So every request and every second
//! of CPU time belongs to exactly one function, and messages still arrive in the order and in the
//! groups that they have on AWS. `cli::host`, in contrast, runs invocations concurrently, and an
//! invocation takes no simulated time.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use aws_sim::queue::Delivery;
use cli::{
    cloud::{Cloud, CloudConfig, INTERNAL},
    host::invoke,
    time::Time,
};
use darkroom::{
    chain::{CHAIN, FUNCTION_TIMEOUT, SWEEP, SWEEP_EVERY, Source, VISIBILITY_TIMEOUT},
    job::{JobSettings, ShardLimits},
    ledger::{FolderCaps, ProjectLimits},
    models::{Catalog, Tier},
    object_keys::Marker,
    settings::MaxLiveBatches,
};
use gemini::{
    Gemini,
    key::{ApiKey, KeySource},
};
use gemini_sim::{Gemini as SimulatedGemini, Scenario};
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use seam::rng::Rng;
use tempfile::TempDir;

use super::{
    meter::{Counts, Kind, Meter, Metered},
    prices::Model,
    template::{FunctionSettings, Template},
};

/// The moment at which every simulation starts, in seconds since the epoch: 2026-11-21T00:00:00Z.
const START_SECONDS: i64 = 1_795_219_200;

/// The most messages that SQS delivers or deletes in one request.
const SQS_BATCH: usize = 10;

/// The longest time after which a job must have ended. A batch that does not end is canceled after
/// two days.
const MAX_JOB: SignedDuration = SignedDuration::from_hours(24 * 60);

/// The reference pictures that items may have, with the keys of the samples.
pub const REFERENCES: [&str; 5] = [
    "refs/fox.png",
    "refs/bag.png",
    "refs/loafer.png",
    "refs/sneaker-side.png",
    "refs/sneaker-top.png",
];

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The number of images of the job.
    pub images: u64,
    /// How many reference pictures each item has, of [`REFERENCES`]. All items have the same ones.
    pub references: usize,
    /// How long each batch takes.
    pub batch: SignedDuration,
    /// The tier of the Gemini project, which limits enqueued tokens.
    pub tier: Tier,
    /// The limits of a shard.
    pub shard: ShardLimits,
    /// The images that the simulated Gemini draws.
    pub pictures: Pictures,
    /// What an invocation's duration includes.
    pub cpu: CpuTime,
    /// When the simulation ends, even if the job has not.
    pub until: Option<SignedDuration>,
}

/// The images that the simulated Gemini draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pictures {
    /// 64 pixels wide, so that drawing and storing them takes little time.
    Tiny,
    /// As large as requested, and padded to this number of bytes.
    Padded(u32),
}

/// Whether the duration of an invocation includes its CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuTime {
    /// It does. The CPU time is that of this process, so it includes the work of the stand-ins and
    /// of the simulated Gemini, and is an upper bound.
    Measured,
    /// It does not, so that the schedule does not depend on the machine.
    Ignored,
}

impl Default for Simulation {
    fn default() -> Self {
        Self {
            images: 1_000,
            references: 0,
            batch: SignedDuration::from_hours(1),
            tier: Tier::Three,
            shard: ShardLimits::default(),
            pictures: Pictures::Tiny,
            cpu: CpuTime::Measured,
            until: None,
        }
    }
}

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

impl Simulation {
    /// Runs the job in a temporary folder.
    ///
    /// # Errors
    /// If the job does not succeed within [`MAX_JOB`], or the folder can't be used.
    pub fn run(&self) -> anyhow::Result<Figures> {
        // While every task waits for the modeled answer of a service, the time advances.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()?;
        runtime.block_on(async {
            let started = Instant::now();
            let mut world = World::open(self)?;
            world.drop_manifest(self).await?;
            world.run().await?;
            world.figures(self, started.elapsed())
        })
    }

    fn scenario(&self) -> anyhow::Result<Scenario> {
        let seconds = u32::try_from(self.batch.as_secs())?;
        let (image_side, image_bytes) = match self.pictures {
            Pictures::Tiny => (Some(64), None),
            Pictures::Padded(bytes) => (None, Some(bytes)),
        };
        Ok(Scenario {
            shortest_batch_seconds: seconds,
            longest_batch_seconds: seconds,
            image_side,
            image_bytes,
            ..Scenario::default()
        })
    }

    fn config(&self) -> CloudConfig {
        CloudConfig {
            settings: JobSettings {
                shard: self.shard.clone(),
                ..JobSettings::default()
            },
            limits: limits(self.tier),
            tier: self.tier,
            rng: Rng::seeded(1),
            ..CloudConfig::default()
        }
    }

    fn references(&self) -> &[&'static str] {
        &REFERENCES[..self.references.min(REFERENCES.len())]
    }

    /// Returns a table with a row for each image.
    fn manifest(&self) -> String {
        let references = self.references().join("|");
        let row = |number: u64| format!("SKU-{number:07},\"{}\",{references}\n", prompt(number));
        "key,prompt,refs\n".to_owned() + &(0..self.images).map(row).collect::<String>()
    }
}

/// Returns the limits of a project of this tier, without caps on dollars.
pub(super) fn limits(tier: Tier) -> ProjectLimits {
    ProjectLimits {
        live_batches: MaxLiveBatches::default(),
        enqueued_tokens: Catalog::built_in().enqueued_tokens(tier),
        daily_usd: None,
        folders: FolderCaps::default(),
    }
}

/// Returns the moment at which every simulation starts.
pub fn start() -> Timestamp {
    Timestamp::from_second(START_SECONDS).unwrap_or_default()
}

/// Returns the prompt of an item. All prompts have about the same length.
pub(super) fn prompt(number: u64) -> String {
    format!(
        "a canvas sneaker in off white, three-quarter view, pure white background, soft shadow, \
         number {number}"
    )
}

/// The chain in a temporary folder.
struct World {
    cloud: Cloud,
    gemini: Arc<SimulatedGemini>,
    meter: Arc<Meter>,
    model: Model,
    template: Template,
    cpu: CpuTime,
    started: Timestamp,
    ends: Timestamp,
    next_sweep: Timestamp,
    triggers: Vec<Trigger>,
    usage: BTreeMap<&'static str, Usage>,
    /// Removed at the end.
    _folder: TempDir,
}

/// An event source mapping.
struct Trigger {
    source: &'static Source,
    settings: FunctionSettings,
    /// When the running invocations end.
    running: Vec<Timestamp>,
    /// When the messages that are collected for the next event are delivered.
    window_ends: Option<Timestamp>,
}

impl World {
    fn open(simulation: &Simulation) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let started = start();
        let time = Time::frozen(started);
        let model = super::prices::Aws::read()?.model;
        let meter = Arc::new(Meter::new(model));

        // The connections to all services are metered.
        let state = folder.path().join(INTERNAL).join("gemini");
        let scenario = simulation.scenario()?;
        let gemini = Arc::new(SimulatedGemini::open(&state, time.clock(), scenario)?);
        let key = Arc::new(KeySource::fixed(ApiKey::new("simulated")?));
        let client = Gemini::new(
            gemini::Settings::new(key),
            Metered::gemini(Arc::clone(&gemini) as _, &meter),
        )?;
        let cloud = Cloud::open_with(
            folder.path(),
            time,
            client,
            simulation.config(),
            |service| Metered::aws(service, &meter),
        )?;

        let template = Template::read()?;
        let trigger = |source: &'static Source| {
            anyhow::Ok(Trigger {
                source,
                settings: template.function(source.function.name())?,
                running: Vec::new(),
                window_ends: None,
            })
        };
        let triggers = CHAIN_TABLE.iter().map(trigger).collect::<Result<_, _>>()?;
        Ok(Self {
            cloud,
            gemini,
            meter,
            model,
            template,
            cpu: simulation.cpu,
            started,
            ends: started + simulation.until.unwrap_or(MAX_JOB),
            next_sweep: started + SWEEP_EVERY,
            triggers,
            usage: BTreeMap::new(),
            _folder: folder,
        })
    }

    /// Uploads the manifest and its reference pictures, as a user does.
    async fn drop_manifest(&self, simulation: &Simulation) -> anyhow::Result<()> {
        let bucket = &self.cloud.bucket;
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/manifests");
        for reference in simulation.references() {
            let picture = fs::read(samples.join(reference))?;
            bucket.put(reference, "image/png", picture).await?;
        }
        let manifest = simulation.manifest().into_bytes();
        bucket.put("inbox/skus.csv", "text/csv", manifest).await?;
        Ok(())
    }

    /// Handles events until there are none, or until the simulation ends.
    async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            // A function may send to any queue, so the queues are read until none has an event.
            let mut has_event = true;
            while has_event {
                has_event = false;
                for index in 0..self.triggers.len() {
                    while let Some(deliveries) = self.next_event(index)? {
                        has_event = true;
                        self.invoke(index, deliveries).await?;
                    }
                }
            }
            let Some(next) = self.next_moment()? else {
                return Ok(());
            };
            if next >= self.ends {
                return Ok(());
            }
            // The time always advances, whatever a queue reports.
            let at_least = self.now() + SignedDuration::from_millis(1);
            self.cloud.time.jump_to(next.max(at_least))?;
            if self.now() >= self.next_sweep {
                self.next_sweep = self.now() + SWEEP_EVERY;
                self.sweep().await?;
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.cloud.time.now()
    }

    /// Receives the messages of the next event of a queue, if it has one now.
    fn next_event(&mut self, index: usize) -> anyhow::Result<Option<Vec<Delivery>>> {
        let now = self.now();
        let queues = &self.cloud.queues;
        let trigger = &mut self.triggers[index];
        let source = trigger.source;
        trigger.running.retain(|ends| *ends > now);
        let visible = queues.depth(source.queue)?.visible;
        if visible == 0 || trigger.running.len() >= source.concurrency {
            return Ok(None);
        }
        // The window begins with the first message, and ends early once an event is full.
        let window = trigger.settings.batching_window;
        let window_ends = *trigger.window_ends.get_or_insert(now + window);
        if now < window_ends && visible < source.batch_size {
            return Ok(None);
        }
        trigger.window_ends = None;

        let mut deliveries = Vec::new();
        while deliveries.len() < source.batch_size {
            let wanted = source.batch_size - deliveries.len();
            let more = queues.receive(source.queue, wanted, None)?;
            if more.is_empty() {
                break;
            }
            deliveries.extend(more);
        }
        Ok((!deliveries.is_empty()).then_some(deliveries))
    }

    /// Returns the next moment at which something can happen. There is none once the job is closed
    /// and no queue has a message.
    fn next_moment(&self) -> anyhow::Result<Option<Timestamp>> {
        let mut next = None;
        for trigger in &self.triggers {
            let Some(due) = self.cloud.queues.next_due(trigger.source.queue)? else {
                continue;
            };
            let is_full = trigger.running.len() >= trigger.source.concurrency;
            let place = trigger.running.iter().min().filter(|_| is_full).copied();
            let earliest = due.max(trigger.window_ends.unwrap_or(due));
            let moment = place.map_or(earliest, |place| place.max(earliest));
            next = Some(next.map_or(moment, |next: Timestamp| next.min(moment)));
        }
        // Without a message, only a sweep can move an open job.
        Ok(match next {
            Some(next) => Some(next.min(self.next_sweep)),
            None => self.cloud.has_open_jobs().then_some(self.next_sweep),
        })
    }

    /// Invokes a function with one event, and deletes the messages that it has handled.
    async fn invoke(&mut self, index: usize, deliveries: Vec<Delivery>) -> anyhow::Result<()> {
        let Trigger {
            source, settings, ..
        } = self.triggers[index];
        let name = source.function.name();
        let messages = deliveries.len();
        let event = invoke::event(source.queue, &deliveries);
        let deadline = self.now() + FUNCTION_TIMEOUT;
        let invocation = Invocation::begin(self, name);
        let response = Box::pin(invoke::invoke(
            &self.cloud.deps,
            source.function,
            event,
            deadline,
        ))
        .await?;
        let billed = invocation.end(self, messages, settings);
        let ends = self.now() + SignedDuration::try_from(billed)?;
        self.triggers[index].running.push(ends);

        let failed: Vec<&str> = response
            .batch_item_failures
            .iter()
            .map(|failure| failure.item_identifier.as_str())
            .collect();
        let handled: Vec<&Delivery> = deliveries
            .iter()
            .filter(|delivery| !failed.contains(&delivery.message_id.as_str()))
            .collect();
        for delivery in &handled {
            self.cloud
                .queues
                .delete(source.queue, &delivery.receipt_handle)?;
        }
        for (kind, messages) in [
            (Kind::Receive, messages),
            (Kind::Acknowledge, handled.len()),
        ] {
            let requests = messages.div_ceil(SQS_BATCH);
            self.meter.count_mapping(name, kind, requests as u64);
        }
        Ok(())
    }

    async fn sweep(&mut self) -> anyhow::Result<()> {
        let settings = self.template.function(SWEEP)?;
        let deadline = self.now() + FUNCTION_TIMEOUT;
        let invocation = Invocation::begin(self, SWEEP);
        Box::pin(sweep::handler::handle(&self.cloud.deps.sweep, deadline)).await?;
        invocation.end(self, 0, settings);
        Ok(())
    }

    fn figures(self, simulation: &Simulation, wall: Duration) -> anyhow::Result<Figures> {
        let job = only_folder(&self.cloud.path_of("jobs"))?;
        let is_complete = job.join(Marker::Success.name()).is_file();
        let images = measure(&job.join("images"))?.files;
        if simulation.until.is_none() && (!is_complete || images != simulation.images) {
            let status = fs::read_to_string(job.join("job.json"))?;
            let status = status.chars().take(2_000).collect::<String>();
            bail!("the job has {images} images, and did not succeed: {status}");
        }
        let dead: usize = CHAIN
            .iter()
            .map(|source| anyhow::Ok(self.cloud.queues.depth(&source.dead_letters())?.visible))
            .sum::<anyhow::Result<usize>>()?;
        if dead > 0 {
            bail!("{dead} messages became dead letters");
        }
        Ok(Figures {
            images,
            shards: fs::read_dir(job.join("shards"))?.count() as u64,
            counts: self.meter.counts(),
            stored_bytes: measure(&self.cloud.path_of(""))?.bytes,
            gemini_usd: self.gemini.billed()? as f64 / 1e9,
            simulated: self.now().duration_since(self.started),
            usage: self.usage,
            wall,
        })
    }
}

/// The chain, whose sources live as long as the program.
static CHAIN_TABLE: [Source; CHAIN.len()] = CHAIN;

// A message that is received becomes visible again long after any invocation has ended.
const _: () = assert!(VISIBILITY_TIMEOUT.as_secs() > FUNCTION_TIMEOUT.as_secs());

/// An invocation that is being measured.
struct Invocation {
    name: &'static str,
    cpu: Duration,
    waiting: tokio::time::Instant,
}

impl Invocation {
    fn begin(world: &World, name: &'static str) -> Self {
        world.meter.enter(name);
        Self {
            name,
            cpu: cpu_time(),
            waiting: tokio::time::Instant::now(),
        }
    }

    /// Records the invocation, and returns how long it would have taken on Lambda.
    fn end(self, world: &mut World, messages: usize, settings: FunctionSettings) -> Duration {
        let network = world.meter.leave();
        let waiting = self.waiting.elapsed() + network.waiting;
        let computing = match world.cpu {
            CpuTime::Measured => cpu_time().saturating_sub(self.cpu),
            CpuTime::Ignored => Duration::ZERO,
        };
        let model = world.model;
        let share_of_core =
            f64::from(settings.memory_mb.min(model.mb_per_core)) / f64::from(model.mb_per_core);
        let transferring =
            Duration::from_secs_f64(network.bytes as f64 / model.bytes_per_second as f64);
        let billed = waiting + transferring + computing.div_f64(share_of_core);
        // Lambda bills whole milliseconds.
        let billed = Duration::from_millis(billed.as_nanos().div_ceil(1_000_000) as u64);

        let usage = world.usage.entry(self.name).or_default();
        usage.invocations += 1;
        usage.messages += messages as u64;
        usage.waiting += waiting;
        usage.computing += computing;
        usage.bytes += network.bytes;
        usage.billed += billed;
        usage.longest = usage.longest.max(billed);
        billed
    }
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
        quantity: impl Fn(super::meter::Count) -> u64,
    ) -> u64 {
        self.counts
            .iter()
            .filter(|((caller, kind), _)| *caller != super::meter::USER && select(*kind))
            .map(|(_, count)| quantity(*count))
            .sum()
    }

    /// Returns the number of states that `report` has read for each message that it received.
    pub fn state_reads_per_report(&self) -> f64 {
        let report = darkroom::chain::Function::Report.name();
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

/// Returns the CPU time of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}

/// The files below a folder.
#[derive(Default)]
struct Files {
    files: u64,
    bytes: u64,
}

/// Counts the files below a folder, which may be absent.
fn measure(folder: &Path) -> io::Result<Files> {
    let mut measured = Files::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                measured.files += 1;
                measured.bytes += metadata.len();
            }
        }
    }
    Ok(measured)
}

/// Returns the folder of the only job.
fn only_folder(jobs: &Path) -> anyhow::Result<std::path::PathBuf> {
    let mut folders = fs::read_dir(jobs).context("no job was planned")?;
    let folder = folders.next().context("no job was planned")??;
    Ok(folder.path())
}
