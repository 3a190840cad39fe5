//! What `plan` depends on.

use std::sync::Arc;

use darkroom::{
    chain::{GENERATIONS, MANIFESTS, SHARDS},
    job::JobSettings,
    ledger::ProjectLimits,
    manifest::Limits,
    models::{Catalog, Tier},
};
use runtime::{
    announcer::Announcer,
    bucket::Bucket,
    catalog_store::CatalogStore,
    folder_store::FolderStore,
    lazy::Lazy,
    queue::Queue,
    shard_store::ShardStore,
    wiring::{Wiring, WiringError},
};
use seam::clock::Clock;

use crate::web::Web;

/// What `plan` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Manifests, references and jobs.
    pub bucket: Bucket,
    /// Shard states.
    pub states: ShardStore,
    /// The queue that triggers `plan`.
    pub manifests: Queue,
    /// The queue that planned shards are sent to.
    pub shards: Queue,
    /// The queue that shards of a synchronous lane are sent to.
    pub generations: Queue,
    /// Announces events to `notify`.
    pub announcer: Announcer,
    /// The time.
    pub clock: Clock,
    /// Models and prices: at first the built-in catalog, and once the job is known, the catalog that
    /// it is planned with.
    pub catalog: Lazy<Arc<Catalog>>,
    /// The limits of the Gemini project, which bound the size of a shard.
    pub project: Lazy<ProjectLimits>,
    /// The project's tier, from which the token limits of other catalogs follow.
    pub tier: Tier,
    /// The catalogs of the deployment and of its jobs.
    pub catalogs: CatalogStore,
    /// The folders of tenants.
    pub folders: FolderStore,
    /// The settings of every job.
    pub settings: JobSettings,
    /// The bounds of a manifest.
    pub limits: Limits,
    /// Fetches references that are web addresses.
    pub web: Web,
}

impl Deps {
    /// Builds what `plan` depends on.
    ///
    /// # Errors
    /// [`WiringError`] when a variable is missing or can't be used.
    pub fn new(wiring: &Wiring) -> Result<Self, WiringError> {
        Ok(Self {
            bucket: wiring.bucket.clone(),
            states: wiring.shard_store(),
            manifests: wiring.queue(MANIFESTS)?,
            shards: wiring.queue(SHARDS)?,
            generations: wiring.queue(GENERATIONS)?,
            announcer: wiring.announcer()?,
            clock: wiring.clock.clone(),
            catalog: wiring.catalog.clone(),
            project: wiring.settings.project.clone(),
            tier: wiring.settings.tier,
            catalogs: wiring.catalog_store(),
            folders: wiring.folder_store(),
            settings: wiring.settings.job.clone(),
            limits: Limits::default(),
            web: Web::over_https(wiring.proxies()?),
        })
    }
}
