//! One message of (results): load its shard, decide what happens to it, and carry that out.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::state::{CollectStep, Outcome, Owner, Shard, collect_step};
use exchange::expectations::ShardExpectations;
use jiff::Timestamp;
use runtime::{
    deliveries::{Disposition, Message, deliver},
    turn::{Effects, Turn, TurnError},
};

use crate::{
    deps::Deps,
    error::CollectError,
    failed_read,
    finish::finish,
    read::{Reached, read},
    reading::Reading,
    unmatched::{self, Verdict},
};

/// Handles one event of (results). `deadline` is when Lambda ends the invocation.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.results, event, async |message| {
        process(deps, message, deadline).await
    })
    .await
}

async fn process(
    deps: &Deps,
    message: &Message,
    deadline: Timestamp,
) -> Result<Disposition, CollectError> {
    let effects = Effects {
        states: &deps.states,
        ledger: &deps.ledger,
        onward: &[
            (Owner::Submit, &deps.shards),
            (Owner::Generate, &deps.generations),
        ],
        reports: &deps.reports,
        clock: &deps.clock,
    };
    let mut turn = Turn::open(effects, message, deadline).await?;
    let outcome = match decide(deps, &mut turn).await {
        Err(CollectError::Turn(TurnError::Conflict)) => Outcome::Yield,
        decided => decided?,
    };
    Ok(turn.finish(outcome).await?)
}

/// Reads the shard's output as far as it can, and returns what happens to the shard next.
async fn decide(deps: &Deps, turn: &mut Turn<'_>) -> Result<Outcome, CollectError> {
    Ok(match collect_step(turn.shard(), &turn.arrival()) {
        // Both work under a lease, which a failure gives back.
        CollectStep::Read(collecting) => {
            let mut reading = Reading::begin(deps, turn, collecting).await?;
            let outcome = read_on(&mut reading).await;
            failed_read::give_lease_back(&reading, outcome)?
        }
        CollectStep::Finish(collecting) => {
            let mut reading = Reading::begin(deps, turn, collecting).await?;
            let outcome = finish_unread(&mut reading).await;
            failed_read::give_lease_back(&reading, outcome)?
        }
        CollectStep::SendRound { round, lane } => Outcome::send_round(round, lane),
        CollectStep::NotOwner => Outcome::Ignore,
        CollectStep::Wait(until) => Outcome::KeepWaiting {
            wait: until.duration_since(deps.clock.now()),
            notify: true,
        },
        CollectStep::GiveUp => {
            let expired = turn.shard().expired();
            Outcome::end(Shard {
                cancel_requested: expired.cancel_requested || turn.cancel_requested(),
                ..expired
            })
        }
        CollectStep::Report => Outcome::Notify,
    })
}

/// Reads until the end of the output, and ends the shard, or until the invocation's time is up.
async fn read_on(reading: &mut Reading<'_, '_>) -> Result<Outcome, CollectError> {
    reading.turn.notify().await?;
    let chunks = &reading.collecting.chunks;
    let mut expectations =
        ShardExpectations::load(reading.deps.stores(), reading.turn.shard(), chunks).await?;
    let mut results = match read(reading, &mut expectations).await? {
        Reached::End(results) => results,
        Reached::Deadline => return Ok(reading.continue_later()),
    };

    // A canceled job ends with the images that there are. Any other job is held rather than ended
    // with an output in which nothing belongs to a request.
    let is_canceled = reading.turn.cancel_requested();
    match unmatched::verdict(&reading.collecting.ended, &expectations.found) {
        Verdict::Nothing if !is_canceled => Err(CollectError::NothingUsable {
            lines: expectations.found.lines,
        }),
        Verdict::Unmatched(unmatched) if !is_canceled => {
            results.checkpoint(reading).await?;
            Ok(unmatched::hold(reading, unmatched))
        }
        Verdict::Usable | Verdict::Nothing | Verdict::Unmatched(_) => {
            finish(reading, expectations, results.into_lines()).await
        }
    }
}

/// Ends a shard whose output was read to the end before, without reading it again.
async fn finish_unread(reading: &mut Reading<'_, '_>) -> Result<Outcome, CollectError> {
    let chunks = &reading.collecting.chunks;
    let expectations =
        ShardExpectations::load(reading.deps.stores(), reading.turn.shard(), chunks).await?;
    finish(reading, expectations, Vec::new()).await
}
