//! One message of (polls): load its shard, decide what happens to it, and carry that out.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::state::{Outcome, Owner, PollStep, poll_step};
use jiff::Timestamp;
use runtime::{
    deliveries::{Disposition, Message, deliver},
    turn::{Effects, Turn, TurnError},
};

use crate::{answer::ask, deps::Deps};

/// Handles one event of (polls). `deadline` is when Lambda ends the invocation.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.polls, event, async |message| {
        process(deps, message, deadline).await
    })
    .await
}

async fn process(
    deps: &Deps,
    message: &Message,
    deadline: Timestamp,
) -> Result<Disposition, TurnError> {
    let effects = Effects {
        states: &deps.states,
        ledger: &deps.ledger,
        onward: &[(Owner::Collect, &deps.results)],
        reports: &deps.reports,
        clock: &deps.clock,
    };
    let turn = Turn::open(effects, message, deadline).await?;
    let outcome = decide(deps, &turn).await;
    turn.finish(outcome).await
}

/// Asks Gemini if the shard's batch may have changed, and returns what happens to the shard next.
/// An answer that Gemini does not give is an outcome too, so this can't fail.
async fn decide(deps: &Deps, turn: &Turn<'_>) -> Outcome {
    match poll_step(turn.shard(), &turn.arrival()) {
        PollStep::Ask {
            submitted,
            cancel,
            overdue,
        } => ask(deps, turn, submitted, cancel, overdue).await,
        PollStep::Collect => Outcome::forward_again(turn.shard_id(), Owner::Collect),
        PollStep::GiveUp => Outcome::end(turn.shard().expired()),
        PollStep::NotOwner => Outcome::Ignore,
        PollStep::Report => Outcome::Notify,
    }
}
