//! The ledger, made to agree with the shard states: a function that is ended in the middle can
//! leave a place taken, or a cost not put down.

use std::collections::BTreeMap;

use darkroom::{
    ledger::{Account, Commitment, Ledger},
    names::{JobId, ShardId},
    state::{Phase, Settlement, Shard},
};
use jiff::SignedDuration;
use tracing::info;

use crate::{deps::Deps, handler::SweepError, known::Known};

/// How long a shard may hold its place before it has a batch: longer than any invocation of
/// `submit`.
const UNTIL_CREATED: SignedDuration = SignedDuration::from_hours(1);

/// Frees the places of shards that need none, puts down what they cost where that is missing,
/// counts the accounts of open jobs again, and answers with the ledger as it is then. `accounts`
/// are those there were before the states of the `open` jobs were read.
pub(crate) async fn reconcile(
    deps: &Deps,
    known: &mut Known<'_>,
    accounts: &BTreeMap<JobId, Account>,
    open: &BTreeMap<JobId, Option<Vec<Commitment>>>,
) -> Result<Ledger, SweepError> {
    let now = deps.clock.now();
    let ledger = deps.ledger.read().await?;
    let mut closed = Vec::new();
    for (name, reservation) in &ledger.live {
        let end = match state_of(known, name).await? {
            None => Some(End::Closed(Settlement::Billed(None))),
            Some(shard) => match &shard.phase {
                Phase::Planned { .. } | Phase::Uploading { .. }
                    if now < reservation.asked_at + UNTIL_CREATED =>
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
    for name in ledger.unsettled.keys() {
        let shard = state_of(known, name).await?;
        let end = shard
            .map_or(Some(Settlement::Billed(None)), Shard::settlement)
            .map(End::Closed);
        closed.extend(end.map(|end| (name.clone(), None, end)));
    }
    for (name, _, end) in &closed {
        info!(reservation = name, ?end, "the ledger is put right");
    }
    let put_right = deps.ledger.change(|ledger| {
        for (name, seen, end) in &closed {
            // One that asked again meanwhile needs it after all.
            let is_as_seen = ledger.live.get(name) == seen.as_ref();
            match (parsed(name), end) {
                _ if !is_as_seen => {}
                (Some((job, shard)), End::Refunded) => ledger.refund(&job, shard),
                (Some((job, shard)), End::Released) => ledger.release(&job, shard),
                (Some((job, shard)), End::Closed(settlement)) => {
                    ledger.close(&job, shard, *settlement)
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
    Ok(put_right.await?)
}

/// What becomes of a reservation that nobody needs any more.
#[derive(Debug)]
enum End {
    /// There is no batch: the shard asks again when it has its turn.
    Refunded,
    /// The batch has ended, and its output is still being read.
    Released,
    /// The shard is over.
    Closed(Settlement),
}

async fn state_of<'k>(
    known: &'k mut Known<'_>,
    name: &str,
) -> Result<Option<&'k Shard>, SweepError> {
    match parsed(name) {
        Some((job, shard)) => known.state(&job, shard).await,
        None => Ok(None),
    }
}

fn parsed(name: &str) -> Option<(JobId, ShardId)> {
    let (job, shard) = name.rsplit_once('/')?;
    Some((JobId::new(job), shard.parse().ok()?))
}
