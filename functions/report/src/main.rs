//! The `report` Lambda function.

use clients::{lambda, variables::Variables};
use report::{config::Config, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let deps = Config::read(&Variables::from_env())?.deps().await?;
    lambda::serve(deps, handler::handle).await
}
