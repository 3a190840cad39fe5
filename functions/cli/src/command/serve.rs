//! `darkroom serve`: keeps the chain running on loopback, so that any S3 client can drop manifests.

use std::{fs::File, path::Path, sync::Arc};

use anyhow::Context;
use aws_sim::{credentials::Credentials, listen::wait_until_stopped, signed::Signed, wire::REGION};
use darkroom::settings::PollBackoff;
use gemini_sim::Gemini as SimulatedGemini;
use seam::{clock::Clock, environment::Variables};
use tokio::task::JoinSet;

use super::{
    Exit, GeminiMode, ServeArgs, environment,
    gemini::hang_up_on_shutdown,
    gemini_mode::{self, Choice},
    phase_reporter::StatusWrites,
    shutdown,
};
use crate::{
    cloud::{BUCKET, Cloud, CloudConfig, SERVE_LOCK},
    host,
    time::Time,
};

/// How often simulated batches are polled. They take seconds here, not hours.
const SIMULATED_POLL_BACKOFF: PollBackoff = PollBackoff::for_simulated_batches(1, 30);

/// Runs `darkroom serve`.
pub(super) fn serve(args: &ServeArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve_chain(args))
}

async fn serve_chain(args: &ServeArgs) -> anyhow::Result<Exit> {
    // The price of future manifests is unknown, so the consent to spend covers all of them.
    let variables = Variables::from_env();
    let internal = environment::internal_folder(&args.out)?;
    let mode = match gemini_mode::choose_for_serve(args, &internal, &variables)? {
        Choice::Use(mode) => mode,
        Choice::Exit(exit) => return Ok(exit),
    };
    environment::init_log(&internal)?;
    let shutdown = shutdown::requested()?;

    // The simulated Gemini is shared: the functions call it in process, clients over its port.
    let (gemini, time, waits, simulated) = match mode {
        GeminiMode::Sim => {
            let time = Time::simulated(&internal)?;
            let scenario = args.scenario.scenario(environment::SHORT_BATCH_SECONDS);
            let service = Arc::new(SimulatedGemini::open(
                &internal.join("gemini"),
                time.clock(),
                scenario,
            )?);
            (
                environment::simulated_gemini(Arc::clone(&service) as _)?,
                time,
                SIMULATED_POLL_BACKOFF,
                Some(service),
            )
        }
        GeminiMode::Live => (
            environment::live_gemini(&variables)?,
            Time::system(),
            PollBackoff::default(),
            None,
        ),
    };

    // The reporter sees every write of a job's status, from functions and from clients alike.
    let (status_writes, phase_reporter) = StatusWrites::new(&args.out);
    let credentials = credentials(args, &internal, &variables)?;
    let config = CloudConfig {
        settings: args.settings.settings(),
        waits,
        limits: args.settings.limits(),
        image_base_url: args.settings.image_base_url.clone(),
        tier: args.settings.tier,
        credentials: Some(credentials.clone()),
        disk: environment::disk(mode),
        web: environment::web(&variables)?,
        event_targets: environment::event_targets(&variables)?,
        ..CloudConfig::default()
    };
    let logged = environment::logged_requests(args.aws.aws_log.as_deref())?;
    let cloud = Arc::new(Cloud::open_with(&args.out, time, gemini, config, |wire| {
        logged(status_writes.around(wire))
    })?);

    // Only this process can own the folder now. Another command may hold a shared lock for an
    // instant, to look.
    let serve_lock = File::create(internal.join(SERVE_LOCK))?;
    serve_lock.lock()?;

    // Each port is open before its address is printed: a script may connect as soon as it reads it.
    let aws = environment::bind(args.port, "--port").await?;
    let endpoint = aws.url();
    println!("Darkroom is listening. Press Ctrl-C to stop; run the same command to resume.\n");
    println!("  S3 and SQS  {endpoint}");
    let mut services = JoinSet::new();
    let signed = Signed::new(cloud.wire.service(), credentials.clone(), Clock::system());
    services.spawn(aws.serve(Arc::new(signed), shutdown.clone()));
    if let Some(service) = simulated {
        let listener = environment::bind(args.gemini_port, "--gemini-port").await?;
        println!(
            "  Gemini      {} (simulated: no API key, no cost)",
            listener.url()
        );
        services.spawn(hang_up_on_shutdown(shutdown.clone(), Arc::clone(&service)));
        services.spawn(listener.serve(service, shutdown.clone()));
    } else {
        println!("  Gemini      the real API: every manifest that is dropped costs money");
    }
    println!("  files       {}", cloud.path_of("").display());
    println!(
        "\nIn another terminal:\n\n  {}",
        exports(&endpoint, &credentials)
    );
    println!("{}\n", examples(&endpoint));

    // The ports close on the same signal as the host; open exchanges may finish. The functions are
    // not affected, because they reach S3 and SQS in process.
    let reporting = tokio::spawn(phase_reporter.run());
    let served = host::serve(&cloud, wait_until_stopped(&mut shutdown.clone())).await;
    services.join_all().await;
    drop(serve_lock);
    // The reporter ends when its last sender, which belongs to the cloud, is dropped.
    drop(cloud);
    reporting.await?;
    println!("Stopped. Run the same command to resume.");
    served.map(|()| Exit::Complete)
}

/// Returns the shell command that sets up an S3 client. It sets the region under two names: boto3
/// and the `aws` command read the first, the SDKs of other languages the second.
fn exports(endpoint: &str, credentials: &Credentials) -> String {
    format!(
        "export AWS_ENDPOINT_URL={endpoint} AWS_DEFAULT_REGION={REGION} AWS_REGION={REGION} \
         AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}",
        credentials.access_key_id(),
        credentials.secret_access_key()
    )
}

/// Returns the commands that drop a manifest and list the jobs. They name the endpoint although the
/// environment does, too: older versions of the `aws` command ignore `AWS_ENDPOINT_URL` and would
/// send the request to Amazon.
fn examples(endpoint: &str) -> String {
    let aws = format!("  aws --endpoint-url {endpoint} s3");
    format!("{aws} cp manifest.csv s3://{BUCKET}/inbox/\n{aws} ls s3://{BUCKET}/jobs/")
}

/// Returns the access key that S3 and SQS clients must sign with. Precedence, highest first: the
/// arguments, the environment, the key that is stored in the folder.
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
        (None, None) => Credentials::load_or_create(internal)
            .context("can't get an access key for S3 and SQS clients"),
        (Some(_), None) => anyhow::bail!(
            "DARKROOM_ACCESS_KEY is set but DARKROOM_SECRET_KEY is not: set both or neither"
        ),
        (None, Some(_)) => anyhow::bail!(
            "DARKROOM_SECRET_KEY is set but DARKROOM_ACCESS_KEY is not: set both or neither"
        ),
    }
}
