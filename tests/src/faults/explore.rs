//! Selector schedules are played: every single fault, pairs of faults, and drawn ones.
//!
//! Single faults are exhaustive: each kind that can be told apart, at each request of the small
//! world, whose other choices are fixed. So are pairs of crashes, up to what fingerprints tell
//! apart: a second fault is tried once for all worlds with the same coarse fingerprint, and a world
//! is left when it has become one that ended well before. Of pairs of other kinds, without those
//! that leave the same behind as another, as many are played as are asked for. Drawn worlds are a
//! sample of everything, a person's cancel or approval included.

use std::{
    collections::{BTreeMap, HashSet},
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
};

/// The stack of a thread that plays worlds: the futures of a whole function are deep.
const STACK_BYTES: usize = 16 << 20;

/// Faults of a drawn schedule, at the most, and the requests of one job among which they fall.
const MOST_FAULTS: usize = 8;
const REQUESTS_PER_JOB: usize = 250;

/// One schedule by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// The small world with these faults, and no others.
    Faults(Vec<At>),
    /// A world that is drawn from a seed, with all that happens in it.
    Seed(u64),
}

/// A schedule that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Selector.
    pub case: Case,
    /// What was wrong.
    pub violations: Vec<Violation>,
}

/// What there is to play.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Drawn worlds, from seed 0 on.
    pub seeds: u64,
    /// Whether each single fault is played.
    pub singles: bool,
    /// Single faults at requests alone whose line in the log has this in it.
    pub at: Option<String>,
    /// Whether pairs are played; none are without singles.
    pub pairs: bool,
    /// How many pairs of faults that are not both crashes are played at the most, spread evenly
    /// over all that differ.
    pub sample: usize,
    /// How many worlds are played at the same time.
    pub threads: usize,
    /// The rule that is broken, if one is. Then the first failure is enough.
    pub broken: Option<Break>,
}

/// What came of a plan.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Schedules played.
    pub schedules: usize,
    /// Of those, with one fault.
    pub singles: usize,
    /// Of those, with two.
    pub pairs: usize,
    /// Of the drawn ones, those with an outage of Gemini, S3 or SQS.
    pub outages: usize,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

impl Case {
    fn is_of_crashes(&self) -> bool {
        match self {
            Self::Faults(faults) => faults.iter().all(|at| at.fault.is_crash()),
            Self::Seed(_) => false,
        }
    }

    fn has_outage(&self) -> bool {
        match self {
            Self::Faults(_) => false,
            Self::Seed(seed) => Scene::drawn(*seed).has_outage(),
        }
    }

    /// How to play it again.
    pub fn argument(&self) -> String {
        match self {
            Self::Faults(faults) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                if faults.is_empty() {
                    "--faults none".to_owned()
                } else {
                    format!("--faults {}", faults.join(","))
                }
            }
            Self::Seed(seed) => format!("--seed {seed}"),
        }
    }

    /// Plays it. Its wire log, and what was wrong.
    ///
    /// # Errors
    /// When the world can't be made or read.
    pub fn replay(&self, broken: Option<Break>) -> anyhow::Result<(Vec<String>, Vec<Violation>)> {
        let outcome = self.play(broken, Watch::No)?;
        Ok((outcome.log, outcome.violations))
    }

    fn play(&self, broken: Option<Break>, watch: Watch) -> anyhow::Result<Outcome> {
        match self {
            Self::Faults(faults) => play(
                &Scene::small(),
                Schedule::Listed(faults.clone()),
                broken,
                watch,
            ),
            Self::Seed(seed) => {
                let scene = Scene::drawn(*seed);
                let mut rng = Rng::with_seed(seed ^ 0x5eed);
                let among = REQUESTS_PER_JOB * scene.manifests.len();
                let at = (0..rng.usize(1..=MOST_FAULTS))
                    .map(|_| rng.usize(..among))
                    .collect();
                play(&scene, Schedule::Drawn { rng, at }, broken, watch)
            }
        }
    }
}

impl Found {
    /// How many things of a kind went wrong.
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

/// Plays all of a plan. `tell` hears of each part as it begins.
///
/// # Errors
/// When a world can't be made or read.
pub fn explore(plan: &Plan, tell: impl Fn(&str)) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let goes_on = |found: &Found| plan.broken.is_none() || found.failures.is_empty();
    if plan.singles {
        let base = Case::Faults(Vec::new());
        let good = base.play(plan.broken, Watch::Note)?;
        found.add(&base, &good);
        if goes_on(&found) {
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
                .map(|at| Case::Faults(vec![at]))
                .collect();
            tell(&format!(
                "{} single faults at {} requests",
                singles.len(),
                good.decisions.len()
            ));
            let outcomes = play_all(
                plan,
                &singles,
                &if plan.pairs { Watch::Note } else { Watch::No },
            )?;
            found.singles = outcomes.len();
            outcomes
                .values()
                .for_each(|(case, outcome)| found.add(case, outcome));
            if plan.pairs && goes_on(&found) {
                let (mut pairs, known) = pairs_after(&good, &outcomes, Fault::is_crash);
                let (others, _) = pairs_after(&good, &outcomes, |_| true);
                let others: Vec<&Case> =
                    others.iter().filter(|case| !case.is_of_crashes()).collect();
                let (all, count) = (others.len(), others.len().min(plan.sample));
                tell(&format!(
                    "all {} pairs of crashes, from {} worlds that differ; {count} of {all} other pairs",
                    pairs.len(),
                    known.len()
                ));
                pairs.extend((0..count).map(|place| others[place * all / count].clone()));
                let outcomes = play_all(plan, &pairs, &Watch::Until(Arc::new(known)))?;
                found.pairs = outcomes.len();
                outcomes
                    .values()
                    .for_each(|(case, outcome)| found.add(case, outcome));
            }
        }
    }
    if goes_on(&found) && plan.seeds > 0 {
        tell(&format!("{} drawn worlds", plan.seeds));
        let seeds: Vec<Case> = (0..plan.seeds).map(Case::Seed).collect();
        for (case, outcome) in play_all(plan, &seeds, &Watch::No)?.values() {
            found.outages += usize::from(case.has_outage());
            found.add(case, outcome);
        }
    }
    Ok(found)
}

/// Second faults, at each world that no other first fault, nor none, has led to before; and all
/// those worlds. Faults are of the kinds that are `meant`.
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
        let Case::Faults(faults) = case else { continue };
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
                pairs.extend(faults.map(|fault| Case::Faults(vec![*first, second(*fault)])));
            }
        }
    }
    (pairs, known)
}

/// Plays cases on all threads; with a broken rule, until one fails. By their place in `cases`.
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
            // There are many.
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
                .map_err(|_| anyhow::anyhow!("a thread that plays worlds panicked"))??;
        }
        anyhow::Ok(())
    })?;
    Ok(played.into_inner().unwrap_or_else(PoisonError::into_inner))
}
