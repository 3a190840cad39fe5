//! How a batch comes to be: its input is read, its fate decided, and then it is there.

use std::{fs, io, path::Path, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    batch::{
        Batch,
        bad_lines::SeenKeys,
        input::{Input, Reader, write_inline},
        store::Batches,
    },
    files::Files,
    generation::{generate_request::file_id, models::Model},
    scenario::Scenario,
    wire::reply::Refused,
};

/// A batch somebody wants, read from the create call.
pub(crate) struct Wish {
    model: &'static Model,
    display_name: String,
    priority: i64,
    input: Input,
    inline_requests: Vec<Value>,
}

/// Where a wish comes true. Reading the input takes time: this belongs on a blocking thread.
pub(crate) struct Creation {
    pub(crate) files: Arc<Files>,
    pub(crate) batches: Arc<Batches>,
    pub(crate) seen: Arc<SeenKeys>,
    pub(crate) scenario: Scenario,
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) now: Timestamp,
}

impl Wish {
    /// Reads a `BatchGenerateContentRequest` whose names are known to be right.
    ///
    /// # Errors
    /// 400 when it has no display name, or not exactly one input.
    pub(crate) fn read(mut body: Value, model: &'static Model) -> Result<Self, Refused> {
        let batch = &mut body["batch"];
        let display_name = batch["displayName"].as_str().unwrap_or_default().to_owned();
        if display_name.is_empty() {
            return Err(missing("display_name"));
        }
        let config = &mut batch["inputConfig"];
        let file = config["fileName"]
            .as_str()
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        let (input, inline_requests) = match (file, config["requests"]["requests"].take()) {
            (Some(name), Value::Null) if name.starts_with("files/") => (
                Input::File(file_id(&name).map_err(Refused::invalid)?.to_owned()),
                Vec::new(),
            ),
            (None, Value::Array(requests)) => (Input::Inline, requests),
            _ => return Err(missing("input_config")),
        };
        let priority = batch["priority"].as_i64().unwrap_or(0);
        Ok(Self {
            model,
            display_name,
            priority,
            input,
            inline_requests,
        })
    }

    /// The batch's display name.
    pub(crate) fn display_name(&self) -> &str {
        &self.display_name
    }
}

impl Creation {
    /// Makes the batch and answers with its first `Operation`.
    ///
    /// # Errors
    /// 400 for bad lines, 403 for an input file that is not there, 429 when too much is live.
    pub(crate) fn make(&self, wish: Wish) -> Result<Value, Refused> {
        let made = self.try_make(wish);
        if made.is_err() {
            self.batches.discard(&self.id);
        }
        made
    }

    fn try_make(&self, wish: Wish) -> Result<Value, Refused> {
        let path = self.batches.input(&self.id);
        match &wish.input {
            Input::File(file) => keep(
                &self.files.content(&self.files.find(file, self.now)?.id),
                &path,
            )?,
            Input::Inline => write_inline(&path, &wish.inline_requests)?,
        }
        let reader = Reader {
            input: &wish.input,
            model: wish.model,
        };
        let find = |ids: &[&str]| self.files.references(ids.iter().copied(), self.now);
        let examined = reader.examine(&path, &self.id, &self.scenario, &self.seen, |ask| {
            find(&ask.uploaded().collect::<Vec<_>>())
        })?;
        self.batches.write_rows(&self.id, &examined.rows)?;
        let schedule = self.scenario.schedule(&self.id, self.now);
        let batch = self.batches.add(self.now, &self.scenario, |ordinal| {
            // It may have been deleted while it was read.
            if let Input::File(file) = &wish.input {
                self.files.find(file, self.now)?;
            }
            Ok(Batch {
                id: self.id.clone(),
                number: self.number,
                model: wish.model.id.to_owned(),
                display_name: wish.display_name,
                priority: wish.priority,
                input: wish.input,
                seed: self.scenario.seed,
                created: self.now,
                starts: schedule.starts,
                ends: schedule.ends,
                listed: self.scenario.listed(&self.id, self.now),
                fate: self.scenario.batch_fate(&self.id, ordinal),
                delivery: self.scenario.delivery(&self.id, ordinal),
                succeeds_when_cancelled: self.scenario.succeeds_when_cancelled(&self.id),
                cancelled: None,
                input_deleted: None,
                deleted: None,
                request_count: examined.rows.len(),
                input_tokens: examined.input_tokens,
                failed: Batch::failed_places(&examined.rows),
                references: examined.references,
            })
        })?;
        Ok(batch.operation(self.now, None))
    }
}

/// Gives the bytes a second name, so that the end of the file does not take them from the batch; or
/// copies them where the file system has no second names.
fn keep(content: &Path, input: &Path) -> io::Result<()> {
    fs::hard_link(content, input).or_else(|_| fs::copy(content, input).map(drop))
}

fn missing(member: &str) -> Refused {
    Refused::invalid(format!(
        "* BatchGenerateContentRequest.batch.{member}: {member} is not specified"
    ))
}
