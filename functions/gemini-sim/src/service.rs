//! The simulated service: its state, and how it routes each call.

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
        creation::{Creation, Wish},
        output_file::{OutputFile, whole_lines},
        record::{Record, kept_until},
        results::Results,
        store::Batches,
    },
    counters::{Counted, Counters, Requests},
    faults::inject::inflict,
    files::{
        Files,
        uploads::{Caller, Uploads},
        whole_upload::Protocol,
    },
    generation::models::{MODELS, Model},
    scenario::{Scenario, batch_outcome::DeletingInput},
    seeded_random::Draw,
    wire::{
        body::read_json,
        messages::{BATCH, CREATE_BATCH, CREATE_FILE},
        paging::Page,
        reply::{Refused, Unserved, json_response},
        route::{Call, Route, key, origin, parameter},
    },
};
/// The most bytes of a create call. Source: ai.google.dev/gemini-api/docs/batch-api, read
/// 2026-11-21.
const LARGEST_CREATE_BYTES: usize = 20 * 1024 * 1024;

/// The most bytes of any other body.
const LARGEST_BODY_BYTES: usize = 64 * 1024;

/// The most batches, files or models on a page.
const LARGEST_PAGE: usize = 1_000;

/// The simulated service. Mount it as the Gemini client's [`Transport`].
#[derive(Debug)]
pub struct Gemini {
    pub(crate) clock: Clock,
    pub(crate) scenario: Scenario,
    pub(crate) counters: Counters,
    pub(crate) files: Arc<Files>,
    uploads: Uploads,
    pub(crate) batches: Arc<Batches>,
    seen: Arc<SeenKeys>,
    accepts: Option<HeaderValue>,
    /// Whether calls that get no answer are let go.
    hung_up: watch::Sender<bool>,
}

impl Gemini {
    /// Opens the service whose state is below `folder`, which is made when it is missing. One
    /// process at a time.
    ///
    /// Batches keep the fate that was decided when they were created, whatever `behavior` says
    /// now.
    ///
    /// # Errors
    /// [`DocumentError`] when the folder can't be read or written, or holds something else.
    pub fn open(folder: &Path, clock: Clock, scenario: Scenario) -> Result<Self, DocumentError> {
        let files = Files::open(folder)?;
        Ok(Self {
            scenario,
            counters: Counters::open(folder, clock.now())?,
            uploads: Uploads::open(folder, &files)?,
            files: Arc::new(files),
            batches: Arc::new(Batches::open(folder)?),
            seen: Arc::new(SeenKeys::open(folder)?),
            clock,
            accepts: None,
            hung_up: watch::Sender::new(false),
        })
    }

    /// The same service, which accepts only the API key in this value of the header
    /// `x-goog-api-key`.
    #[must_use]
    pub fn accepting(self, key: HeaderValue) -> Self {
        Self {
            accepts: Some(key),
            ..self
        }
    }

    /// Lets go of every call that gets no answer, now and from now on, so that a service that is to
    /// end does not wait for callers that have not given up yet.
    pub fn hang_up(&self) {
        self.hung_up.send_replace(true);
    }

    /// How often each kind of call came since the state folder is new.
    pub fn requests(&self) -> Requests {
        self.counters.read().requests
    }

    /// The number of batches ever created, deleted ones included.
    pub fn batches_created(&self) -> usize {
        self.batches.created()
    }

    /// What all this would have cost until now, in billionths of a dollar: requests of batches as
    /// they are done, at half price, and single requests.
    ///
    /// # Errors
    /// When the state folder can't be read.
    pub fn billed(&self) -> io::Result<u64> {
        let batches = self.batches.billed_nanodollars(self.clock.now())?;
        Ok(batches + self.counters.read().interactive_nanodollars)
    }

    /// Every batch that was not deleted, in the order of their creation.
    ///
    /// # Errors
    /// When an input can't be read.
    pub fn records(&self) -> io::Result<Vec<Record>> {
        self.batches
            .records(self.scenario.output_lifetime(), self.clock.now())
    }

    /// The next moment at which a batch changes its state, or its output comes, if there is one.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.batches.next_event(self.clock.now())
    }

    async fn serve(
        &self,
        request: Parts,
        body: Body,
        route: Route,
        counted: Counted,
    ) -> Result<Response<Body>, Unserved> {
        if route.call != Call::ContinueUpload {
            self.check_key(&request)?;
        }
        let Route {
            call,
            ref id,
            version,
        } = route;
        let caller = Caller {
            origin: origin(&request),
            version,
            number: counted.number,
            now: self.clock.now(),
        };
        let (now, uri) = (caller.now, &request.uri);
        let answer = match call {
            Call::StartUpload => {
                let new_id = self.draw("file", counted.ordinal).id(12);
                return self.start_upload(&request, &caller, body, &new_id).await;
            }
            Call::ContinueUpload => {
                let upload_id = parameter(uri, "upload_id").unwrap_or_default();
                return self
                    .uploads
                    .proceed(&self.files, &caller, upload_id, &request.headers, body)
                    .await;
            }
            Call::Download => return Ok(self.download(&request, id, now).await?),
            Call::ListFiles => self
                .files
                .list(&Page::asked_or(uri, 10, 100)?, &caller.origin, now),
            Call::GetFile => self.files.find(id, now)?.resource(&caller.origin),
            Call::DeleteFile => self.delete_file(id, now).map(|()| json!({}))?,
            Call::CreateBatch => {
                self.create_batch(find_model(id, version, call)?, counted.number, body, now)
                    .await?
            }
            Call::GetBatch => self.batch(id, now).await?,
            // Without a page size the service was seen to answer that there is nothing.
            Call::ListBatches => Page::asked(uri, LARGEST_PAGE)?
                .map_or(json!({}), |page| self.batches.list(&page, now)),
            Call::CancelBatch => self.batches.cancel(id, now).map(|()| json!({}))?,
            Call::DeleteBatch => self.batches.delete(id, now).map(|()| json!({}))?,
            Call::UpdateBatch => {
                let wanted = read_json(body, &BATCH, LARGEST_BODY_BYTES).await?;
                let mask = parameter(uri, "updateMask").or_else(|| parameter(uri, "update_mask"));
                self.batches
                    .update(id, mask.unwrap_or_default(), &wanted, now)?
            }
            Call::GenerateContent => {
                self.generate(&route, &caller, counted.ordinal, body)
                    .await?
            }
            Call::StreamGenerateContent => {
                return self
                    .stream(uri, &route, &caller, counted.ordinal, body)
                    .await;
            }
            Call::CountTokens => self.count_tokens(&route, &caller, body).await?,
            Call::ListModels => {
                let numbers = (1..=MODELS.len() as u64).rev();
                Page::asked_or(uri, 50, LARGEST_PAGE)?.of(
                    "models",
                    numbers.zip(&MODELS),
                    Model::resource,
                )
            }
            Call::GetModel => find_model(id, version, call)?.resource(),
            Call::Unknown => return Err(Refused::not_found().into()),
        };
        Ok(json_response(&answer))
    }

    fn check_key(&self, request: &Parts) -> Result<(), Refused> {
        match (key(request), &self.accepts) {
            (None, _) => Err(Refused::no_key()),
            (Some(key), Some(accepted)) if key != accepted.as_bytes() => Err(Refused::wrong_key()),
            (Some(_), _) => Ok(()),
        }
    }

    async fn start_upload(
        &self,
        request: &Parts,
        caller: &Caller,
        body: Body,
        new_id: &str,
    ) -> Result<Response<Body>, Unserved> {
        match Protocol::of(request)? {
            Protocol::Resumable => {
                let body = read_json(body, &CREATE_FILE, LARGEST_BODY_BYTES).await?;
                Ok(self
                    .uploads
                    .start(&self.files, caller, &request.headers, &body, new_id)?)
            }
            whole => {
                self.uploads
                    .take_whole(&self.files, caller, (whole, request), body, new_id)
                    .await
            }
        }
    }

    fn delete_file(&self, id: &str, now: Timestamp) -> Result<(), Refused> {
        self.files.delete(id, now)?;
        self.uploads.forget(id);
        match self.scenario.deleting_input {
            DeletingInput::Harmless => Ok(()),
            DeletingInput::Fails => self.batches.take_input(id, now),
        }
    }

    async fn create_batch(
        &self,
        model: &'static Model,
        number: u64,
        body: Body,
        now: Timestamp,
    ) -> Result<Value, Unserved> {
        let body = read_json(body, &CREATE_BATCH, LARGEST_CREATE_BYTES).await?;
        let wish = Wish::read(body, model)?;
        // Calls for other batches do not change what is drawn for this one, in whatever order they
        // come.
        let name = wish.display_name();
        let drawn = Draw::about(
            self.scenario.seed,
            &["batch", name, &self.batches.next_of(name).to_string()],
        );
        let creation = Creation {
            files: Arc::clone(&self.files),
            batches: Arc::clone(&self.batches),
            seen: Arc::clone(&self.seen),
            scenario: self.scenario.clone(),
            id: drawn.id(36),
            number,
            now,
        };
        Ok(on_blocking_thread(move || creation.make(wish)).await?)
    }

    async fn batch(&self, id: &str, now: Timestamp) -> Result<Value, Refused> {
        let batch = self.batches.find(id)?;
        if !batch.is_inline() || !batch.has_output(now) {
            return Ok(batch.operation(now, None));
        }
        let results = self.results(batch)?;
        let lines = whole_lines(&results.batch, &self.batches.rows(&results.batch, now)?);
        on_blocking_thread(move || {
            let inlined = results.inlined(&lines).map_err(|_| Refused::internal())?;
            Ok(results.batch.operation(now, Some(inlined)))
        })
        .await
    }

    /// Answers with a batch's output file. Only that can be downloaded.
    async fn download(
        &self,
        request: &Parts,
        id: &str,
        now: Timestamp,
    ) -> Result<Response<Body>, Refused> {
        if parameter(&request.uri, "alt") != Some("media") {
            return Err(Refused::invalid("Download needs alt=media"));
        }
        let Some(batch) = id.strip_prefix("batch-") else {
            self.files.find(id, now)?;
            return Err(Refused::invalid("Only generated files can be downloaded."));
        };
        let batch = self.batches.find(batch).map_err(|_| Refused::no_file(id))?;
        let came = batch
            .output_comes(now)
            .filter(|came| *came <= now && !batch.is_inline());
        let came = came.ok_or_else(|| Refused::no_file(id))?;
        if kept_until(came, self.scenario.output_lifetime()) <= now {
            return Err(Refused::not_found());
        }
        let rows = self.batches.rows(&batch, now)?;
        let file = OutputFile::new(self.results(batch)?, &rows);
        if self.scenario.ranges {
            file.part(&request.headers)
                .await
                .map_err(|_| Refused::internal())
        } else {
            Ok(file.whole())
        }
    }

    pub(crate) fn results(&self, batch: Batch) -> Result<Results, Refused> {
        let model = Model::find(&batch.model).ok_or_else(Refused::internal)?;
        Ok(Results {
            model,
            input: self.batches.input(&batch.id),
            batch,
        })
    }

    /// Draws for the `ordinal`th of its kind. Calls of other kinds, whose number depends on how
    /// fast the machine is, do not change what is drawn.
    fn draw(&self, kind: &str, ordinal: u64) -> Draw {
        Draw::about(self.scenario.seed, &["ordinal", kind, &ordinal.to_string()])
    }
}

impl Transport for Gemini {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let (request, body) = request.into_parts();
            let route = Route::of(&request);
            let Ok(counted) = self.counters.count(route.call) else {
                return Ok(Refused::internal().response());
            };
            let age = self.clock.now().duration_since(self.counters.since());
            let outage = self
                .scenario
                .outage(route.call, age.try_into().unwrap_or_default());
            let fault = outage.or_else(|| {
                self.scenario
                    .fault(route.call, counted.number, counted.ordinal)
            });
            let serve = |body| async move {
                match self.serve(request, body, route, counted).await {
                    Ok(response) => Ok(response),
                    Err(Unserved::Refused(refused)) => Ok(refused.response()),
                    Err(Unserved::BrokeOff(error)) => Err(TransportError::Interrupted(error)),
                }
            };
            inflict(fault, body, &self.hung_up, serve).await
        })
    }
}

pub(crate) fn find_model(id: &str, version: &str, call: Call) -> Result<&'static Model, Refused> {
    if let Some(model) = Model::find(id) {
        return Ok(model);
    }
    if let Some(replacement) = Model::replacement(id) {
        return Err(Refused::no_model(format!(
            "This model models/{id} is no longer available to new users. Please update your code to use \
             models/{replacement}."
        )));
    }
    let method = match call {
        Call::CreateBatch => "batchGenerateContent",
        Call::CountTokens => "countTokens",
        _ => "generateContent",
    };
    Err(Refused::no_model(format!(
        "models/{id} is not found for API version {version}, or is not supported for {method}. Call ListModels to see \
         the list of available models and their supported methods."
    )))
}

/// Runs what takes the processor or the disk a while.
pub(crate) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Refused::internal())?
}
