//! The `collect` Lambda function.

use collect::{config::Config, handler};
use runtime::{lambda, log};
use seam::environment::Variables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let variables = Variables::from_env();
    log::init(&variables)?;
    let deps = Config::read(&variables)?.deps().await?;
    lambda::serve(deps, handler::handle).await
}
