//! The first reading of a manifest: all its problems, before anything is written.

use darkroom::{
    manifest::{self, Beside, Context, Copies, Header, Limits, Reading},
    models::Catalogue,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{
    drop::Dropped,
    handler::{Deps, PlanError},
    references::{self, Used},
};

/// What the first reading found.
#[derive(Debug)]
pub(crate) struct Checked {
    /// What holds for the whole manifest.
    pub(crate) header: Header,
    /// Problems, counts and costs.
    pub(crate) reading: Reading,
    /// Where references by web address were copied to.
    pub(crate) copies: Copies,
}

/// Owned, so that a blocking thread can have it.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    bucket: String,
    catalogue: std::sync::Arc<Catalogue>,
    default_model: String,
    on: Date,
    allow_retired_models: bool,
    beside: Beside,
    allow_unknown_models: bool,
    copies: Option<Copies>,
    limits: Limits,
}

impl Setting {
    /// What manifests are read with on the day of `planned_at`, with what stands beside this one, once its references were
    /// copied.
    pub(crate) fn new(deps: &Deps, planned_at: Timestamp, beside: &Beside, copies: Copies) -> Self {
        Self {
            bucket: deps.bucket.name().to_owned(),
            catalogue: deps.catalogue.clone(),
            default_model: deps.settings.default_model.clone(),
            on: planned_at.to_zoned(TimeZone::UTC).date(),
            allow_retired_models: deps.settings.allow_retired_models,
            beside: beside.clone(),
            allow_unknown_models: deps.settings.allow_unknown_models,
            copies: deps.settings.https_references.are_allowed().then_some(copies),
            limits: deps.limits,
        }
    }

    /// The same, as the library takes it.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            bucket: &self.bucket,
            catalogue: &self.catalogue,
            default_model: &self.default_model,
            on: self.on,
            allow_retired_models: self.allow_retired_models,
            beside: &self.beside,
            allow_unknown_models: self.allow_unknown_models,
            copies: self.copies.as_ref(),
            limits: self.limits,
        }
    }
}

/// Reads the manifest, and looks at every reference picture it names.
pub(crate) async fn check(deps: &Deps, dropped: &Dropped, planned_at: Timestamp) -> Result<Checked, PlanError> {
    let setting = Setting::new(deps, planned_at, &dropped.beside, Copies::new());
    let for_header = dropped.reader(deps).await?;
    let for_items = dropped.reader(deps).await?;
    let (mut checked, used) = tokio::task::spawn_blocking(move || {
        let context = setting.context();
        let header = Header::read(for_header, &context)?;
        let mut used = Used::default();
        let reading = manifest::read(for_items, &header, &context, |expected| {
            used.note(&expected);
            Ok(())
        })?;
        Ok::<_, PlanError>((Checked { header, reading, copies: Copies::new() }, used))
    })
    .await??;
    let (problems, copies) = references::check(deps, &dropped.job, used).await?;
    checked.copies = copies;
    checked.reading.errors += problems.len() as u64;
    checked.reading.problems.extend(problems);
    checked.reading.problems.sort_by_key(|problem| problem.line);
    Ok(checked)
}
