//! Creating a batch: its input is read and its course decided before it is added to the store.

use std::{fs, io, path::Path, sync::Arc};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    batch::{
        Batch,
        bad_lines::SeenKeys,
        input::{Input, InputReader, write_inline},
        store::Batches,
    },
    files::Files,
    generation::{generate_request::file_id, models::Model},
    request_log::RequestLog,
    scenario::Scenario,
    wire::reply::ApiError,
};

/// The content of a create call.
pub(crate) struct CreateRequest {
    model: &'static Model,
    display_name: String,
    priority: i64,
    input: Input,
    inline_requests: Vec<Value>,
}

/// What is needed to create a batch. Reading the input takes a while, so this runs on a blocking
/// thread.
pub(crate) struct Creation {
    pub(crate) files: Arc<Files>,
    pub(crate) batches: Arc<Batches>,
    pub(crate) seen: Arc<SeenKeys>,
    pub(crate) log: Arc<RequestLog>,
    pub(crate) scenario: Scenario,
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) now: Timestamp,
}

impl CreateRequest {
    /// Reads a `BatchGenerateContentRequest` whose field names are already validated.
    ///
    /// # Errors
    /// 400 when it has no display name, or not exactly one input.
    pub(crate) fn read(mut body: Value, model: &'static Model) -> Result<Self, ApiError> {
        // A display name is required.
        let batch = &mut body["batch"];
        let display_name = batch["displayName"].as_str().unwrap_or_default().to_owned();
        if display_name.is_empty() {
            return Err(missing("display_name"));
        }

        // The input is either an uploaded file or inline requests.
        let config = &mut batch["inputConfig"];
        let file = config["fileName"]
            .as_str()
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        let (input, inline_requests) = match (file, config["requests"]["requests"].take()) {
            (Some(name), Value::Null) if name.starts_with("files/") => (
                Input::File(file_id(&name).map_err(ApiError::invalid)?.to_owned()),
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

    /// Returns the batch's display name.
    pub(crate) fn display_name(&self) -> &str {
        &self.display_name
    }
}

impl Creation {
    /// Creates the batch and returns its first `Operation`.
    ///
    /// # Errors
    /// 400 for bad lines, 403 for a missing input file, 429 when too many batches or tokens are
    /// live.
    pub(crate) fn create(&self, request: CreateRequest) -> Result<Value, ApiError> {
        let model = request.model;
        let created = self.try_create(request);
        if created.is_err() {
            self.batches.discard(&self.id);
        }

        // Only the requests of created batches are logged, so the input is read again.
        if created.is_ok() && self.scenario.log_batch_lines {
            self.log
                .append_batch(&self.batches.input(&self.id), model.id, self.now)?;
        }
        created
    }

    fn try_create(&self, request: CreateRequest) -> Result<Value, ApiError> {
        // The batch needs its own copy of the input, because files expire.
        let path = self.batches.input(&self.id);
        match &request.input {
            Input::File(file) => link_or_copy(
                &self.files.content(&self.files.find(file, self.now)?.id),
                &path,
            )?,
            Input::Inline => write_inline(&path, &request.inline_requests)?,
        }

        // Every line is validated before anything else is decided.
        let reader = InputReader {
            input: &request.input,
            model: request.model,
        };
        let find = |ids: &[&str]| self.files.references(ids.iter().copied(), self.now);
        let examined = reader.examine(&path, &self.id, &self.scenario, &self.seen, |request| {
            find(&request.uploaded().collect::<Vec<_>>())
        })?;
        self.batches.write_rows(&self.id, &examined.rows)?;

        // The store decides the ordinal, on which rules about batches depend.
        let schedule = self.scenario.schedule(&self.id, self.now);
        let batch = self.batches.add(self.now, &self.scenario, |ordinal| {
            // The file may have been deleted while it was being read.
            if let Input::File(file) = &request.input {
                self.files.find(file, self.now)?;
            }
            Ok(Batch {
                id: self.id.clone(),
                number: self.number,
                model: request.model.id.to_owned(),
                display_name: request.display_name,
                priority: request.priority,
                input: request.input,
                seed: self.scenario.seed,
                created: self.now,
                starts: schedule.starts,
                ends: schedule.ends,
                listed: self.scenario.listed(&self.id, self.now),
                outcome: self.scenario.batch_outcome(&self.id, ordinal),
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

/// Links the content to the batch, so that the batch keeps it after the file is deleted. Copies it
/// if the file system has no hard links.
fn link_or_copy(content: &Path, input: &Path) -> io::Result<()> {
    fs::hard_link(content, input).or_else(|_| fs::copy(content, input).map(drop))
}

fn missing(member: &str) -> ApiError {
    ApiError::invalid(format!(
        "* BatchGenerateContentRequest.batch.{member}: {member} is not specified"
    ))
}
