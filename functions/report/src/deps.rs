//! What `report` depends on.

use std::sync::Arc;

use darkroom::{
    chain::{CONTROLS, REPORTS, THUMBNAILS},
    image_url::ImageBaseUrl,
    models::Catalog,
};
use runtime::{
    announcer::Announcer,
    bucket::Bucket,
    catalog_store::CatalogStore,
    lazy::Lazy,
    metrics::Metrics,
    queue::Queue,
    shard_store::ShardStore,
    wiring::{Wiring, WiringError},
};
use seam::clock::Clock;

/// What `report` depends on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Plans, chunks and reports.
    pub bucket: Bucket,
    /// Shard states.
    pub states: ShardStore,
    /// The queue that triggers `report`.
    pub reports: Queue,
    /// The queue that triggers `control`, which releases shards once the proof has succeeded.
    pub controls: Queue,
    /// The queue that triggers `thumbs`.
    pub thumbnails: Queue,
    /// Announces events to `notify`.
    pub announcer: Announcer,
    /// The time.
    pub clock: Clock,
    /// Models and prices: the built-in catalog, and when a job is closed, the catalog that it was
    /// planned with.
    pub catalog: Lazy<Arc<Catalog>>,
    /// The catalogs that jobs were planned with.
    pub catalogs: CatalogStore,
    /// Where the objects of the bucket are served on the web, if they are.
    pub image_base_url: Option<ImageBaseUrl>,
    /// The metrics that an operator watches.
    pub metrics: Metrics,
}

impl Deps {
    /// Builds what `report` depends on.
    ///
    /// # Errors
    /// [`WiringError`] when a variable is missing or can't be used.
    pub fn new(wiring: &Wiring) -> Result<Self, WiringError> {
        Ok(Self {
            bucket: wiring.bucket.clone(),
            states: wiring.shard_store(),
            reports: wiring.queue(REPORTS)?,
            controls: wiring.queue(CONTROLS)?,
            thumbnails: wiring.queue(THUMBNAILS)?,
            announcer: wiring.announcer()?,
            clock: wiring.clock.clone(),
            catalog: wiring.catalog.clone(),
            catalogs: wiring.catalog_store(),
            image_base_url: wiring.settings.image_base_url.clone(),
            metrics: wiring.metrics.clone(),
        })
    }
}
