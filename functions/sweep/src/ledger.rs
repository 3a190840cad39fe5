//! The ledger, made to agree with the shard states: a function that is ended in the middle can leave a place taken.

use darkroom::{
    ledger::Ledger,
    names::{JobId, ShardId},
    state::Phase,
};
use jiff::SignedDuration;
use tracing::info;

use crate::{
    handler::{Deps, SweepError},
    known::Known,
};

/// How long a shard may hold its place before it has a batch: longer than any invocation of `submit`.
const UNTIL_CREATED: SignedDuration = SignedDuration::from_hours(1);

/// Frees the places of shards that need none, and answers with the ledger as it is then.
pub(crate) async fn reconcile(deps: &Deps, known: &mut Known<'_>) -> Result<Ledger, SweepError> {
    let now = deps.clock.now();
    let ledger = deps.books.read().await?;
    let mut idle = Vec::new();
    for (name, reservation) in &ledger.live {
        let shard = match parsed(name) {
            Some((job, shard)) => known.state(&job, shard).await?,
            None => None,
        };
        let (is_needed, is_spent) = match shard.map(|shard| &shard.phase) {
            Some(Phase::Planned { .. } | Phase::Uploading { .. }) => {
                (now < reservation.asked_at + UNTIL_CREATED, false)
            }
            Some(phase) => (phase.may_have_live_batch(), true),
            None => (false, true),
        };
        if !is_needed {
            info!(reservation = name, "its place in the ledger is free");
            idle.push((name.clone(), reservation.clone(), is_spent));
        }
    }
    let freed = deps.books.change(|ledger| {
        for (name, seen, is_spent) in &idle {
            match parsed(name) {
                // One that asked again meanwhile needs it after all.
                _ if ledger.live.get(name) != Some(seen) => {}
                Some((job, shard)) if !is_spent => ledger.refund(&job, shard),
                _ => {
                    ledger.live.remove(name);
                }
            }
        }
        ledger.clone()
    });
    Ok(freed.await?)
}

fn parsed(name: &str) -> Option<(JobId, ShardId)> {
    let (job, shard) = name.rsplit_once('/')?;
    Some((JobId::new(job), shard.parse().ok()?))
}
