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
use aws_sim::queue::{Delivery, Outgoing};
use cli::{
    cloud::{Cloud, INTERNAL},
    host::invoke,
    time::Time,
};
use darkroom::{
    chain::{
        CHAIN, FUNCTION_TIMEOUT, Function, REPORTS, SWEEP, SWEEP_EVERY, Source, VISIBILITY_TIMEOUT,
    },
    messages::JobMessage,
    object_keys::Marker,
};
use gemini::{
    Gemini,
    key::{ApiKey, KeySource},
};
use gemini_sim::Gemini as SimulatedGemini;
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

use super::{
    figures::{Figures, Usage},
    meter::{Kind, Meter, Metered},
    prices::Model,
    simulation::{CpuTime, Simulation, start},
    template::{FunctionSettings, Template},
};
use crate::made_job::{JobSpec, make};

/// The most messages that SQS delivers or deletes in one request.
const SQS_BATCH: usize = 10;

/// The longest time after which a job must have ended. A batch that does not end is canceled after
/// two days.
const MAX_JOB: SignedDuration = SignedDuration::from_hours(24 * 60);

impl Simulation {
    /// Runs the job in a temporary folder.
    ///
    /// # Errors
    /// If the job does not succeed within 60 days, or the folder can't be used.
    pub fn run(&self) -> anyhow::Result<Figures> {
        let started = Instant::now();
        self.block_on(async |world| {
            world.drop_manifest(self).await?;
            world.run().await?;
            world.figures(self, started.elapsed())
        })
    }

    /// Plans the job, without what follows, and returns what `plan` used.
    ///
    /// # Errors
    /// If the manifest is not planned, or the folder can't be used.
    pub fn plan(&self) -> anyhow::Result<Usage> {
        self.block_on(async |world| {
            world.drop_manifest(self).await?;
            world.run_only(Function::Plan).await?;
            let job = only_folder(&world.cloud.path_of("jobs"))?;
            let status = fs::read_to_string(job.join("job.json"))?;
            let status: serde_json::Value = serde_json::from_str(&status)?;
            if status["plan"]["images"] != self.images {
                bail!("the job was not planned: {status}");
            }
            Ok(world.usage[Function::Plan.name()])
        })
    }

    /// Closes a job whose shards have all ended, and returns what `report` used. One in ten images
    /// has failed.
    ///
    /// # Errors
    /// If the job is not closed, or the folder can't be used.
    pub fn close(&self) -> anyhow::Result<Usage> {
        self.block_on(async |world| {
            let spec = JobSpec {
                items: usize::try_from(self.images)?,
                models: 1,
                shard_requests: self.shard.requests,
                every_failed: 10,
            };
            let made = make(&world.cloud, spec).await;
            for shard in &made.shards {
                let message = JobMessage::of_shard(&made.job, *shard);
                let message = Outgoing::new(serde_json::to_string(&message)?);
                world.cloud.queues.send(REPORTS, message)?;
            }
            world.run().await?;
            let job = world.cloud.path_of(&format!("jobs/{}", made.job));
            if !job.join(Marker::Partial.name()).is_file() {
                bail!(
                    "the job was not closed: {}",
                    fs::read_to_string(job.join("job.json"))?
                );
            }
            Ok(world.usage[Function::Report.name()])
        })
    }

    /// Runs a task with the chain in a temporary folder.
    fn block_on<T>(
        &self,
        task: impl AsyncFnOnce(&mut World) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        // While every task waits for the modeled answer of a service, the time advances.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()?;
        runtime.block_on(async {
            let mut world = World::open(self)?;
            task(&mut world).await
        })
    }
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
        let mut manifest = bucket.writer("inbox/skus.csv", "text/csv");
        for line in simulation.manifest() {
            manifest.write(line.as_bytes()).await?;
        }
        manifest.finish().await?;
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

    /// Invokes one function for its events of this moment, and no other function.
    async fn run_only(&mut self, function: Function) -> anyhow::Result<()> {
        let is_its = |trigger: &Trigger| trigger.source.function == function;
        let index = self.triggers.iter().position(is_its);
        let index = index.context("the function has no queue")?;
        while let Some(deliveries) = self.next_event(index)? {
            self.invoke(index, deliveries).await?;
        }
        Ok(())
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

    fn figures(&self, simulation: &Simulation, wall: Duration) -> anyhow::Result<Figures> {
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
            usage: self.usage.clone(),
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
