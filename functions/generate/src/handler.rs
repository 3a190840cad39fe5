//! One message of (generations): load its shard, decide what happens to it, and carry that out.

use std::ops::ControlFlow;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use darkroom::state::{GenerateEnd, GenerateStep, Generating, Outcome, Owner, generate_step};
use jiff::Timestamp;
use runtime::{
    deliveries::{Disposition, Message, deliver},
    turn::{Effects, Turn, TurnError},
};

use crate::{
    deps::Deps,
    error::GenerateError,
    finish::{End, finish},
    requests::request_images,
    session::Session,
};

/// Handles one event of (generations). `deadline` is when Lambda ends the invocation.
pub async fn handle(deps: &Deps, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
    deliver(&deps.generations, event, async |message| {
        process(deps, message, deadline).await
    })
    .await
}

async fn process(
    deps: &Deps,
    message: &Message,
    deadline: Timestamp,
) -> Result<Disposition, GenerateError> {
    let effects = Effects {
        states: &deps.states,
        ledger: &deps.ledger,
        onward: &[
            (Owner::Generate, &deps.generations),
            (Owner::Submit, &deps.shards),
        ],
        reports: &deps.reports,
        clock: &deps.clock,
    };
    let mut turn = Turn::open(effects, message, deadline).await?;
    let outcome = match decide(deps, &mut turn).await {
        Err(GenerateError::Turn(TurnError::Conflict)) => Outcome::Yield,
        decided => decided?,
    };
    Ok(turn.finish(outcome).await?)
}

/// Takes the shard one step further, and returns what happens to it next.
async fn decide(deps: &Deps, turn: &mut Turn<'_>) -> Result<Outcome, GenerateError> {
    Ok(match generate_step(turn.shard(), &turn.arrival()) {
        GenerateStep::Generate(generating) => admit(deps, turn, generating).await?,
        GenerateStep::Finish { generating, end } => {
            let end = match end {
                GenerateEnd::Cancelled => End::Cancelled,
                GenerateEnd::Deadline => End::Deadline,
            };
            let mut session = Session::begin(deps, turn, generating).await?;
            let outcome = end_early(&mut session, end).await;
            session.give_lease_back(outcome)?
        }
        GenerateStep::SendRound { round, lane } => Outcome::send_round(round, lane),
        GenerateStep::NotOwner => Outcome::Ignore,
        GenerateStep::Wait(until) => Outcome::KeepWaiting {
            wait: until.duration_since(deps.clock.now()),
            notify: true,
        },
        GenerateStep::Stop => Outcome::end(turn.shard().cancelled()),
        GenerateStep::GiveUp => Outcome::end(turn.shard().expired()),
        GenerateStep::Report => Outcome::Notify,
    })
}

/// Reserves the cost of the shard, then requests its images.
async fn admit(
    deps: &Deps,
    turn: &mut Turn<'_>,
    generating: Generating,
) -> Result<Outcome, GenerateError> {
    let hint = "The images are requested once the limits allow it";
    match turn
        .admit(&deps.project, &deps.folders, turn.shard(), hint)
        .await?
    {
        ControlFlow::Continue(()) => {
            let mut session = Session::begin(deps, turn, generating).await?;
            let outcome = request_images(&mut session).await;
            session.give_lease_back(outcome)
        }
        ControlFlow::Break(outcome) => Ok(outcome),
    }
}

/// Ends the shard with the images that it has.
async fn end_early(session: &mut Session<'_, '_>, end: End) -> Result<Outcome, GenerateError> {
    let expectations = session.expectations().await?;
    finish(session, expectations, end).await
}
