//! Reconciles the ledger with the shard states. A function that is killed can leave a reservation
//! behind, or a cost unrecorded.

use std::collections::BTreeMap;

use darkroom::{
    ledger::{Account, Commitment, Ledger},
    names::{JobId, ShardId},
    state::{Phase, Settlement, Shard},
};
use jiff::SignedDuration;
use tracing::info;

use crate::{deps::Deps, error::SweepError, state_cache::StateCache};

/// How long a shard without a batch may keep its reservation: longer than any invocation of
/// `submit` takes.
const BATCH_CREATION_TIMEOUT: SignedDuration = SignedDuration::from_hours(1);

/// Ends reservations that no shard needs, records missing costs, recounts the accounts of open
/// jobs, and returns the ledger after these changes.
///
/// `accounts` are the accounts before the states of the `open` jobs were read.
///
/// # Errors
/// [`SweepError`] if a state can't be read, or the ledger can't be read or written.
pub(crate) async fn reconcile(
    deps: &Deps,
    states: &mut StateCache<'_>,
    accounts: &BTreeMap<JobId, Account>,
    open: &BTreeMap<JobId, Option<Vec<Commitment>>>,
) -> Result<Ledger, SweepError> {
    let now = deps.clock.now();
    let ledger = deps.ledger.read().await?;

    // Live reservations whose shard has no live batch, and can't be about to create one.
    let mut closed = Vec::new();
    for (name, reservation) in &ledger.live {
        let end = match state_of(states, name).await? {
            None => Some(End::Closed(Settlement::Billed(None))),
            Some(shard) => match &shard.phase {
                Phase::Planned { .. } | Phase::Uploading { .. }
                    if now < reservation.asked_at + BATCH_CREATION_TIMEOUT =>
                {
                    None
                }
                Phase::Planned { .. } | Phase::Uploading { .. } => Some(End::Refunded),
                phase if phase.may_have_live_batch() => None,
                _ => Some(shard.settlement().map_or(End::Released, End::Closed)),
            },
        };
        closed.extend(end.map(|end| (name.clone(), Some(reservation.clone()), end)));
    }

    // Reservations of ended batches whose shard has recorded its cost by now.
    for name in ledger.unsettled.keys() {
        let shard = state_of(states, name).await?;
        let end = shard
            .map_or(Some(Settlement::Billed(None)), Shard::settlement)
            .map(End::Closed);
        closed.extend(end.map(|end| (name.clone(), None, end)));
    }
    for (name, _, end) in &closed {
        info!(reservation = name, ?end, "reservation reconciled");
    }

    let reconciled = deps.ledger.change(|ledger| {
        for (name, seen, end) in &closed {
            // A shard that has asked for admission in the meantime still needs its reservation.
            let is_as_seen = ledger.live.get(name) == seen.as_ref();
            match (parsed(name), end) {
                _ if !is_as_seen => {}
                (Some((job, shard)), End::Refunded) => ledger.refund(&job, shard),
                (Some((job, shard)), End::Released) => ledger.release(&job, shard),
                (Some((job, shard)), End::Closed(settlement)) => {
                    ledger.close(&job, shard, *settlement, now)
                }
                (None, _) => {
                    ledger.live.remove(name);
                    ledger.unsettled.remove(name);
                }
            }
        }
        for (job, seen) in accounts {
            match open.get(job) {
                Some(Some(commitments)) => ledger.recount(job, seen, commitments),
                Some(None) => {}
                None => ledger.close_account(job, seen),
            }
        }
        ledger.clone()
    });
    Ok(reconciled.await?)
}

/// How a reservation that no shard needs is ended.
#[derive(Debug)]
enum End {
    /// There is no batch. The shard asks for admission again when it is submitted.
    Refunded,
    /// The batch has ended, and its output is still being read.
    Released,
    /// The shard has ended.
    Closed(Settlement),
}

/// Returns the state of the shard that a name in the ledger belongs to.
async fn state_of<'c>(
    states: &'c mut StateCache<'_>,
    name: &str,
) -> Result<Option<&'c Shard>, SweepError> {
    match parsed(name) {
        Some((job, shard)) => states.state(&job, shard).await,
        None => Ok(None),
    }
}

fn parsed(name: &str) -> Option<(JobId, ShardId)> {
    let (job, shard) = name.rsplit_once('/')?;
    Some((JobId::new(job), shard.parse().ok()?))
}
