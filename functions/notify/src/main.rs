//! The `notify` Lambda function.

use notify::{deps::Deps, handler};
use runtime::{lambda, log, wiring::Wiring};
use seam::environment::Variables;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let variables = Variables::from_env();
    log::init(&variables)?;
    let deps = Deps::new(&Wiring::on_lambda(variables).await?)?;
    lambda::serve(deps, handler::handle).await
}
