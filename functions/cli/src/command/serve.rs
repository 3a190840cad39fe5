//! `darkroom serve`: the chain kept running on loopback, so that any S3 client can drop manifests.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use aws_sim::{credentials::Credentials, listen::is_stopped, signed::Signed, wire::REGION};
use darkroom::settings::PollBackoff;
use gemini_sim::Gemini as SimulatedGemini;
use jiff::SignedDuration;
use seam::{clock::Clock, environment::Variables};
use tokio::task::JoinSet;

use super::{
    Exit, GeminiMode, ServeArgs,
    announce::Announcing,
    gemini::hang_up_when,
    gemini_mode::{self, Choice},
    setting, signal,
};
use crate::{
    cloud::{BUCKET, Cloud, CloudConfig},
    host,
    time::Time,
};

/// How often simulated batches, which take seconds here, are asked about.
const SIMULATED_WAITS: PollBackoff = PollBackoff {
    shortest: SignedDuration::from_secs(1),
    longest: SignedDuration::from_secs(30),
};

pub(super) fn serve(args: &ServeArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve_all(args))
}

async fn serve_all(args: &ServeArgs) -> anyhow::Result<Exit> {
    let variables = Variables::from_env();
    let internal = setting::folder(&args.out)?;
    let which = match gemini_mode::choose_for_all(args, &internal, &variables)? {
        Choice::Use(which) => which,
        Choice::End(exit) => return Ok(exit),
    };
    setting::log_to(&internal)?;
    let settings = args.settings.settings();
    let stopped = signal::stopped()?;

    let (gemini, time, waits, simulated) = match which {
        GeminiMode::Sim => {
            let time = Time::simulated(&internal)?;
            let scenario = args.scenario.scenario(setting::SECONDS);
            let service = Arc::new(SimulatedGemini::open(
                &internal.join("gemini"),
                time.clock(),
                scenario,
            )?);
            (
                setting::simulated(Arc::clone(&service) as _)?,
                time,
                SIMULATED_WAITS,
                Some(service),
            )
        }
        GeminiMode::Live => (
            setting::live(&variables)?,
            Time::system(),
            PollBackoff::default(),
            None,
        ),
    };
    let (announcing, announced) = Announcing::new(&args.out);
    let credentials = credentials(args, &internal, &variables)?;
    let disk = setting::disk(which);
    let (limits, tier) = (args.settings.limits(), args.settings.tier);
    let setup = CloudConfig {
        settings,
        waits,
        limits,
        tier,
        credentials: Some(credentials.clone()),
        disk,
        ..CloudConfig::default()
    };
    let cloud = Arc::new(Cloud::open_with(&args.out, time, gemini, setup, |wire| {
        announcing.around(wire)
    })?);

    let aws = setting::bind(args.port, "--port").await?;
    let endpoint = aws.url();
    // The region by both of its names: boto3 and the `aws` command read the first, the SDKs of
    // other languages the second.
    let environment = format!(
        "export AWS_ENDPOINT_URL={endpoint} AWS_DEFAULT_REGION={REGION} AWS_REGION={REGION} AWS_ACCESS_KEY_ID={} \
         AWS_SECRET_ACCESS_KEY={}",
        credentials.access_key_id(),
        credentials.secret_access_key()
    );
    println!("Darkroom is listening. End it with Ctrl-C; the same command goes on from there.\n");
    println!("  S3 and SQS  {endpoint}");
    let mut services = JoinSet::new();
    let signed = Signed::new(cloud.wire.service(), credentials, Clock::system());
    services.spawn(aws.serve(Arc::new(signed), stopped.clone()));
    if let Some(service) = simulated {
        let listener = setting::bind(args.gemini_port, "--gemini-port").await?;
        println!(
            "  Gemini      {} (simulated: no key, no cost)",
            listener.url()
        );
        services.spawn(hang_up_when(stopped.clone(), Arc::clone(&service)));
        services.spawn(listener.serve(service, stopped.clone()));
    } else {
        println!("  Gemini      the real one: every manifest that is dropped costs money");
    }
    println!("  files       {}", cloud.path_of("").display());
    println!("\nIn another terminal:\n\n  {environment}");
    println!("{}\n", examples(&endpoint));

    let telling = tokio::spawn(announced.tell());
    let served = host::serve(&cloud, is_stopped(&mut stopped.clone())).await;
    services.join_all().await;
    // Ends as the last one who could announce anything goes.
    drop(cloud);
    telling.await?;
    println!("Ended; nothing is lost.");
    served.map(|()| Exit::Complete)
}

/// The commands that drop a manifest and list the jobs. They name the endpoint although the
/// environment does too: older versions of the `aws` command ignore `AWS_ENDPOINT_URL` and would
/// ask Amazon.
fn examples(endpoint: &str) -> String {
    let aws = format!("  aws --endpoint-url {endpoint} s3");
    format!("{aws} cp manifest.csv s3://{BUCKET}/inbox/\n{aws} ls s3://{BUCKET}/jobs/")
}

/// What S3 and SQS clients must sign with: what the arguments say, else the environment, else the
/// folder's own.
fn credentials(
    args: &ServeArgs,
    internal: &Path,
    variables: &Variables,
) -> anyhow::Result<Credentials> {
    let given =
        |argument: &Option<String>, name| argument.clone().or_else(|| variables.optional(name));
    match (
        given(&args.access_key, "DARKROOM_ACCESS_KEY"),
        given(&args.secret_key, "DARKROOM_SECRET_KEY"),
    ) {
        (Some(id), Some(secret)) => Ok(Credentials::new(id, secret)?),
        (None, None) => {
            Credentials::kept_in(internal).context("no credentials for S3 and SQS clients")
        }
        (Some(_), None) => anyhow::bail!(
            "DARKROOM_ACCESS_KEY is set and DARKROOM_SECRET_KEY is not: set both or none"
        ),
        (None, Some(_)) => anyhow::bail!(
            "DARKROOM_SECRET_KEY is set and DARKROOM_ACCESS_KEY is not: set both or none"
        ),
    }
}
