//! The scheduler decides what happens next.
//!
//! It decides only when no task can make progress. Tokio's time is paused, so a millisecond passes
//! only when every task waits for the interceptor or for a later moment. Then exactly one thing
//! happens: a request is carried out completely, a message is delivered, or time advances to the
//! next moment that something waits for.

mod inflict;
mod invocation;

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write,
    sync::Arc,
    time::Duration,
};

use darkroom::chain::{CHAIN, SWEEP_EVERY};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use seam::transport::Transport;
use tokio::{task::LocalSet, time::sleep};

use self::invocation::{Invocation, Until};
use super::{
    calls::{Calls, sha256_of_request},
    cloud::{FaultCloud, Scene},
    fault::{At, Fault},
    fingerprint::{Fingerprint, UnderWay, ahead, fingerprint},
    oracle::{self, Evidence, Violation, Wrong},
    outage::AwsOutage,
    request::Sent,
    tamper::Break,
};

/// The tokio time in which all tasks make what progress they can without waiting.
const MOMENT: Duration = Duration::from_millis(1);

/// The step of tokio's time for tasks that wait for it, between two attempts or for a time limit.
const PAUSE: Duration = Duration::from_millis(500);

/// The number of steps, ten minutes in total, after which a waiting task counts as stuck.
const PAUSES: u32 = 1_200;

/// After this time a job without a marker is stuck. A shard may be held for as long as Gemini keeps
/// an output, plus the lifetime of a batch.
const MAX_DURATION: SignedDuration = SignedDuration::from_hours(60 * 24);

/// How long a simulation continues after its last job is complete.
const AFTERMATH: SignedDuration = SignedDuration::from_hours(48);

/// How long sweeps run every hour. Later they run twice a day, because most simulations only wait
/// by then.
const SWEPT_HOURLY: SignedDuration = SignedDuration::from_hours(72);

/// The time between two later sweeps.
const SWEPT_RARELY: SignedDuration = SignedDuration::from_hours(12);

/// The number of requests after which a simulation counts as an endless loop.
const MAX_REQUESTS: usize = 200_000;

/// The order of events and the faults.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    /// One invocation after the other, with these faults.
    Listed(Vec<At>),
    /// A random order, with random faults at these requests.
    Drawn {
        /// The source of random numbers.
        rng: Rng,
        /// The numbers of the requests with a fault.
        at: BTreeSet<usize>,
    },
}

/// A request that the scheduler has decided.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// Its number.
    pub(crate) request: usize,
    /// The function that sends it, and its description.
    pub(crate) what: String,
    /// The faults that are possible there.
    pub(crate) could: Vec<Fault>,
    /// Those that are useful as a second fault.
    pub(crate) could_then: Vec<Fault>,
    /// The fingerprint before it, if one was requested and a second fault is possible.
    pub(crate) state: Option<Fingerprint>,
}

/// The result of a simulation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// The log, one line per event.
    pub(crate) log: Vec<String>,
    /// All requests, in order.
    pub(crate) decisions: Vec<Decision>,
    /// The violations that the oracle found.
    pub(crate) violations: Vec<Violation>,
}

/// When to take fingerprints.
#[derive(Clone, Debug, Default)]
pub(crate) enum Watch {
    /// Never.
    #[default]
    No,
    /// At each request, and record them.
    Note,
    /// After the last fault, to stop when the fingerprint is known to lead to a good end.
    Until(Arc<HashSet<u64>>),
}

/// A request that takes effect later.
struct DelayedRequest {
    due: Timestamp,
    sent: Sent,
    service: Arc<dyn Transport>,
}

/// One simulation.
pub(crate) struct Scheduler {
    cloud: FaultCloud,
    schedule: Schedule,
    broken: Option<Break>,
    watch: Watch,
    invocations: Vec<Invocation>,
    started: usize,
    delayed: Vec<DelayedRequest>,
    next_sweep: Timestamp,
    began: Timestamp,
    completed_at: Option<Timestamp>,
    /// The request of the user, and after how many requests it is dropped.
    control: Option<(usize, &'static str)>,
    /// Whether the user has approved, so that images may have been bought again.
    approved: bool,
    aws_outages: Vec<AwsOutage>,
    /// After how many requests the host restarts.
    restarts: BTreeSet<usize>,
    /// The batches that the functions have cancelled.
    cancelled: BTreeSet<String>,
    /// The synchronous calls.
    calls: Calls,
    /// The jobs whose proof the user has approved.
    approved_proofs: BTreeSet<String>,
    /// Whether a manifest asks for a proof.
    has_proof: bool,
    /// Whether the request files change before that.
    changed: bool,
    /// Whether every image must arrive.
    is_plain: bool,
    outcome: Outcome,
}

/// Runs one schedule on this thread, from the drop of the manifests to the end.
///
/// # Errors
/// Returns an error if the simulation's files can't be written or read. That is not a violation.
pub(crate) fn play(
    scene: &Scene,
    schedule: Schedule,
    broken: Option<Break>,
    watch: Watch,
) -> anyhow::Result<Outcome> {
    // The SDK uses the random numbers of the thread for its pauses.
    fastrand::seed(scene.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    let all = async {
        let cloud = FaultCloud::open(scene, broken).await?;
        let scheduler = Scheduler {
            approved: false,
            aws_outages: scene.aws_outages.clone(),
            restarts: scene.restarts.iter().copied().collect(),
            cancelled: BTreeSet::new(),
            calls: Calls::default(),
            approved_proofs: BTreeSet::new(),
            has_proof: scene.has_proof(),
            changed: scene.changed,
            is_plain: scene.is_plain,
            began: cloud.now(),
            schedule,
            broken,
            watch,
            invocations: Vec::new(),
            started: 0,
            delayed: Vec::new(),
            next_sweep: cloud.now() + SWEEP_EVERY,
            cloud,
            completed_at: None,
            control: scene.control,
            outcome: Outcome::default(),
        };
        scheduler.run().await
    };
    LocalSet::new().block_on(&runtime, all)
}

/// The next event.
enum Next {
    /// The pending request at this index is sent.
    Request(usize),
    /// A message of the queue with this index in the chain is delivered.
    Delivery(usize),
    /// The hourly sweep runs.
    Sweep,
    /// Time advances to this moment.
    Jump(Timestamp),
}

impl Scheduler {
    async fn run(mut self) -> anyhow::Result<Outcome> {
        let mut known_end = false;
        loop {
            self.settle().await?;
            self.reap().await?;
            self.land().await?;
            if let Some((after, word)) = self.control
                && self.outcome.decisions.len() >= after
                && self.cloud.control(word).await?
            {
                self.note(&format!("the user drops {word}"));
                self.approved |= word == "approve";
                self.control = None;
            }
            if self
                .restarts
                .first()
                .is_some_and(|after| self.outcome.decisions.len() >= *after)
            {
                self.restarts.pop_first();
                self.restart().await?;
            }
            if self.outcome.decisions.len() > MAX_REQUESTS {
                let words = format!("no end after {MAX_REQUESTS} requests");
                self.outcome.violations.push(Violation {
                    wrong: Wrong::Stuck,
                    words,
                });
                break;
            }
            match self.next()? {
                Some(Next::Request(place)) => {
                    if self.decide(place).await? {
                        known_end = true;
                        break;
                    }
                }
                Some(Next::Delivery(place)) => self.deliver(&CHAIN[place])?,
                Some(Next::Sweep) => {
                    self.sweep();
                }
                Some(Next::Jump(to)) => {
                    // The user decides while nothing else happens.
                    if !self.approve_a_proof().await? {
                        self.cloud.local.time.jump_to(to)?;
                    }
                }
                None => break,
            }
        }
        if !known_end {
            let evidence = Evidence {
                approved: self.approved,
                cancelled: &self.cancelled,
                calls: &self.calls,
                had_outage: !self.aws_outages.is_empty(),
                is_plain: self.is_plain,
            };
            let found = oracle::judge(&self.cloud, &evidence).await?;
            self.outcome.violations.extend(found);
        }
        Ok(self.outcome)
    }

    /// Approves one proof that was not approved yet, as a user does after looking at it. Returns
    /// whether there was one.
    async fn approve_a_proof(&mut self) -> anyhow::Result<bool> {
        if !self.has_proof {
            return Ok(false);
        }
        let held = self.cloud.held_jobs()?;
        let Some(job) = held
            .into_iter()
            .find(|job| !self.approved_proofs.contains(job))
        else {
            return Ok(false);
        };
        if self.changed {
            let mut bodies = BTreeSet::new();
            for (key, text) in self.cloud.request_files(&job)? {
                bodies.extend(text.lines().filter_map(sha256_of_request));
                self.cloud
                    .change(&key, text.replace("stone,", "diamond,"))
                    .await?;
            }
            self.calls.approved = Some(bodies);
            self.note("the request files are changed");
        }
        self.note(&format!("the user approves the proof of {job}"));
        self.cloud.approve(&job).await?;
        // In a drawn schedule, shards can be held for other reasons too, and they are released as
        // well.
        self.approved |= matches!(self.schedule, Schedule::Drawn { .. });
        self.approved_proofs.insert(job);
        Ok(true)
    }

    /// Lets all tasks make progress until each waits for the interceptor or a later moment.
    async fn settle(&mut self) -> anyhow::Result<()> {
        sleep(MOMENT).await;
        let mut passed = Duration::ZERO;
        for _ in 0..PAUSES {
            let senders = self.cloud.pending.senders();
            let is_pending = |one: &Invocation| senders.contains(&one.number);
            if self
                .invocations
                .iter()
                .all(|one| one.hangs || one.handle.is_finished() || is_pending(one))
            {
                break;
            }
            sleep(PAUSE).await;
            passed += PAUSE;
        }
        if passed == PAUSE * PAUSES {
            let senders = self.cloud.pending.senders();
            for one in self
                .invocations
                .iter_mut()
                .filter(|one| !one.handle.is_finished())
            {
                one.hangs = !senders.contains(&one.number);
            }
        }
        if passed > Duration::ZERO {
            self.cloud.local.time.jump_to(self.cloud.now() + passed)?;
        }
        Ok(())
    }

    fn next(&mut self) -> anyhow::Result<Option<Next>> {
        if self.completed_at.is_none() && self.cloud.is_complete()? {
            self.completed_at = Some(self.cloud.now());
        }
        let (requests, deliveries) = (self.open_requests(), self.open_deliveries()?);
        match &mut self.schedule {
            Schedule::Listed(_) => {
                if let Some(place) = requests.first() {
                    return Ok(Some(Next::Request(*place)));
                }
                // Invocations run one after the other, and only a paused one is overtaken.
                let is_busy = self.invocations.iter().any(Invocation::is_awake);
                if let Some(place) = deliveries.first().filter(|_| !is_busy) {
                    return Ok(Some(Next::Delivery(*place)));
                }
            }
            Schedule::Drawn { rng, .. } => {
                let deliver = requests.is_empty() || rng.u8(..10) < 3;
                if let Some(place) = rng.choice(&deliveries).filter(|_| deliver) {
                    return Ok(Some(Next::Delivery(*place)));
                }
                if let Some(place) = rng.choice(&requests) {
                    return Ok(Some(Next::Request(*place)));
                }
            }
        }
        let now = self.cloud.now();
        let is_sweeping = self.invocations.iter().any(|one| one.source.is_none());
        if now >= self.next_sweep && self.cloud.local.has_open_jobs() && !is_sweeping {
            return Ok(Some(Next::Sweep));
        }
        let is_late = now.duration_since(self.began) > MAX_DURATION
            || self
                .completed_at
                .is_some_and(|completed_at| now.duration_since(completed_at) > AFTERMATH);
        Ok(self.next_moment()?.filter(|_| !is_late).map(Next::Jump))
    }

    /// Returns the indices of the pending requests whose senders are not paused.
    fn open_requests(&self) -> Vec<usize> {
        let is_paused = |number| {
            self.invocations
                .iter()
                .any(|one| one.number == number && one.until.is_some())
        };
        let senders = self.cloud.pending.senders();
        let open = senders
            .into_iter()
            .enumerate()
            .filter(|(_, number)| !is_paused(*number));
        open.map(|(place, _)| place).collect()
    }

    /// Returns the indices of the queues with a visible message whose function may run again.
    fn open_deliveries(&self) -> anyhow::Result<Vec<usize>> {
        let now = self.cloud.now();
        let mut open = Vec::new();
        for (place, source) in CHAIN.iter().enumerate() {
            if self.may_run(source)
                && self
                    .cloud
                    .local
                    .queues
                    .next_due(source.queue)?
                    .is_some_and(|due| due <= now)
            {
                open.push(place);
            }
        }
        Ok(open)
    }

    /// Returns the next moment that something waits for.
    fn next_moment(&self) -> anyhow::Result<Option<Timestamp>> {
        let now = self.cloud.now();
        let mut moments: Vec<Timestamp> = self.delayed.iter().map(|request| request.due).collect();
        for one in &self.invocations {
            moments.push(one.deadline);
            if let Some(Until::Moment(moment)) = one.until {
                moments.push(moment);
            }
        }
        if self.cloud.local.has_open_jobs() {
            moments.push(self.next_sweep);
        }
        for source in &CHAIN {
            if self.may_run(source) {
                moments.extend(self.cloud.local.queues.next_due(source.queue)?);
            }
        }
        Ok(moments.into_iter().filter(|moment| *moment > now).min())
    }

    /// Lets delayed requests that are due take effect.
    async fn land(&mut self) -> anyhow::Result<()> {
        let now = self.cloud.now();
        while let Some(place) = self.delayed.iter().position(|request| request.due <= now) {
            let DelayedRequest { sent, service, .. } = self.delayed.remove(place);
            let status = match self.effect(&service, sent.clone(), None).await {
                Ok(answer) => answer.status.as_u16().to_string(),
                Err(error) => error.to_string(),
            };
            self.note(&format!("late: {} -> {status}", sent.what()));
        }
        Ok(())
    }

    /// Decides the request at an index. Returns whether the end of the simulation is known.
    async fn decide(&mut self, place: usize) -> anyhow::Result<bool> {
        let (number, sent) = self.cloud.pending.look(place);
        let sender = self.invocations.iter().find(|one| one.number == number);
        let first = sender.is_some_and(|one| one.decided == 0);
        let sender = sender.map_or(String::new(), Invocation::function);
        let request = self.outcome.decisions.len();
        let fault = match &mut self.schedule {
            Schedule::Listed(faults) => faults
                .iter()
                .find(|at| at.request == request)
                .map(|at| at.fault),
            Schedule::Drawn { rng, at } => at
                .contains(&request)
                .then(|| rng.choice(Fault::of(&sent, first)))
                .flatten(),
        };
        let is_past = match &self.schedule {
            Schedule::Listed(faults) => faults.iter().all(|at| at.request < request),
            Schedule::Drawn { .. } => false,
        };
        let (could, could_then) = (Fault::of(&sent, first), Fault::of_second(&sent, first));
        let is_watched = match &self.watch {
            Watch::No => false,
            Watch::Note | Watch::Until(_) => is_past && !could_then.is_empty(),
        };
        let state = if is_watched {
            let under_way = self.under_way();
            Some(fingerprint(&self.cloud, &sent, under_way, &self.calls)?)
        } else {
            None
        };
        if let (Watch::Until(known), Some(state)) = (&self.watch, state)
            && known.contains(&state.fine)
        {
            return Ok(true);
        }
        self.outcome.decisions.push(Decision {
            request,
            what: format!("{sender}: {}", sent.what()),
            could,
            could_then,
            state,
        });
        if let Some(one) = self.invocations.iter_mut().find(|one| one.number == number) {
            one.decided += 1;
        }
        self.inflict(place, request, fault).await?;
        Ok(false)
    }

    /// Returns what is in progress, for the fingerprint.
    fn under_way(&self) -> Vec<UnderWay> {
        let now = self.cloud.now();
        let invocations = self.invocations.iter().map(|one| {
            let bodies: Vec<&str> = one
                .deliveries
                .iter()
                .map(|delivery| delivery.body.as_str())
                .collect();
            let what = format!(
                "{:?} {} {} {bodies:?}",
                one.source.map(|source| source.function),
                one.hangs,
                one.ack_lost
            );
            let due = match one.until {
                Some(Until::Moment(moment)) => Some(ahead(now, moment)),
                Some(Until::End(_)) => Some(usize::MAX),
                None => None,
            };
            UnderWay {
                what,
                waits_for: self.cloud.pending.asked_by(one.number),
                due,
            }
        });
        let delayed = self.delayed.iter().map(|request| UnderWay {
            what: request.sent.what(),
            waits_for: Vec::new(),
            due: Some(ahead(now, request.due)),
        });
        invocations.chain(delayed).collect()
    }

    /// Adds a line to the log.
    fn note(&mut self, what: &str) {
        let passed = self.cloud.now().duration_since(self.began).as_secs();
        let mut line = String::new();
        let (hours, minutes, seconds) = (passed / 3_600, passed / 60 % 60, passed % 60);
        // Writing to a string can't fail.
        let _ = write!(line, "+{hours}:{minutes:02}:{seconds:02} {what}");
        self.outcome.log.push(line);
    }
}
