//! `darkroom serve`: the chain kept running on loopback, so that any S3 client can drop manifests.

use std::sync::Arc;

use clients::variables::Variables;
use jiff::SignedDuration;
use poll::handler::Waits;
use tokio::task::JoinSet;

use super::{
    Exit, ServeArgs, Which,
    announce::Announcing,
    gemini::hang_up_when,
    live::{self, Choice},
    setting, signal,
};
use crate::{
    cloud::{BUCKET, Cloud, Setup},
    gemini::Gemini as SimulatedGemini,
    host,
    listen::is_stopped,
    time::Time,
    wire::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY},
};

/// How often simulated batches, which take seconds here, are asked about.
const SIMULATED_WAITS: Waits = Waits { shortest: SignedDuration::from_secs(1), longest: SignedDuration::from_secs(30) };

pub(super) fn serve(args: &ServeArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve_all(args))
}

async fn serve_all(args: &ServeArgs) -> anyhow::Result<Exit> {
    let variables = Variables::from_env();
    let internal = setting::folder(&args.out)?;
    let which = match live::choose_for_all(args, &internal, &variables)? {
        Choice::Use(which) => which,
        Choice::End(exit) => return Ok(exit),
    };
    setting::log_to(&internal)?;
    let settings = args.settings.settings();
    let stopped = signal::stopped()?;

    let (gemini, time, waits, simulated) = match which {
        Which::Sim => {
            let time = Time::simulated(&internal)?;
            let behaviour = args.behaviour.behaviour(setting::SECONDS);
            let service = Arc::new(SimulatedGemini::open(&internal.join("gemini"), time.clock(), behaviour)?);
            (setting::simulated(Arc::clone(&service) as _)?, time, SIMULATED_WAITS, Some(service))
        }
        Which::Live => (setting::live(&variables)?, Time::system(), Waits::default(), None),
    };
    let (announcing, announced) = Announcing::new(&args.out);
    let (limits, tier) = (args.settings.limits(), args.settings.tier);
    let setup = Setup { settings, waits, limits, tier, ..Setup::default() };
    let cloud = Arc::new(Cloud::open_with(&args.out, time, gemini, setup, |wire| announcing.around(wire))?);

    let aws = setting::bind(args.port, "--port").await?;
    let environment = format!(
        "export AWS_ENDPOINT_URL={} AWS_DEFAULT_REGION={REGION} AWS_ACCESS_KEY_ID={ACCESS_KEY_ID} \
         AWS_SECRET_ACCESS_KEY={SECRET_ACCESS_KEY}",
        aws.url()
    );
    println!("Darkroom is listening. End it with Ctrl-C; the same command goes on from there.\n");
    println!("  S3 and SQS  {}", aws.url());
    let mut services = JoinSet::new();
    services.spawn(aws.serve(cloud.wire.service(), stopped.clone()));
    if let Some(service) = simulated {
        let listener = setting::bind(args.gemini_port, "--gemini-port").await?;
        println!("  Gemini      {} (simulated: no key, no cost)", listener.url());
        services.spawn(hang_up_when(stopped.clone(), Arc::clone(&service)));
        services.spawn(listener.serve(service, stopped.clone()));
    } else {
        println!("  Gemini      the real one: every manifest that is dropped costs money");
    }
    println!("  files       {}", cloud.path_of("").display());
    println!("\nIn another terminal:\n\n  {environment}");
    println!("  aws s3 cp manifest.csv s3://{BUCKET}/inbox/\n  aws s3 ls s3://{BUCKET}/jobs/\n");

    let telling = tokio::spawn(announced.tell());
    let served = host::serve(&cloud, is_stopped(&mut stopped.clone())).await;
    services.join_all().await;
    // Ends as the last one who could announce anything goes.
    drop(cloud);
    telling.await?;
    println!("Ended; nothing is lost.");
    served.map(|()| Exit::Complete)
}
