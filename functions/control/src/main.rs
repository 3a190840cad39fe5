//! The `control` Lambda function.

use clients::{lambda, log, variables::Variables};
use control::{config::Config, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let variables = Variables::from_env();
    log::init(&variables)?;
    let deps = Config::read(&variables)?.deps().await?;
    lambda::serve(deps, handler::handle).await
}
