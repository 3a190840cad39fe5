//! The scheduler: it alone decides what happens next.
//!
//! Whatever could go on by itself has done so when it decides: tokio's time is paused, so a
//! millisecond of it passes only when every task waits for the gate or for a later moment. Then one
//! thing happens: one request is let through and carried out to its end, one message is delivered,
//! or time jumps to the next moment that anything waits for.

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
    cloud::{FaultCloud, Scene},
    fault::{At, Fault},
    fingerprint::{Fingerprint, UnderWay, ahead, fingerprint},
    oracle::{self, Violation, Wrong},
    outage::AwsOutage,
    request::Sent,
    tamper::Break,
};

/// Within this of tokio's time everything happens that needs none.
const MOMENT: Duration = Duration::from_millis(1);

/// How far tokio's time goes at once for those who wait for it: for a pause between two tries, or a
/// time limit.
const PAUSE: Duration = Duration::from_millis(500);

/// After so many of them, ten minutes, nobody waits for a moment.
const PAUSES: u32 = 1_200;

/// When a job without a marker is stuck: a shard may be held as long as Gemini keeps an output, and
/// longer by a batch's life.
const PATIENCE: SignedDuration = SignedDuration::from_hours(60 * 24);

/// How long a world continues after its last job is closed.
const AFTERMATH: SignedDuration = SignedDuration::from_hours(48);

/// How long a world is swept each hour. Afterwards it is swept twice a day, as most worlds only
/// wait by then.
const SWEPT_HOURLY: SignedDuration = SignedDuration::from_hours(72);

/// The time between two sweeps from then on.
const SWEPT_RARELY: SignedDuration = SignedDuration::from_hours(12);

/// A world that does so much turns in a circle.
const MOST_REQUESTS: usize = 200_000;

/// What goes wrong, and in what order things happen.
#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    /// One invocation after the other, and these faults.
    Listed(Vec<At>),
    /// All mixed up, with faults at these requests, all drawn.
    Drawn {
        /// What is drawn from.
        rng: Rng,
        /// The requests at which something goes wrong.
        at: BTreeSet<usize>,
    },
}

/// A request that was decided upon.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// Its number.
    pub(crate) request: usize,
    /// What it asks for.
    pub(crate) what: String,
    /// What could have gone wrong there.
    pub(crate) could: Vec<Fault>,
    /// Of those, what is worth trying as a second fault.
    pub(crate) could_then: Vec<Fault>,
    /// The world before it, where anybody asked and a second fault could be tried.
    pub(crate) state: Option<Fingerprint>,
}

/// What came of a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// What happened, a line each.
    pub(crate) log: Vec<String>,
    /// All requests in their order.
    pub(crate) decisions: Vec<Decision>,
    /// What is wrong.
    pub(crate) violations: Vec<Violation>,
}

/// When to take fingerprints, and what to do with them.
#[derive(Clone, Debug, Default)]
pub(crate) enum Watch {
    /// Never.
    #[default]
    No,
    /// At each request, to be noted.
    Note,
    /// After the last fault, to end the world where it has become one whose end is known to be
    /// good.
    Until(Arc<HashSet<u64>>),
}

/// A request on its long way.
struct DelayedRequest {
    due: Timestamp,
    sent: Sent,
    service: Arc<dyn Transport>,
}

/// One world and what happens in it.
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
    over: Option<Timestamp>,
    /// What a person will ask, and after how many requests.
    control: Option<(usize, &'static str)>,
    /// Whether a person has approved, and so may have had images bought again.
    approved: bool,
    aws_outages: Vec<AwsOutage>,
    /// After how many requests everything is begun again.
    restarts: BTreeSet<usize>,
    /// The batches that the functions have asked to be cancelled.
    cancelled: BTreeSet<String>,
    outcome: Outcome,
}

/// Plays one schedule on this thread, from the manifests' drop to the end.
///
/// # Errors
/// When the world can't be made or read: that says nothing about the functions.
pub(crate) fn play(
    scene: &Scene,
    schedule: Schedule,
    broken: Option<Break>,
    watch: Watch,
) -> anyhow::Result<Outcome> {
    // The SDK draws its pauses from the thread's own source.
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
            began: cloud.now(),
            schedule,
            broken,
            watch,
            invocations: Vec::new(),
            started: 0,
            delayed: Vec::new(),
            next_sweep: cloud.now() + SWEEP_EVERY,
            cloud,
            over: None,
            control: scene.control,
            outcome: Outcome::default(),
        };
        scheduler.run().await
    };
    LocalSet::new().block_on(&runtime, all)
}

/// What may happen next.
enum Next {
    /// The request at this place of the desk.
    Request(usize),
    /// A message of this queue of the chain.
    Delivery(usize),
    /// The hourly sweep.
    Sweep,
    /// Time passes until then.
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
                self.note(&format!("a person says {word}"));
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
            if self.outcome.decisions.len() > MOST_REQUESTS {
                let words = format!("{MOST_REQUESTS} requests, and no end");
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
                Some(Next::Jump(to)) => self.cloud.local.time.jump_to(to)?,
                None => break,
            }
        }
        if !known_end {
            let found = oracle::judge(&self.cloud, self.approved, &self.cancelled).await?;
            self.outcome.violations.extend(found);
        }
        Ok(self.outcome)
    }

    /// Lets everything go on that needs neither the gate nor a later moment of the world.
    async fn settle(&mut self) -> anyhow::Result<()> {
        sleep(MOMENT).await;
        let mut passed = Duration::ZERO;
        for _ in 0..PAUSES {
            let senders = self.cloud.pending.senders();
            let stands = |one: &Invocation| senders.contains(&one.number);
            if self
                .invocations
                .iter()
                .all(|one| one.hangs || one.handle.is_finished() || stands(one))
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
        if self.over.is_none() && self.cloud.is_over()? {
            self.over = Some(self.cloud.now());
        }
        let (requests, deliveries) = (self.open_requests(), self.open_deliveries()?);
        match &mut self.schedule {
            Schedule::Listed(_) => {
                if let Some(place) = requests.first() {
                    return Ok(Some(Next::Request(*place)));
                }
                // One after the other: only what stands still is overtaken.
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
        let is_late = now.duration_since(self.began) > PATIENCE
            || self
                .over
                .is_some_and(|over| now.duration_since(over) > AFTERMATH);
        Ok(self.next_moment()?.filter(|_| !is_late).map(Next::Jump))
    }

    /// The places of the requests whose senders don't stand still.
    fn open_requests(&self) -> Vec<usize> {
        let stands = |number| {
            self.invocations
                .iter()
                .any(|one| one.number == number && one.until.is_some())
        };
        let senders = self.cloud.pending.senders();
        let open = senders
            .into_iter()
            .enumerate()
            .filter(|(_, number)| !stands(*number));
        open.map(|(place, _)| place).collect()
    }

    /// The queues of the chain that have a message now, and whose function may run once more.
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

    /// The next moment for which anything waits.
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

    /// What went wrong may have its effect now.
    async fn land(&mut self) -> anyhow::Result<()> {
        let now = self.cloud.now();
        while let Some(place) = self.delayed.iter().position(|request| request.due <= now) {
            let DelayedRequest { sent, service, .. } = self.delayed.remove(place);
            let told = match self.effect(&service, sent.clone()).await {
                Ok(answer) => answer.status.as_u16().to_string(),
                Err(error) => error.to_string(),
            };
            self.note(&format!("late: {} -> {told}", sent.what()));
        }
        Ok(())
    }

    /// Decides about the request at a place. Whether the world's end is known.
    async fn decide(&mut self, place: usize) -> anyhow::Result<bool> {
        let (number, sent) = self.cloud.pending.look(place);
        let first = self
            .invocations
            .iter()
            .find(|one| one.number == number)
            .is_some_and(|one| one.decided == 0);
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
        let asked = match &self.watch {
            Watch::No => false,
            Watch::Note | Watch::Until(_) => is_past && !could_then.is_empty(),
        };
        let state = if asked {
            Some(fingerprint(&self.cloud, &sent, self.under_way())?)
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
            what: sent.what(),
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

    /// What is under way, for the fingerprint.
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
