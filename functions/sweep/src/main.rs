//! The `sweep` Lambda function.

use runtime::{lambda, log};
use seam::environment::Variables;
use sweep::{config::Config, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let variables = Variables::from_env();
    log::init(&variables)?;
    let deps = Config::read(&variables)?.deps().await?;
    lambda::serve_schedule(deps, handler::handle).await
}
