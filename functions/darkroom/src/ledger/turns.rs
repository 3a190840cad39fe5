//! The order in which waiting jobs are considered.
//!
//! The job with the fewest live batches comes first; among equals, the job whose last admission or
//! arrival is longest ago.
//!
//! The jobs of a folder of `stack/folders.toml` share one place in this order, and take turns in it
//! by the same rule. So a folder with many jobs delays another one no more than a folder with one.
//! A job without a folder has its own place.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::Timestamp;

use super::{Ledger, Waiting, job_of};
use crate::{
    names::{FolderPath, JobId},
    state::Shard,
};

/// A place in the order: the live batches, the last admission or the arrival, and whether there was
/// an admission.
type Place = (usize, Timestamp, bool);

/// A waiting job with its place among those that share a place. `None` is the job that asks.
type Job<'a> = (Place, &'a JobId, Option<&'a Waiting>);

/// The jobs that share a place: those of a folder, or a single job without one.
pub(super) struct Group<'a> {
    place: Place,
    jobs: VecDeque<Job<'a>>,
}

/// The waiting jobs in their order, up to the job that asks.
pub(super) struct Turns<'a> {
    groups: BTreeMap<(Place, Place, &'a JobId), Group<'a>>,
}

impl<'a> Turns<'a> {
    /// Orders the waiting jobs of a ledger. The job of `shard` asks, and has waited since `since`.
    pub(super) fn of(ledger: &'a Ledger, shard: &'a Shard, since: Timestamp) -> Self {
        let mut live: HashMap<&str, usize> = HashMap::new();
        let mut live_in: HashMap<&FolderPath, usize> = HashMap::new();
        for (name, reservation) in &ledger.live {
            *live.entry(job_of(name)).or_default() += 1;
            if let Some(folder) = &reservation.folder {
                *live_in.entry(folder).or_default() += 1;
            }
        }

        let others = ledger.waiting.iter().filter(|(job, _)| **job != shard.job);
        let others = others.map(|(job, waiting)| {
            let folder = waiting.folder.as_ref();
            (job, folder, waiting.since, Some(waiting))
        });
        let own = (&shard.job, shard.folder.as_ref(), since, None);
        let mut of_folders: HashMap<&FolderPath, Vec<(Timestamp, Job<'a>)>> = HashMap::new();
        let mut turns = Self {
            groups: BTreeMap::new(),
        };
        for (job, folder, since, waiting) in others.chain([own]) {
            let served = ledger.served.get(job).copied();
            let own = place(live.get(job.as_str()), since, served);
            let entry = (own, job, waiting);
            match folder {
                Some(folder) => of_folders.entry(folder).or_default().push((since, entry)),
                None => turns.insert(Group {
                    place: own,
                    jobs: VecDeque::from([entry]),
                }),
            }
        }

        // A folder arrived with the job of it that has waited longest.
        for (folder, mut jobs) in of_folders {
            let Some(since) = jobs.iter().map(|(since, _)| *since).min() else {
                continue;
            };
            let spending = ledger.folders.get(folder);
            let served = spending.and_then(|spending| spending.served);
            jobs.sort_unstable_by_key(|(_, (own, job, _))| (*own, *job));
            turns.insert(Group {
                place: place(live_in.get(folder), since, served),
                jobs: jobs.into_iter().map(|(_, job)| job).collect(),
            });
        }
        turns
    }

    /// Takes the job whose turn it is, with the group that it belongs to. Returns `None` when it is
    /// the turn of the job that asks.
    pub(super) fn next(&mut self) -> Option<(&'a Waiting, Group<'a>)> {
        let (_, mut group) = self.groups.pop_first()?;
        let (.., waiting) = group.jobs.pop_front()?;
        Some((waiting?, group))
    }

    /// Puts a group back with its next job. If the last one was counted as if it were admitted, the
    /// group has one more live batch.
    pub(super) fn put_back(&mut self, mut group: Group<'a>, was_counted: bool, now: Timestamp) {
        if was_counted {
            group.place = (group.place.0 + 1, now, true);
        }
        self.insert(group);
    }

    fn insert(&mut self, group: Group<'a>) {
        if let Some((own, job, _)) = group.jobs.front() {
            self.groups.insert((group.place, *own, *job), group);
        }
    }
}

fn place(live: Option<&usize>, since: Timestamp, served: Option<Timestamp>) -> Place {
    let last = served.map_or(since, |served| since.max(served));
    (live.copied().unwrap_or_default(), last, served.is_some())
}
