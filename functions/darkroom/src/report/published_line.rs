//! One line of `results.jsonl`. Every line of a job has the same members in the same order, so that
//! programs can infer the schema from the first lines.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::ResultForm;
use crate::{
    cost::Usage,
    lane::Lane,
    money::Usd,
    names::{BatchName, RequestKey, ShardId},
    plan::PlanLine,
    results::{Reason, ResultLine, Status, StoredImage},
};

/// A result line in its published form. An unknown or empty member is `null`; an empty list is
/// `[]`.
#[derive(Serialize)]
pub(super) struct PublishedLine<'a> {
    key: &'a RequestKey,
    #[serde(flatten)]
    custom_keys: CustomKeys<'a>,
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
        // All members are listed, so that a new member of the line must be published or omitted
        // deliberately.
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
            custom_keys: CustomKeys { plan, form },
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
            // BigQuery and Parquet can't create a column for an object without members.
            vars: has_variables.then_some(Variables { line, form }),
            usage: *usage,
            cost_usd: *cost_usd,
            error: error.as_ref(),
            warnings,
        }
    }
}

/// The item's key under the manifest's name for it, such as `"custom_id": "a-1"`. If the items of a
/// job use several names, every line has all of them.
struct CustomKeys<'a> {
    plan: &'a PlanLine,
    form: &'a ResultForm,
}

impl Serialize for CustomKeys<'_> {
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

/// The variables of the job, each with its value in this line. They are followed by variables of
/// the line that are missing in the job's list, because there is no list or the list was full.
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
