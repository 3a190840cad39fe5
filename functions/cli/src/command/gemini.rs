//! `darkroom gemini`: the simulated Gemini API alone, on loopback, for any client.

use std::sync::Arc;

use aws_sim::listen::wait_until_stopped;
use gemini::key::ApiKey;
use gemini_sim::Gemini;
use seam::{clock::Clock, environment::Variables};
use tokio::sync::watch;

use super::{Exit, GeminiArgs, setting, signal};

pub(super) fn gemini(args: &GeminiArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(answer(args))
}

async fn answer(args: &GeminiArgs) -> anyhow::Result<Exit> {
    let stopped = signal::stopped()?;
    let mut service = Gemini::open(
        &args.state,
        Clock::system(),
        args.scenario.scenario(setting::SECONDS),
    )?;
    if args.require_key {
        service = service
            .accepting(ApiKey::new(&Variables::from_env().required("GEMINI_API_KEY")?)?.header());
    }
    let listener = setting::bind(args.port, "--port").await?;
    println!(
        "The simulated Gemini is listening. End it with Ctrl-C; the same command goes on from there.\n\n  {url}\n\n\
         In another terminal:\n\n  export GOOGLE_GEMINI_BASE_URL={url} GEMINI_API_KEY=any   # Google's SDKs\n  \
         export GEMINI_BASE_URL={url} GEMINI_API_KEY=any          # Darkroom's functions",
        url = listener.url()
    );
    let service = Arc::new(service);
    tokio::spawn(hang_up_when(stopped.clone(), Arc::clone(&service)));
    listener.serve(service, stopped).await;
    println!("Ended; nothing is lost.");
    Ok(Exit::Complete)
}

/// Lets go of the calls that get no answer once the command is to end: it would wait for their
/// callers otherwise.
pub(super) async fn hang_up_when(mut stopped: watch::Receiver<bool>, service: Arc<Gemini>) {
    wait_until_stopped(&mut stopped).await;
    service.hang_up();
}
