//! The choice of schedules: every single fault, pairs of faults, and drawn schedules.
//!
//! Single faults are exhaustive: each kind that makes a difference, at each request of the small
//! scenes, whose other choices are fixed. Pairs of crashes are exhaustive up to fingerprints: a
//! second fault is tried once for all simulations with the same coarse fingerprint, and a
//! simulation stops when its fingerprint is known to lead to a good end. Pairs of other kinds are
//! sampled. Drawn schedules are a sample of everything, including a cancel or an approval of the
//! user.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use fastrand::Rng;

use super::{
    cloud::Scene,
    fault::{At, Fault},
    oracle::{Violation, Wrong},
    scheduler::{Outcome, Schedule, Watch, play},
    tamper::Break,
    world::World,
};

/// The stack size of a thread that runs simulations. The futures of a function are deeply nested.
const STACK_BYTES: usize = 16 << 20;

/// The maximum number of faults of a drawn schedule.
const MAX_FAULTS: usize = 8;

/// The number of requests per job among which they occur.
const REQUESTS_PER_JOB: usize = 250;

/// One schedule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// A small scene with exactly these faults.
    Faults(World, Vec<At>),
    /// A scene and a schedule that are drawn from a seed.
    Seed(u64),
}

/// A schedule with violations.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The schedule.
    pub case: Case,
    /// The violations.
    pub violations: Vec<Violation>,
}

/// The schedules to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seeds of the drawn schedules.
    pub seeds: Range<u64>,
    /// The small scenes whose single faults run.
    pub singles: Vec<World>,
    /// Restricts single faults to requests whose function and log line, such as
    /// `generate: S3 PUT …`, contain this.
    pub at: Option<String>,
    /// Whether to run pairs of faults. They follow the single faults.
    pub pairs: bool,
    /// The maximum number of pairs that are not both crashes, spread evenly over all that differ.
    pub sample: usize,
    /// How many simulations run at the same time.
    pub threads: usize,
    /// The rule to break, if any. The run then ends at the first failure.
    pub broken: Option<Break>,
}

/// The result of a plan.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The number of schedules.
    pub schedules: usize,
    /// The number of those with one fault.
    pub singles: usize,
    /// The number of those with two faults.
    pub pairs: usize,
    /// The number of drawn schedules with an outage of Gemini, S3 or SQS.
    pub outages: usize,
    /// The schedules with violations.
    pub failures: Vec<Failure>,
}

impl Case {
    fn is_of_crashes(&self) -> bool {
        match self {
            Self::Faults(_, faults) => faults.iter().all(|at| at.fault.is_crash()),
            Self::Seed(_) => false,
        }
    }

    fn has_outage(&self) -> bool {
        match self {
            Self::Faults(..) => false,
            Self::Seed(seed) => Scene::drawn(*seed).has_outage(),
        }
    }

    /// Returns the argument that replays it.
    pub fn argument(&self) -> String {
        match self {
            Self::Faults(world, faults) => {
                let world = world.name();
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                if faults.is_empty() {
                    format!("--world {world} --faults none")
                } else {
                    format!("--world {world} --faults {}", faults.join(","))
                }
            }
            Self::Seed(seed) => format!("--seed {seed}"),
        }
    }

    /// Runs it. Returns its log and its violations.
    ///
    /// # Errors
    /// Returns an error if the simulation's files can't be written or read.
    pub fn replay(&self, broken: Option<Break>) -> anyhow::Result<(Vec<String>, Vec<Violation>)> {
        let outcome = self.play(broken, Watch::No)?;
        Ok((outcome.log, outcome.violations))
    }

    fn play(&self, broken: Option<Break>, watch: Watch) -> anyhow::Result<Outcome> {
        match self {
            Self::Faults(world, faults) => play(
                &Scene::of(*world),
                Schedule::Listed(faults.clone()),
                broken,
                watch,
            ),
            Self::Seed(seed) => {
                let scene = Scene::drawn(*seed);
                let mut rng = Rng::with_seed(seed ^ 0x5eed);
                let among = REQUESTS_PER_JOB * scene.manifests.len();
                let at = (0..rng.usize(1..=MAX_FAULTS))
                    .map(|_| rng.usize(..among))
                    .collect();
                play(&scene, Schedule::Drawn { rng, at }, broken, watch)
            }
        }
    }
}

impl Found {
    /// Counts the violations of a kind.
    pub fn count(&self, wrong: Wrong) -> usize {
        self.failures
            .iter()
            .flat_map(|failure| &failure.violations)
            .filter(|found| found.wrong == wrong)
            .count()
    }

    fn add(&mut self, case: &Case, outcome: &Outcome) {
        self.schedules += 1;
        if !outcome.violations.is_empty() {
            self.failures.push(Failure {
                case: case.clone(),
                violations: outcome.violations.clone(),
            });
        }
    }
}

/// Runs a plan. `announce` receives a line about each part when it starts.
///
/// # Errors
/// Returns an error if the files of a simulation can't be written or read.
pub fn explore(plan: &Plan, announce: impl Fn(&str)) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let continues = |found: &Found| plan.broken.is_none() || found.failures.is_empty();
    for &world in &plan.singles {
        if !continues(&found) {
            break;
        }
        let base = Case::Faults(world, Vec::new());
        let good = base.play(plan.broken, Watch::Note)?;
        found.add(&base, &good);
        if continues(&found) {
            let singles: Vec<Case> = good
                .decisions
                .iter()
                .filter(|decision| plan.at.as_ref().is_none_or(|at| decision.what.contains(at)))
                .flat_map(|decision| {
                    decision.could.iter().map(|fault| At {
                        request: decision.request,
                        fault: *fault,
                    })
                })
                .map(|at| Case::Faults(world, vec![at]))
                .collect();
            announce(&format!(
                "{}: {} single faults at {} requests",
                world.name(),
                singles.len(),
                good.decisions.len()
            ));
            let outcomes = play_all(
                plan,
                &singles,
                &if plan.pairs { Watch::Note } else { Watch::No },
            )?;
            found.singles += outcomes.len();
            outcomes
                .values()
                .for_each(|(case, outcome)| found.add(case, outcome));
            if plan.pairs && continues(&found) {
                let (mut pairs, known) = pairs_after(&good, &outcomes, Fault::is_crash);
                let (others, _) = pairs_after(&good, &outcomes, |_| true);
                let others: Vec<&Case> =
                    others.iter().filter(|case| !case.is_of_crashes()).collect();
                let (all, count) = (others.len(), others.len().min(plan.sample));
                announce(&format!(
                    "all {} pairs of crashes, from {} different states; {count} of {all} other pairs",
                    pairs.len(),
                    known.len()
                ));
                pairs.extend((0..count).map(|place| others[place * all / count].clone()));
                let outcomes = play_all(plan, &pairs, &Watch::Until(Arc::new(known)))?;
                found.pairs += outcomes.len();
                outcomes
                    .values()
                    .for_each(|(case, outcome)| found.add(case, outcome));
            }
        }
    }
    if continues(&found) && !plan.seeds.is_empty() {
        let seeds: Vec<Case> = plan.seeds.clone().map(Case::Seed).collect();
        announce(&format!("{} drawn schedules", seeds.len()));
        for (case, outcome) in play_all(plan, &seeds, &Watch::No)?.values() {
            found.outages += usize::from(case.has_outage());
            found.add(case, outcome);
        }
    }
    Ok(found)
}

/// Returns a case for each second fault at each state that no other first fault has led to, and the
/// fine fingerprints of all states. Only faults that `meant` accepts are used.
fn pairs_after(
    good: &Outcome,
    singles: &BTreeMap<usize, (Case, Outcome)>,
    meant: impl Fn(Fault) -> bool,
) -> (Vec<Case>, HashSet<u64>) {
    let (mut known, mut tried) = (HashSet::new(), HashSet::new());
    for state in good.decisions.iter().filter_map(|decision| decision.state) {
        known.insert(state.fine);
        tried.insert(state.coarse);
    }
    let mut pairs = Vec::new();
    for (case, outcome) in singles.values() {
        let Case::Faults(world, faults) = case else {
            continue;
        };
        let Some(first) = faults.first() else {
            continue;
        };
        for decision in &outcome.decisions {
            let Some(state) = decision.state else {
                continue;
            };
            known.insert(state.fine);
            if meant(first.fault) && tried.insert(state.coarse) {
                let second = |fault| At {
                    request: decision.request,
                    fault,
                };
                let faults = decision.could_then.iter().filter(|fault| meant(**fault));
                pairs
                    .extend(faults.map(|fault| Case::Faults(*world, vec![*first, second(*fault)])));
            }
        }
    }
    (pairs, known)
}

/// Runs cases on all threads, with a broken rule until one fails. Returns them by their index.
fn play_all(
    plan: &Plan,
    cases: &[Case],
    watch: &Watch,
) -> anyhow::Result<BTreeMap<usize, (Case, Outcome)>> {
    let (next, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let played = Mutex::new(BTreeMap::new());
    let work = || -> anyhow::Result<()> {
        while !enough.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(place) else { break };
            let mut outcome = case
                .play(plan.broken, watch.clone())
                .inspect_err(|_| enough.store(true, Ordering::Relaxed))?;
            // Logs of thousands of simulations would fill the memory.
            outcome.log = Vec::new();
            outcome
                .decisions
                .iter_mut()
                .for_each(|decision| decision.what = String::new());
            if plan.broken.is_some() && !outcome.violations.is_empty() {
                enough.store(true, Ordering::Relaxed);
            }
            played
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(place, (case.clone(), outcome));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers = (0..plan.threads.max(1))
            .map(|_| {
                thread::Builder::new()
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, work)
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a thread that runs simulations panicked"))??;
        }
        anyhow::Ok(())
    })?;
    Ok(played.into_inner().unwrap_or_else(PoisonError::into_inner))
}
