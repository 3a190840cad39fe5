//! The `collect` Lambda function.

use aws_lambda_events::event::sqs::SqsEvent;
use clients::{lambda, variables::Variables};
use collect::{config::Config, handler};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let deps = Config::read(&Variables::from_env())?.deps().await?;
    let handle = |event: LambdaEvent<SqsEvent>| {
        let (deps, deadline) = (deps.clone(), lambda::deadline(event.context.deadline));
        async move { Ok::<_, lambda_runtime::Error>(handler::handle(&deps, event.payload, deadline).await) }
    };
    lambda_runtime::run(service_fn(handle)).await
}
