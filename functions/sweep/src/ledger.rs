//! The ledger, made to agree with the shard states: a function that is ended in the middle can leave a place taken, or a
//! cost not put down.

use darkroom::{
    cost::Usd,
    ledger::Ledger,
    names::{JobId, ShardId},
    state::{Phase, Shard},
};
use jiff::SignedDuration;
use tracing::info;

use crate::{
    handler::{Deps, SweepError},
    known::Known,
};

/// How long a shard may hold its place before it has a batch: longer than any invocation of `submit`.
const UNTIL_CREATED: SignedDuration = SignedDuration::from_hours(1);

/// Frees the places of shards that need none, puts down what they cost where nobody did, and answers with the ledger as
/// it is then.
pub(crate) async fn reconcile(deps: &Deps, known: &mut Known<'_>) -> Result<Ledger, SweepError> {
    let now = deps.clock.now();
    let ledger = deps.books.read().await?;
    let mut closed = Vec::new();
    for (name, reservation) in &ledger.live {
        let end = match state_of(known, name).await?.map(|shard| &shard.phase) {
            Some(Phase::Planned { .. } | Phase::Uploading { .. }) if now < reservation.asked_at + UNTIL_CREATED => None,
            Some(Phase::Planned { .. } | Phase::Uploading { .. }) => Some(End::Refunded),
            Some(phase) if phase.may_have_live_batch() => None,
            Some(phase) => Some(phase.settlement().map_or(End::Released, End::Settled)),
            None => Some(End::Settled(None)),
        };
        closed.extend(end.map(|end| (name.clone(), Some(reservation.clone()), end)));
    }
    for name in ledger.unsettled.keys() {
        let shard = state_of(known, name).await?;
        let end = shard.map_or(Some(None), |shard| shard.phase.settlement()).map(End::Settled);
        closed.extend(end.map(|end| (name.clone(), None, end)));
    }
    for (name, _, end) in &closed {
        info!(reservation = name, ?end, "the ledger is put right");
    }
    let put_right = deps.books.change(|ledger| {
        for (name, seen, end) in &closed {
            // One that asked again meanwhile needs it after all.
            let is_as_seen = ledger.live.get(name) == seen.as_ref();
            match (parsed(name), end) {
                _ if !is_as_seen => {}
                (Some((job, shard)), End::Refunded) => ledger.refund(&job, shard),
                (Some((job, shard)), End::Released) => ledger.release(&job, shard),
                (Some((job, shard)), End::Settled(cost)) => ledger.settle(&job, shard, *cost),
                (None, _) => {
                    ledger.live.remove(name);
                    ledger.unsettled.remove(name);
                }
            }
        }
        ledger.clone()
    });
    Ok(put_right.await?)
}

/// What becomes of a reservation that nobody needs any more.
#[derive(Debug)]
enum End {
    /// There was no batch: the money is given back.
    Refunded,
    /// The batch has ended, and its output is still being read.
    Released,
    /// It is over: what it cost, where that is known, takes the place of what was reserved.
    Settled(Option<Usd>),
}

async fn state_of<'k>(known: &'k mut Known<'_>, name: &str) -> Result<Option<&'k Shard>, SweepError> {
    match parsed(name) {
        Some((job, shard)) => known.state(&job, shard).await,
        None => Ok(None),
    }
}

fn parsed(name: &str) -> Option<(JobId, ShardId)> {
    let (job, shard) = name.rsplit_once('/')?;
    Some((JobId::new(job), shard.parse().ok()?))
}
