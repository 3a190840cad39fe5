//! The simulated service: its state, and the dispatch of calls.

use std::{io, path::Path, sync::Arc};

use disk::documents::DocumentError;
use http::{HeaderValue, Request, Response, request::Parts};
use jiff::Timestamp;
use seam::{
    clock::Clock,
    transport::{Body, BoxFuture, Transport, TransportError},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    batch::{
        Batch,
        bad_lines::SeenKeys,
        creation::{CreateRequest, Creation},
        output_file::{OutputFile, whole_lines},
        record::{Record, kept_until},
        results::Results,
        store::Batches,
    },
    counters::{BillByLane, CallNumbers, Counters, Requests},
    faults::{Fault, inject::inject},
    files::{
        Files,
        uploads::{Caller, Uploads},
        whole_upload::Protocol,
    },
    generation::models::{MODELS, Model},
    quotas::Quotas,
    request_log::RequestLog,
    scenario::{Scenario, batch_outcome::DeletingInput},
    seeded_random::SeededRandom,
    wire::{
        body::read_json,
        messages::{BATCH, CREATE_BATCH, CREATE_FILE},
        paging::Page,
        reply::{ApiError, ServeError, json_response},
        route::{Call, Route, key, origin, parameter},
    },
};
/// The maximum size of the body of a create call. Source: ai.google.dev/gemini-api/docs/batch-api,
/// read 2026-11-21.
const MAX_CREATE_BYTES: usize = 20 * 1024 * 1024;

/// The maximum size of other JSON bodies.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The maximum number of batches or models on a page.
const MAX_PAGE: usize = 1_000;

/// The simulated service. Pass it to the Gemini client as its [`Transport`].
#[derive(Debug)]
pub struct Gemini {
    pub(crate) clock: Clock,
    pub(crate) scenario: Scenario,
    pub(crate) counters: Counters,
    pub(crate) files: Arc<Files>,
    uploads: Uploads,
    pub(crate) batches: Arc<Batches>,
    seen: Arc<SeenKeys>,
    pub(crate) quotas: Quotas,
    pub(crate) log: Arc<RequestLog>,
    accepted_key: Option<HeaderValue>,
    /// Whether calls that get no answer are ended.
    hung_up: watch::Sender<bool>,
}

impl Gemini {
    /// Opens the service with its state below `folder`, which is created if it is missing. Only one
    /// process may use the folder at a time.
    ///
    /// Batches keep the outcome that was decided when they were created, whatever `scenario`
    /// specifies now.
    ///
    /// # Errors
    /// [`DocumentError`] when the folder can't be read or written, or contains something else.
    pub fn open(folder: &Path, clock: Clock, scenario: Scenario) -> Result<Self, DocumentError> {
        let files = Files::open(folder)?;
        Ok(Self {
            scenario,
            counters: Counters::open(folder, clock.now())?,
            uploads: Uploads::open(folder, &files)?,
            files: Arc::new(files),
            batches: Arc::new(Batches::open(folder)?),
            seen: Arc::new(SeenKeys::open(folder)?),
            quotas: Quotas::open(folder)?,
            log: Arc::new(RequestLog::open(folder)?),
            clock,
            accepted_key: None,
            hung_up: watch::Sender::new(false),
        })
    }

    /// Makes the service accept only this API key, the value of the header `x-goog-api-key`.
    #[must_use]
    pub fn accepting(self, key: HeaderValue) -> Self {
        Self {
            accepted_key: Some(key),
            ..self
        }
    }

    /// Ends every call that gets no answer, now and in the future, so that a shutdown does not wait
    /// for callers that have not given up yet.
    pub fn hang_up(&self) {
        self.hung_up.send_replace(true);
    }

    /// Returns the number of calls of each kind since the state folder was created.
    pub fn requests(&self) -> Requests {
        self.counters.read().requests
    }

    /// Returns the number of batches ever created, deleted ones included.
    pub fn batches_created(&self) -> usize {
        self.batches.created()
    }

    /// Returns what all requests would have cost until now, in billionths of a dollar: requests of
    /// batches when they are done, at half price, and single requests at the price of their tier.
    ///
    /// # Errors
    /// When the state folder can't be read.
    pub fn billed(&self) -> io::Result<u64> {
        Ok(self.billed_by_lane()?.nanodollars())
    }

    /// Returns [`Gemini::billed`] divided by lane.
    ///
    /// # Errors
    /// When the state folder can't be read.
    pub fn billed_by_lane(&self) -> io::Result<BillByLane> {
        let batches = self.batches.billed_nanodollars(self.clock.now())?;
        Ok(self.counters.bill_by_lane(batches))
    }

    /// Returns a record of every batch that was not deleted, in the order of creation.
    ///
    /// # Errors
    /// When an input can't be read.
    pub fn records(&self) -> io::Result<Vec<Record>> {
        self.batches
            .records(self.scenario.output_lifetime(), self.clock.now())
    }

    /// Returns the next time at which a batch changes its state or its output becomes available, if
    /// there is one.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.batches.next_event(self.clock.now())
    }

    async fn serve(
        &self,
        request: Parts,
        body: Body,
        route: Route,
        numbers: CallNumbers,
    ) -> Result<Response<Body>, ServeError> {
        // The URL of a started upload needs no key.
        if route.call != Call::ContinueUpload {
            self.check_key(&request)?;
        }
        let Route {
            call,
            ref id,
            version,
        } = route;

        // Answers depend on this in addition to the call itself.
        let caller = Caller {
            origin: origin(&request),
            version,
            number: numbers.number,
            now: self.clock.now(),
        };
        let (now, uri) = (caller.now, &request.uri);

        // Calls that do not answer with plain JSON return early.
        let answer = match call {
            Call::StartUpload => {
                let new_id = self.random("file", numbers.ordinal).id(12);
                return self.start_upload(&request, &caller, body, &new_id).await;
            }
            Call::ContinueUpload => {
                let upload_id = parameter(uri, "upload_id").unwrap_or_default();
                return self
                    .uploads
                    .continue_upload(&self.files, &caller, upload_id, &request.headers, body)
                    .await;
            }
            Call::Download => return Ok(self.download(&request, id, now).await?),
            Call::ListFiles => {
                self.files
                    .list(&Page::from_query_or(uri, 10, 100)?, &caller.origin, now)
            }
            Call::GetFile => self.files.find(id, now)?.resource(&caller.origin),
            Call::DeleteFile => self.delete_file(id, now).map(|()| json!({}))?,
            Call::CreateBatch => {
                self.create_batch(find_model(id, version, call)?, numbers.number, body, now)
                    .await?
            }
            Call::GetBatch => self.batch(id, now).await?,
            // Without a page size, the real service was seen to return an empty list.
            Call::ListBatches => Page::from_query(uri, MAX_PAGE)?
                .map_or(json!({}), |page| self.batches.list(&page, now)),
            Call::CancelBatch => self.batches.cancel(id, now).map(|()| json!({}))?,
            Call::DeleteBatch => self.batches.delete(id, now).map(|()| json!({}))?,
            Call::UpdateBatch => {
                let wanted = read_json(body, &BATCH, MAX_BODY_BYTES).await?;
                let mask = parameter(uri, "updateMask").or_else(|| parameter(uri, "update_mask"));
                self.batches
                    .update(id, mask.unwrap_or_default(), &wanted, now)?
            }
            Call::GenerateContent => {
                let generated = self
                    .generate(&route, &caller, numbers.ordinal, body)
                    .await?;
                return Ok(generated.response());
            }
            Call::StreamGenerateContent => {
                return self
                    .stream(uri, &route, &caller, numbers.ordinal, body)
                    .await;
            }
            Call::CountTokens => self.count_tokens(&route, &caller, body).await?,
            Call::ListModels => {
                let numbers = (1..=MODELS.len() as u64).rev();
                Page::from_query_or(uri, 50, MAX_PAGE)?.of(
                    "models",
                    numbers.zip(&MODELS),
                    Model::resource,
                )
            }
            Call::GetModel => find_model(id, version, call)?.resource(),
            Call::Unknown => return Err(ApiError::not_found().into()),
        };
        Ok(json_response(&answer))
    }

    fn check_key(&self, request: &Parts) -> Result<(), ApiError> {
        match (key(request), &self.accepted_key) {
            (None, _) => Err(ApiError::no_key()),
            (Some(key), Some(accepted)) if key != accepted.as_bytes() => Err(ApiError::wrong_key()),
            (Some(_), _) => Ok(()),
        }
    }

    async fn start_upload(
        &self,
        request: &Parts,
        caller: &Caller,
        body: Body,
        new_id: &str,
    ) -> Result<Response<Body>, ServeError> {
        match Protocol::of(request)? {
            Protocol::Resumable => {
                let body = read_json(body, &CREATE_FILE, MAX_BODY_BYTES).await?;
                Ok(self
                    .uploads
                    .start(&self.files, caller, &request.headers, &body, new_id)?)
            }
            whole => {
                self.uploads
                    .upload_whole(&self.files, caller, (whole, request), body, new_id)
                    .await
            }
        }
    }

    fn delete_file(&self, id: &str, now: Timestamp) -> Result<(), ApiError> {
        self.files.delete(id, now)?;
        self.uploads.forget(id);
        match self.scenario.deleting_input {
            DeletingInput::Harmless => Ok(()),
            DeletingInput::Fails => self.batches.fail_batches_with_input(id, now),
        }
    }

    async fn create_batch(
        &self,
        model: &'static Model,
        number: u64,
        body: Body,
        now: Timestamp,
    ) -> Result<Value, ServeError> {
        let body = read_json(body, &CREATE_BATCH, MAX_CREATE_BYTES).await?;
        let request = CreateRequest::read(body, model)?;

        // The name and its ordinal make the id independent of create calls for other batches and of
        // their order.
        let name = request.display_name();
        let drawn = SeededRandom::new(
            self.scenario.seed,
            &[
                "batch",
                name,
                &self.batches.next_ordinal_of(name).to_string(),
            ],
        );

        // Reading and validating the input takes a while, so it runs on a blocking thread.
        let creation = Creation {
            files: Arc::clone(&self.files),
            batches: Arc::clone(&self.batches),
            seen: Arc::clone(&self.seen),
            log: Arc::clone(&self.log),
            scenario: self.scenario.clone(),
            id: drawn.id(36),
            number,
            now,
        };
        Ok(on_blocking_thread(move || creation.create(request)).await?)
    }

    async fn batch(&self, id: &str, now: Timestamp) -> Result<Value, ApiError> {
        let batch = self.batches.find(id)?;
        if !batch.is_inline() || !batch.has_output(now) {
            return Ok(batch.operation(now, None));
        }
        let results = self.results(batch)?;
        let lines = whole_lines(&results.batch, &self.batches.rows(&results.batch, now)?);
        on_blocking_thread(move || {
            let inlined = results.inlined(&lines).map_err(|_| ApiError::internal())?;
            Ok(results.batch.operation(now, Some(inlined)))
        })
        .await
    }

    /// Returns a batch's output file. Only output files can be downloaded.
    async fn download(
        &self,
        request: &Parts,
        id: &str,
        now: Timestamp,
    ) -> Result<Response<Body>, ApiError> {
        if parameter(&request.uri, "alt") != Some("media") {
            return Err(ApiError::invalid("Download needs alt=media"));
        }
        // The id of an output file is that of its batch with a prefix.
        let Some(batch) = id.strip_prefix("batch-") else {
            self.files.find(id, now)?;
            return Err(ApiError::invalid("Only generated files can be downloaded."));
        };
        let batch = self
            .batches
            .find(batch)
            .map_err(|_| ApiError::no_file(id))?;
        // The output must be available, a file, and not expired.
        let available_from = batch
            .output_available_from(now)
            .filter(|available_from| *available_from <= now && !batch.is_inline());
        let available_from = available_from.ok_or_else(|| ApiError::no_file(id))?;
        if kept_until(available_from, self.scenario.output_lifetime()) <= now {
            return Err(ApiError::not_found());
        }

        // Ranges are honored only if the scenario enables them.
        let rows = self.batches.rows(&batch, now)?;
        let file = OutputFile::new(self.results(batch)?, &rows);
        if self.scenario.ranges {
            file.part(&request.headers)
                .await
                .map_err(|_| ApiError::internal())
        } else {
            Ok(file.whole())
        }
    }

    pub(crate) fn results(&self, batch: Batch) -> Result<Results, ApiError> {
        let model = Model::find(&batch.model).ok_or_else(ApiError::internal)?;
        Ok(Results {
            model,
            input: self.batches.input(&batch.id),
            batch,
        })
    }

    /// Derives the random value for the `ordinal`th call of a kind. It does not depend on calls of
    /// other kinds, whose number varies with the speed of the machine.
    fn random(&self, kind: &str, ordinal: u64) -> SeededRandom {
        SeededRandom::new(self.scenario.seed, &["ordinal", kind, &ordinal.to_string()])
    }
}

impl Transport for Gemini {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            // Every call is counted before a fault is chosen, because rules depend on its ordinal.
            let (request, body) = request.into_parts();
            let route = Route::of(&request);
            let Ok(numbers) = self.counters.count(route.call) else {
                return Ok(ApiError::internal().response());
            };
            // Outages take precedence over faults of single calls.
            let age = self.clock.now().duration_since(self.counters.since());
            let outage = self
                .scenario
                .outage(route.call, age.try_into().unwrap_or_default());
            let fault = outage.or_else(|| {
                self.scenario
                    .fault(route.call, numbers.number, numbers.ordinal)
            });
            // A single request that a fault refuses is logged, although it is not executed.
            if route.call.is_single_request()
                && let Some(refusal) = fault.and_then(Fault::refusal)
            {
                return answered(self.refuse_single_request(&route, body, refusal).await);
            }
            // A fault decides whether the call is executed at all.
            let serve =
                |body| async move { answered(self.serve(request, body, route, numbers).await) };
            inject(fault, body, &self.hung_up, serve).await
        })
    }
}

/// Turns a refusal into its answer.
fn answered(served: Result<Response<Body>, ServeError>) -> Result<Response<Body>, TransportError> {
    match served {
        Ok(response) => Ok(response),
        Err(ServeError::Refused(refused)) => Ok(refused.response()),
        Err(ServeError::Interrupted(error)) => Err(TransportError::Interrupted(error)),
    }
}

pub(crate) fn find_model(id: &str, version: &str, call: Call) -> Result<&'static Model, ApiError> {
    if let Some(model) = Model::find(id) {
        return Ok(model);
    }
    if let Some(replacement) = Model::replacement(id) {
        return Err(ApiError::no_model(format!(
            "This model models/{id} is no longer available to new users. Please update your code to use \
             models/{replacement}."
        )));
    }
    let method = match call {
        Call::CreateBatch => "batchGenerateContent",
        Call::CountTokens => "countTokens",
        _ => "generateContent",
    };
    Err(ApiError::no_model(format!(
        "models/{id} is not found for API version {version}, or is not supported for {method}. Call ListModels to see \
         the list of available models and their supported methods."
    )))
}

/// Runs work that occupies the processor or the disk for a while.
pub(crate) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ApiError::internal())?
}
