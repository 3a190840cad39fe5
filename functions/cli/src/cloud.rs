//! Everything the chain needs, on one machine: the stand-ins for AWS, and each function's clients
//! to them.

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
    job::JobSettings,
    ledger::ProjectLimits,
    models::{Catalog, Tier},
    object_keys,
    settings::{CollectLimits, PollBackoff},
    state::QUIET_PERIOD,
};
use disk::Disk;
use gemini::Gemini;
use jiff::SignedDuration;
use plan::web::Web;
use runtime::{
    aws,
    bucket::Bucket,
    metrics::Metrics,
    settings::StackSettings,
    wiring::{HostParts, Wiring, WiringError},
};
use seam::{proxies::Proxies, rng::Rng, transport::Transport};

use crate::{controls, time::Time};

/// The local bucket.
pub const BUCKET: &str = "darkroom";

/// The folder below the root that people need not look into.
pub const INTERNAL: &str = ".darkroom";

/// The file that has the folder's own name, in the internal folder.
const IDENTITY: &str = "identity";

/// The stand-ins in one folder, and the functions' clients.
#[derive(Debug)]
pub struct Cloud {
    root: PathBuf,
    /// The time of everything here.
    pub time: Time,
    /// The queues, as AWS sees them.
    pub queues: Arc<Queues>,
    /// The bucket, as its users see it.
    pub bucket: Bucket,
    /// What the functions work with.
    pub deps: Deps,
    /// How often the host sweeps, if ever.
    pub sweep_every: Option<SignedDuration>,
    /// S3 and SQS, for whoever else wants to call them.
    pub wire: InProcess,
    /// Held while this process uses the folder.
    _lock: File,
}

/// What each function works with.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Of `plan`.
    pub plan: plan::deps::Deps,
    /// Of `submit`.
    pub submit: submit::deps::Deps,
    /// Of `poll`.
    pub poll: poll::deps::Deps,
    /// Of `collect`.
    pub collect: collect::deps::Deps,
    /// Of `report`.
    pub report: report::deps::Deps,
    /// Of `control`.
    pub control: control::deps::Deps,
    /// Of `sweep`.
    pub sweep: sweep::deps::Deps,
}

/// What a local cloud is made with.
#[derive(Clone, Debug)]
pub struct CloudConfig {
    /// The settings of every job.
    pub settings: JobSettings,
    /// How fast images are collected, and how often progress is written down.
    pub pace: CollectLimits,
    /// How often batches are asked about.
    pub waits: PollBackoff,
    /// What the Gemini project allows.
    pub limits: ProjectLimits,
    /// The project's tier.
    pub tier: Tier,
    /// How long nobody looks for a batch whose create call went unanswered.
    pub quiet: SignedDuration,
    /// How often the host sweeps, if ever.
    pub sweep_every: Option<SignedDuration>,
    /// Where references by web address are fetched from.
    pub web: Web,
    /// Write ids and jitter.
    pub rng: Rng,
    /// What an operator watches.
    pub metrics: Metrics,
    /// What requests to S3 and SQS are signed with. None: random ones, which
    /// only this process knows.
    pub credentials: Option<Credentials>,
    /// How far what is written survives. With the real Gemini it must be durable: a state that is
    /// lost with the power buys a second batch.
    pub disk: Disk,
}

impl Default for CloudConfig {
    fn default() -> Self {
        Self {
            settings: JobSettings::default(),
            pace: CollectLimits::default(),
            waits: PollBackoff::default(),
            limits: ProjectLimits {
                live_batches: 100,
                enqueued_tokens: Catalog::built_in().enqueued_tokens(Tier::default()),
                daily_usd: None,
            },
            tier: Tier::default(),
            quiet: QUIET_PERIOD,
            sweep_every: Some(SWEEP_EVERY),
            web: Web::over_https(Proxies::default()),
            rng: Rng::system(),
            metrics: Metrics::none(),
            credentials: None,
            disk: Disk::fast(),
        }
    }
}

impl Cloud {
    /// Opens the stand-ins below `root`, which is made when it is missing, with `gemini` behind
    /// them.
    ///
    /// # Errors
    /// When the folder can't be used, or another process uses it.
    pub fn open(
        root: &Path,
        time: Time,
        gemini: Gemini,
        setup: CloudConfig,
    ) -> anyhow::Result<Self> {
        let wrap = |transport| transport;
        Self::open_with(root, time, gemini, setup, wrap)
    }

    /// As [`Cloud::open`], with `wrap` around what answers for S3 and SQS: to watch, or to
    /// interfere.
    ///
    /// # Errors
    /// As [`Cloud::open`].
    pub fn open_with(
        root: &Path,
        time: Time,
        gemini: Gemini,
        setup: CloudConfig,
        wrap: impl FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport>,
    ) -> anyhow::Result<Self> {
        let internal = root.join(INTERNAL);
        fs::create_dir_all(&internal)
            .with_context(|| format!("can't make the folder {}", internal.display()))?;
        let lock = lock(&internal)?;
        let stack = identity(&setup.disk, &internal, &setup.rng)?;
        let clock = time.clock();
        let disk = setup.disk.clone();
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
        let rule = |prefix: &str, queue: &str| NotificationRule {
            bucket: BUCKET.to_owned(),
            events: "s3:ObjectCreated:*".to_owned(),
            prefix: prefix.to_owned(),
            suffix: String::new(),
            queue: queue.to_owned(),
        };
        let rules = vec![rule("inbox/", MANIFESTS), rule("control/", CONTROLS)];
        let credentials = setup
            .credentials
            .clone()
            .map_or_else(Credentials::random, Ok)?;
        let sink = to_queues(Arc::clone(&queues));
        let buckets =
            Buckets::open_on(disk.clone(), root, clock.clone(), rules, sink, &credentials)?;
        buckets.create(BUCKET)?;
        sync_folders(&disk, root)?;
        let api = Arc::new(QueueApi::new(Arc::clone(&queues)));
        let wire = InProcess::new(
            wrap(Arc::new(Router::new(Arc::new(buckets), api))),
            credentials,
        );
        let s3 = aws_sdk_s3::Client::from_conf(aws::s3_settings(wire.s3_config()).build());
        let sqs = aws_sdk_sqs::Client::from_conf(wire.sqs_config().build());
        let bucket = Bucket::new(s3, BUCKET);
        let sweep_every = setup.sweep_every;
        let wiring = Wiring::on_host(HostParts {
            bucket: bucket.clone(),
            sqs,
            queue_url_prefix: format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/"),
            gemini,
            clock,
            rng: setup.rng,
            metrics: setup.metrics,
            catalog: Arc::new(Catalog::built_in()),
            settings: StackSettings {
                stack,
                job: setup.settings,
                project: setup.limits,
                tier: setup.tier,
                quiet_period: setup.quiet,
                poll_backoff: setup.waits,
                collect_limits: setup.pace,
            },
        });
        let deps = Deps::new(&wiring, setup.web)?;
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

    /// Whether a job is not closed.
    pub fn has_open_jobs(&self) -> bool {
        fs::read_dir(self.path_of(object_keys::OPEN_JOBS))
            .is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Drops in the bucket what people have said about jobs at the terminal.
    ///
    /// # Errors
    /// When it can't be read or dropped; it is dropped the next time.
    pub(crate) async fn forward_controls(&self) -> anyhow::Result<()> {
        controls::forward_all(&self.root.join(INTERNAL), &self.bucket).await
    }

    /// Where an object lies as a file, for people to open.
    pub fn path_of(&self, key: &str) -> PathBuf {
        self.root.join(BUCKET).join(key)
    }
}

/// The settings of a queue of the chain.
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
    fn new(wiring: &Wiring, web: Web) -> Result<Self, WiringError> {
        Ok(Self {
            plan: plan::deps::Deps {
                web,
                ..plan::deps::Deps::new(wiring)?
            },
            submit: submit::deps::Deps::new(wiring)?,
            poll: poll::deps::Deps::new(wiring)?,
            collect: collect::deps::Deps::new(wiring)?,
            report: report::deps::Deps::new(wiring)?,
            control: control::deps::Deps::new(wiring)?,
            sweep: sweep::deps::Deps::new(wiring)?,
        })
    }
}

/// The name that begins the display names of batches made from this folder: `local-<16 hex
/// digits>`, drawn once. Two folders may run the same manifest with the same API key, and must not
/// take each other's batches for their own.
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

/// Has the folders that were made for `root` reach the disk. A folder above it that this user may
/// not read was there before, and is left alone.
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

/// One process at a time: two would not see each other's messages.
fn lock(folder: &Path) -> anyhow::Result<File> {
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
