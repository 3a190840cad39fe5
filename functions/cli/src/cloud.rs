//! The cloud on one machine: stand-ins for S3 and SQS that keep their data in a folder, and the
//! clients with which the functions call them.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use aws_sim::{
    bucket::{Buckets, NotificationRule, to_queues},
    credentials::Credentials,
    queue::{QueueApi, QueueAttributes, Queues, RedrivePolicy},
    wire::{ACCOUNT, InProcess, REGION, Router},
};
use darkroom::{
    chain::{CHAIN, CONTROLS, MANIFESTS, RETENTION, SWEEP_EVERY, Source, VISIBILITY_TIMEOUT},
    image_url::ImageBaseUrl,
    job::JobSettings,
    ledger::{FolderCaps, ProjectLimits},
    models::{Catalog, Tier},
    object_keys,
    settings::{CollectLimits, GenerateLimits, MaxLiveBatches, PollBackoff, QuietPeriod},
};
use disk::Disk;
use gemini::Gemini;
use jiff::SignedDuration;
use notify::targets::Targets;
use plan::web::Web;
use runtime::{
    aws,
    bucket::Bucket,
    event_targets::EventTargets,
    metrics::Metrics,
    settings::StackSettings,
    wiring::{HostParts, Wiring, WiringError},
};
use seam::{proxies::Proxies, rng::Rng, transport::Transport};

use crate::{controls, time::Time};

/// The name of the local bucket.
pub const BUCKET: &str = "darkroom";

/// The folder below the root for internal state.
pub const INTERNAL: &str = ".darkroom";

/// The file in the internal folder that `darkroom serve` locks while it runs, so that other commands
/// see whether it does.
pub(crate) const SERVE_LOCK: &str = "serve.lock";

/// The file in the internal folder that holds the folder's stack name.
const IDENTITY: &str = "identity";

/// The stand-ins in one folder, and the functions' dependencies.
#[derive(Debug)]
pub struct Cloud {
    root: PathBuf,
    /// The time, which may be simulated.
    pub time: Time,
    /// The queues.
    pub queues: Arc<Queues>,
    /// A client of the bucket.
    pub bucket: Bucket,
    /// What the functions depend on.
    pub deps: Deps,
    /// How often the host runs `sweep`. It never does if this is none.
    pub sweep_every: Option<SignedDuration>,
    /// The S3 and SQS APIs, for other clients.
    pub wire: InProcess,
    /// The lock on the folder, which is held while this process uses it.
    _lock: File,
}

/// What each function depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The dependencies of `plan`.
    pub plan: plan::deps::Deps,
    /// The dependencies of `submit`.
    pub submit: submit::deps::Deps,
    /// The dependencies of `poll`.
    pub poll: poll::deps::Deps,
    /// The dependencies of `collect`.
    pub collect: collect::deps::Deps,
    /// The dependencies of `generate`.
    pub generate: generate::deps::Deps,
    /// The dependencies of `report`.
    pub report: report::deps::Deps,
    /// The dependencies of `thumbs`.
    pub thumbs: thumbs::deps::Deps,
    /// The dependencies of `control`.
    pub control: control::deps::Deps,
    /// The dependencies of `notify`.
    pub notify: notify::deps::Deps,
    /// The dependencies of `sweep`.
    pub sweep: sweep::deps::Deps,
}

/// The configuration of a local cloud.
#[derive(Clone, Debug)]
pub struct CloudConfig {
    /// The settings of every job.
    pub settings: JobSettings,
    /// How fast images are collected, and how often progress is recorded.
    pub pace: CollectLimits,
    /// How fast images of the synchronous lanes are requested.
    pub generate_limits: GenerateLimits,
    /// How long to wait between two status requests for a batch.
    pub waits: PollBackoff,
    /// The limits of the Gemini project.
    pub limits: ProjectLimits,
    /// The paid tier of the Gemini project.
    pub tier: Tier,
    /// How long to wait, after a create call with unknown outcome, before looking for its batch.
    pub quiet: QuietPeriod,
    /// Where the objects of the bucket are served on the web, if they are.
    pub image_base_url: Option<ImageBaseUrl>,
    /// How often the host runs `sweep`. It never does if this is none.
    pub sweep_every: Option<SignedDuration>,
    /// Fetches references that are web addresses.
    pub web: Web,
    /// Where events are sent to. By default there is no target, and no function does any work for
    /// events.
    pub event_targets: Targets,
    /// Write ids and jitter.
    pub rng: Rng,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
    /// The credentials that sign requests to S3 and SQS. If none are given, they are random and only
    /// this process has them.
    pub credentials: Option<Credentials>,
    /// Whether writes survive a power failure. With the real Gemini API they must: the loss of a state
    /// would buy a second batch.
    pub disk: Disk,
}

impl Default for CloudConfig {
    fn default() -> Self {
        Self {
            settings: JobSettings::default(),
            pace: CollectLimits::default(),
            generate_limits: GenerateLimits::default(),
            waits: PollBackoff::default(),
            limits: ProjectLimits {
                live_batches: MaxLiveBatches::default(),
                enqueued_tokens: Catalog::built_in().enqueued_tokens(Tier::default()),
                daily_usd: None,
                folders: FolderCaps::default(),
            },
            tier: Tier::default(),
            quiet: QuietPeriod::default(),
            image_base_url: None,
            sweep_every: Some(SWEEP_EVERY),
            web: Web::over_https(Proxies::default()),
            event_targets: Targets::default(),
            rng: Rng::system(),
            metrics: Metrics::none(),
            credentials: None,
            disk: Disk::fast(),
        }
    }
}

impl Cloud {
    /// Opens a cloud in the folder `root`, which is created if it is missing. The functions use
    /// `gemini`.
    ///
    /// # Errors
    /// If the folder can't be used, or another process uses it.
    pub fn open(
        root: &Path,
        time: Time,
        gemini: Gemini,
        config: CloudConfig,
    ) -> anyhow::Result<Self> {
        let wrap = |transport| transport;
        Self::open_with(root, time, gemini, config, wrap)
    }

    /// Opens a cloud like [`Cloud::open`], and wraps the service that answers for S3 and SQS with
    /// `wrap`, which can observe and change requests.
    ///
    /// # Errors
    /// As [`Cloud::open`].
    pub fn open_with(
        root: &Path,
        time: Time,
        gemini: Gemini,
        config: CloudConfig,
        wrap: impl FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport>,
    ) -> anyhow::Result<Self> {
        // The folder belongs to this process from here on.
        let internal = root.join(INTERNAL);
        fs::create_dir_all(&internal)
            .with_context(|| format!("can't create the folder {}", internal.display()))?;
        let lock = lock(&internal)?;
        let stack = identity(&config.disk, &internal, &config.rng)?;
        let clock = time.clock();
        let disk = config.disk.clone();

        // The queues of the chain, each with its dead-letter queue.
        let queues = Arc::new(Queues::open_on(&disk, internal.join("sqs"), clock.clone())?);
        for source in CHAIN {
            queues.create(
                &source.dead_letters(),
                QueueAttributes {
                    retention: RETENTION,
                    ..QueueAttributes::default()
                },
            )?;
            queues.create(source.queue, attributes(&source))?;
        }

        // The bucket, whose notifications go to the queues as in the template.
        let rule = |prefix: &str, queue: &str| NotificationRule {
            bucket: BUCKET.to_owned(),
            events: "s3:ObjectCreated:*".to_owned(),
            prefix: prefix.to_owned(),
            suffix: String::new(),
            queue: queue.to_owned(),
        };
        let rules = vec![rule("inbox/", MANIFESTS), rule("control/", CONTROLS)];
        let credentials = config
            .credentials
            .clone()
            .map_or_else(Credentials::random, Ok)?;
        let sink = to_queues(Arc::clone(&queues));
        let buckets =
            Buckets::open_on(disk.clone(), root, clock.clone(), rules, sink, &credentials)?;
        buckets.create(BUCKET)?;
        sync_folders(&disk, root)?;

        // The clients reach the stand-ins by requests in AWS's protocol, within this process.
        let api = Arc::new(QueueApi::new(Arc::clone(&queues)));
        let wire = InProcess::new(
            wrap(Arc::new(Router::new(Arc::new(buckets), api))),
            credentials,
        );
        let s3 = aws_sdk_s3::Client::from_conf(aws::s3_settings(wire.s3_config()).build());
        let sqs = aws_sdk_sqs::Client::from_conf(wire.sqs_config().build());
        let bucket = Bucket::new(s3, BUCKET);

        let sweep_every = config.sweep_every;
        let wiring = Wiring::on_host(HostParts {
            bucket: bucket.clone(),
            sqs,
            queue_url_prefix: format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/"),
            gemini,
            clock,
            rng: config.rng,
            metrics: config.metrics,
            catalog: Arc::new(Catalog::built_in()),
            settings: StackSettings {
                stack,
                job: config.settings,
                project: config.limits.into(),
                tier: config.tier,
                quiet_period: config.quiet,
                poll_backoff: config.waits,
                collect_limits: config.pace,
                generate_limits: config.generate_limits,
                image_base_url: config.image_base_url,
                announces_events: !config.event_targets.is_empty(),
                event_targets: EventTargets::default(),
            },
        });
        let deps = Deps::new(&wiring, config.web, config.event_targets)?;
        Ok(Self {
            root: root.to_owned(),
            time,
            queues,
            bucket,
            deps,
            sweep_every,
            wire,
            _lock: lock,
        })
    }

    /// Whether there is a job that is not closed.
    pub fn has_open_jobs(&self) -> bool {
        fs::read_dir(self.path_of(object_keys::OPEN_JOBS))
            .is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Uploads the requests that users made about jobs with the command.
    ///
    /// # Errors
    /// If a request can't be read or uploaded. The next call repeats it.
    pub(crate) async fn forward_controls(&self) -> anyhow::Result<()> {
        controls::forward_all(&self.root.join(INTERNAL), &self.bucket).await
    }

    /// Returns the path of the file that holds an object's content.
    pub fn path_of(&self, key: &str) -> PathBuf {
        self.root.join(BUCKET).join(key)
    }
}

/// Returns the attributes of a queue of the chain.
fn attributes(source: &Source) -> QueueAttributes {
    QueueAttributes {
        visibility_timeout: VISIBILITY_TIMEOUT,
        redrive: Some(RedrivePolicy {
            dead_letter_queue: source.dead_letters(),
            max_receive_count: source.max_receive_count,
        }),
        retention: RETENTION,
        ..QueueAttributes::default()
    }
}

impl Deps {
    fn new(wiring: &Wiring, web: Web, targets: Targets) -> Result<Self, WiringError> {
        Ok(Self {
            plan: plan::deps::Deps {
                web,
                ..plan::deps::Deps::new(wiring)?
            },
            submit: submit::deps::Deps::new(wiring)?,
            poll: poll::deps::Deps::new(wiring)?,
            collect: collect::deps::Deps::new(wiring)?,
            generate: generate::deps::Deps::new(wiring)?,
            report: report::deps::Deps::new(wiring)?,
            thumbs: thumbs::deps::Deps::new(wiring)?,
            control: control::deps::Deps::new(wiring)?,
            notify: notify::deps::Deps {
                targets,
                ..notify::deps::Deps::new(wiring)?
            },
            sweep: sweep::deps::Deps::new(wiring)?,
        })
    }
}

/// Returns the stack name of this folder, which begins the display names of its batches: `local-<16 hex
/// digits>`, generated once. Two folders may run the same manifest with the same API key, and must not
/// adopt each other's batches.
fn identity(disk: &Disk, folder: &Path, rng: &Rng) -> anyhow::Result<String> {
    let path = folder.join(IDENTITY);
    match fs::read_to_string(&path) {
        Ok(name) => Ok(name.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = format!("local-{}", &rng.id()[..16]);
            disk.replace(&path, name.as_bytes())
                .with_context(|| format!("can't write {}", path.display()))?;
            Ok(name)
        }
        Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
    }
}

/// Synchronizes `root` and the folders above it to the disk. A folder that this user may not read
/// existed before, so it is skipped.
fn sync_folders(disk: &Disk, root: &Path) -> anyhow::Result<()> {
    disk.sync_folder(root)?;
    for above in fs::canonicalize(root)?.ancestors().skip(1) {
        if let Err(error) = disk.sync_folder(above)
            && error.kind() != io::ErrorKind::PermissionDenied
        {
            return Err(error)
                .with_context(|| format!("can't synchronize the folder {}", above.display()));
        }
    }
    Ok(())
}

/// Locks the folder for this process. Two processes would not see each other's messages.
///
/// # Errors
/// If another process has locked it.
pub(crate) fn lock(folder: &Path) -> anyhow::Result<File> {
    let file = File::create(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            anyhow::bail!(
                "another process is using {}: wait for it, or choose another --out",
                folder.display()
            )
        }
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}
