//! One line of `results.jsonl`: every line of a job has the same members in the same order, so that
//! programs which look at the first lines only know what to expect of all of them.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::ResultForm;
use crate::{
    cost::Usage,
    money::Usd,
    names::{BatchName, RequestKey, ShardId},
    plan::PlanLine,
    results::{Lane, Reason, ResultLine, Status, StoredImage},
};

/// A result line in its published form. What is unknown or empty is `null`; only a list without
/// elements is `[]`.
#[derive(Serialize)]
pub(super) struct PublishedLine<'a> {
    key: &'a RequestKey,
    #[serde(flatten)]
    own_keys: OwnKeys<'a>,
    variant: Option<u32>,
    line: Option<u64>,
    status: Status,
    image: Option<&'a StoredImage>,
    extras: &'a [StoredImage],
    model: Option<&'a str>,
    model_version: Option<&'a str>,
    response_id: Option<&'a str>,
    finish_reason: Option<&'a str>,
    lane: Option<Lane>,
    batch_name: Option<&'a BatchName>,
    shard: Option<ShardId>,
    attempts: Option<u32>,
    prompt: Option<&'a str>,
    vars: Option<Variables<'a>>,
    usage: Option<Usage>,
    cost_usd: Option<Usd>,
    error: Option<&'a Reason>,
    warnings: &'a [String],
}

impl<'a> PublishedLine<'a> {
    pub(super) fn new(plan: &'a PlanLine, line: &'a ResultLine, form: &'a ResultForm) -> Self {
        // All members by name: one that is added to the line has to be published, or left out on
        // purpose.
        let ResultLine {
            key,
            variant,
            line: manifest_line,
            status,
            image,
            extras,
            model,
            model_version,
            response_id,
            finish_reason,
            lane,
            batch_name,
            shard,
            attempts,
            prompt,
            vars,
            usage,
            cost_usd,
            error,
            warnings,
        } = line;
        let has_variables = !form.names.variables.is_empty() || !vars.is_empty();
        Self {
            key,
            own_keys: OwnKeys { plan, form },
            variant: *variant,
            line: *manifest_line,
            status: *status,
            image: image.as_ref(),
            extras,
            model: model.as_deref(),
            model_version: model_version.as_deref(),
            response_id: response_id.as_deref(),
            finish_reason: finish_reason.as_deref(),
            lane: *lane,
            batch_name: batch_name.as_ref(),
            shard: *shard,
            attempts: *attempts,
            prompt: prompt.as_deref(),
            // Of an object without members BigQuery and Parquet can't make a column.
            vars: has_variables.then_some(Variables { line, form }),
            usage: *usage,
            cost_usd: *cost_usd,
            error: error.as_ref(),
            warnings,
        }
    }
}

/// The item's key under the caller's name for it: `"custom_id": "a-1"`. Where the items of a job
/// use several names, a line has all of them.
struct OwnKeys<'a> {
    plan: &'a PlanLine,
    form: &'a ResultForm,
}

impl Serialize for OwnKeys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (own, listed) = (self.plan.key_name.as_ref(), &self.form.names.keys);
        let mut map = serializer.serialize_map(None)?;
        for name in listed {
            map.serialize_entry(name, &(own == Some(name)).then_some(&self.plan.item))?;
        }
        if let Some(name) = own.filter(|name| !listed.contains(*name)) {
            map.serialize_entry(name, &self.plan.item)?;
        }
        map.end()
    }
}

/// The variables of the job, each with its value in this line. Those of the line that the job's
/// list doesn't have, as it has no list or a full one, follow.
struct Variables<'a> {
    line: &'a ResultLine,
    form: &'a ResultForm,
}

impl Serialize for Variables<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = &self.line.vars;
        let mut map = serializer.serialize_map(None)?;
        for name in &self.form.names.variables {
            map.serialize_entry(name, &values.get(name))?;
        }
        for (name, value) in values.iter().filter(|(name, _)| !self.form.is_listed(name)) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
