//! `darkroom gemini`: serves only the simulated Gemini API on loopback, for any client.

use std::sync::Arc;

use aws_sim::listen::wait_until_stopped;
use gemini::key::ApiKey;
use gemini_sim::{Gemini, Scenario};
use seam::{clock::Clock, environment::Variables};
use tokio::sync::watch;

use super::{Exit, GeminiArgs, environment, shutdown};

/// Runs `darkroom gemini`.
pub(super) fn gemini(args: &GeminiArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &GeminiArgs) -> anyhow::Result<Exit> {
    // Time is real here, so batches are short by default.
    let shutdown = shutdown::requested()?;
    let scenario = Scenario {
        log_batch_lines: true,
        ..args.scenario.scenario(environment::SHORT_BATCH_SECONDS)
    };
    let mut service = Gemini::open(&args.state, Clock::system(), scenario)?;
    if args.require_key {
        service = service
            .accepting(ApiKey::new(&Variables::from_env().required("GEMINI_API_KEY")?)?.header());
    }

    // The port is open before the address is printed: a script may connect as soon as it reads it.
    let listener = environment::bind(args.port, "--port").await?;
    println!(
        "The simulated Gemini is listening. Press Ctrl-C to stop; run the same command to resume.\n\n\
         \x20 {url}\n\nIn another terminal:\n\n\
         \x20 export GOOGLE_GEMINI_BASE_URL={url} GEMINI_API_KEY=any   # Google's SDKs\n\
         \x20 export GEMINI_BASE_URL={url} GEMINI_API_KEY=any          # Darkroom's functions",
        url = listener.url()
    );
    let service = Arc::new(service);
    tokio::spawn(hang_up_on_shutdown(shutdown.clone(), Arc::clone(&service)));
    listener.serve(service, shutdown).await;
    println!("Stopped. Run the same command to resume.");
    Ok(Exit::Complete)
}

/// Closes the calls that the simulated Gemini leaves unanswered, once a shutdown is requested. The
/// listener would otherwise wait for their clients to time out.
pub(super) async fn hang_up_on_shutdown(mut shutdown: watch::Receiver<bool>, service: Arc<Gemini>) {
    wait_until_stopped(&mut shutdown).await;
    service.hang_up();
}
