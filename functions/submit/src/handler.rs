//! One message of (shards): load its shard, decide what happens to it, and carry that out.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::state::{Outcome, Owner, SubmitStep, submit_step};
use jiff::Timestamp;
use runtime::{
    deliveries::{Disposition, Message, deliver},
    turn::{Effects, Turn, TurnError},
};

use crate::{attempt::submit, deps::Deps, error::SubmitError, recovery};

/// Handles one event of (shards). `deadline` is when Lambda ends the invocation.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.shards, event, async |message| {
        process(deps, message, deadline).await
    })
    .await
}

async fn process(
    deps: &Deps,
    message: &Message,
    deadline: Timestamp,
) -> Result<Disposition, SubmitError> {
    let effects = Effects {
        states: &deps.states,
        ledger: &deps.ledger,
        onward: &[
            (Owner::Poll, &deps.polls),
            (Owner::Generate, &deps.generations),
        ],
        reports: &deps.reports,
        clock: &deps.clock,
    };
    let mut turn = Turn::open(effects, message, deadline).await?;
    let outcome = match decide(deps, &mut turn).await {
        Err(SubmitError::Turn(TurnError::Conflict)) => Outcome::Yield,
        decided => decided?,
    };
    Ok(turn.finish(outcome).await?)
}

/// Takes the shard one step further, and returns what happens to it next.
async fn decide(deps: &Deps, turn: &mut Turn<'_>) -> Result<Outcome, SubmitError> {
    Ok(match submit_step(turn.shard(), &turn.arrival()) {
        SubmitStep::Submit { attempt, crashed } => submit(deps, turn, attempt, crashed).await?,
        SubmitStep::Wait(until) => Outcome::KeepWaiting {
            wait: until.duration_since(deps.clock.now()),
            notify: true,
        },
        SubmitStep::Recover { attempt, file } => {
            let why = "a submitter ended between the create call and recording its answer";
            recovery::begin(deps, turn, attempt, file, why).await?
        }
        SubmitStep::Fence { file, until } => recovery::fence(deps, &file, until).await,
        SubmitStep::Look(look) => recovery::look(deps, turn, look).await?,
        SubmitStep::Poll => Outcome::forward_again(turn.shard_id(), Owner::Poll),
        SubmitStep::Rescue(rescue) => {
            Outcome::forward(turn.shard().rescued(rescue, deps.clock.now()))
        }
        SubmitStep::Generate => Outcome::forward_again(turn.shard_id(), Owner::Generate),
        SubmitStep::Stop => Outcome::end(turn.shard().cancelled()),
        SubmitStep::GiveUp => Outcome::end(turn.shard().expired()),
        SubmitStep::NotOwner => Outcome::Ignore,
        SubmitStep::Report => Outcome::Notify,
    })
}
