//! Which stored templates a manifest names.

use std::{collections::BTreeSet, io};

use jiff::civil::Date;

use super::{Beside, Context, Copies, Header, Limits, ReadError, read};
use crate::{job::Settings, models::Catalog, plan::BatchBounds};

/// The stored templates that a manifest names anywhere, of those that are in `beside`. They are
/// part of the job's identity, so this depends on nothing that a deployment decides: all that may
/// be allowed is allowed.
///
/// # Errors
/// [`ReadError::Source`] when a source fails.
pub fn used_templates(
    for_header: impl io::Read,
    for_items: impl io::Read,
    bucket: &str,
    beside: &Beside,
) -> Result<BTreeSet<String>, ReadError> {
    let (catalog, copies) = (Catalog::built_in(), Copies::new());
    let context = Context {
        bucket,
        catalog: &catalog,
        default_model: &Settings::default().default_model,
        on: Date::MIN,
        allow_retired_models: true,
        beside,
        allow_unknown_models: true,
        copies: Some(&copies),
        bounds: BatchBounds::none(),
        limits: Limits::default(),
    };
    let header = Header::read(for_header, &context)?;
    Ok(read(for_items, &header, &context, |_| Ok(()))?.templates)
}
