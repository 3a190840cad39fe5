//! The first data element of the page: what applies to the whole job.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;
use serde_json::Map;

use crate::{
    lane::Lane,
    models::{Catalog, Model},
    names::{JobId, ObjectUri},
    object_keys,
    status::{JobPhase, JobStatus},
};

/// What applies to the whole job.
///
/// ```json
/// {"v":1,"job":"catalog-…","manifest":"s3://…","phase":"succeeded","updated":"2026-11-27T09:00:00Z","images":27,
///  "closed":true,"variables":["color"],"models":[{"id":"gemini-…","name":"nano-banana-2",…}]}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Head {
    /// The version of the page's data, 1.
    pub v: u32,
    /// The job.
    pub job: JobId,
    /// The manifest of the job.
    pub manifest: ObjectUri,
    /// The phase of the job.
    pub phase: JobPhase,
    /// When the shown state was recorded. It is not the time at which the page was written, so
    /// writing the same state again gives the same bytes.
    pub updated: Timestamp,
    /// The number of expected images.
    pub images: u64,
    /// Whether the job has ended.
    pub closed: bool,
    /// The names of the variables, in the order in which each row has their values.
    pub variables: Vec<String>,
    /// The models that the job uses, and those that its picks can be promoted to.
    pub models: Vec<HeadModel>,
    /// The job's folder as a key that ends in `/`.
    #[serde(skip)]
    pub(super) folder: String,
}

/// A model, with what a manifest and its price depend on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadModel {
    /// The full id.
    pub id: String,
    /// The name of the family, or the id if the catalog lacks the model.
    pub name: String,
    /// The maximum number of reference images in one request.
    pub references: usize,
    /// The lanes that the model has.
    pub lanes: Vec<Lane>,
    /// The list price of one image in millionths of a dollar, by lane and size.
    pub prices: BTreeMap<Lane, Map<String, serde_json::Value>>,
}

impl Head {
    /// Returns what a page shows about a job in this status. `variables` are the names of its
    /// variables, and `catalog` is the catalog that it was planned with.
    pub fn of(status: &JobStatus, variables: Vec<String>, catalog: &Catalog) -> Self {
        let shares = status.plan.iter().flat_map(|plan| &plan.models);
        let used: BTreeSet<&str> = shares.map(|share| share.model.as_str()).collect();
        // All pages of a job list the same models, whenever they are written.
        let plan = status.plan.as_ref();
        let planned = plan.map_or(status.updated_at, |plan| plan.planned_at);
        let day = planned.to_zoned(TimeZone::UTC).date();
        let listed = catalog.models().iter();
        let listed = listed.filter(|model| is_live(model, day) || used.contains(model.id.as_str()));
        let unknown = used.iter().filter(|id| catalog.model(id).is_none());
        Self {
            v: 1,
            job: status.job.clone(),
            manifest: status.manifest.clone(),
            phase: status.phase,
            updated: status.updated_at,
            images: plan.map_or(0, |plan| plan.images),
            closed: status.phase.is_terminal(),
            variables,
            models: listed
                .map(HeadModel::of)
                .chain(unknown.map(|id| HeadModel::unknown(id)))
                .collect(),
            folder: object_keys::document(&status.job, ""),
        }
    }

    /// Returns the position of a model, by its full id.
    pub(super) fn model(&self, id: &str) -> Option<usize> {
        self.models.iter().position(|model| model.id == id)
    }
}

fn is_live(model: &Model, day: Date) -> bool {
    model.available <= day && !model.retired(day)
}

impl HeadModel {
    fn of(model: &Model) -> Self {
        let mut prices = BTreeMap::new();
        for lane in Lane::ALL {
            let Some(rates) = model.rates(lane) else {
                continue;
            };
            // Google publishes the prices of an image for two lanes only.
            let of_size = |size: &crate::models::Size| match lane {
                Lane::Batch => size.batch,
                Lane::Flex => rates.image.per_million(size.tokens),
                Lane::Interactive => size.standard,
            };
            let sizes = model.sizes.iter();
            let prices_of_lane =
                sizes.map(|size| (size.name.clone(), of_size(size).micros().into()));
            prices.insert(lane, prices_of_lane.collect());
        }
        Self {
            id: model.id.clone(),
            name: model.family.clone(),
            references: model.max_references,
            lanes: prices.keys().copied().collect(),
            prices,
        }
    }

    /// A model that the catalog lacks. Its prices are unknown.
    fn unknown(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: id.to_owned(),
            references: 0,
            lanes: Vec::new(),
            prices: BTreeMap::new(),
        }
    }
}
