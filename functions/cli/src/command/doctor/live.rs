//! `darkroom doctor --live`: a few requests to the real Gemini, which show what no simulation can.
//!
//! A batch takes hours, so the examination is a sequence of short steps. What was requested and seen
//! is stored after each; running the command again continues, and repeats no call that costs money.

mod checks;
mod output;
mod purchase;
mod record;

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use aws_sim::listen::wait_until_stopped;
use bytes::Bytes;
use darkroom::{
    lane::Lane,
    models::Catalog,
    names::{BatchName, FileName},
};
use disk::Disk;
use futures_util::stream;
use gemini::{
    ApiError, BatchState, CreateError, Gemini, GenerateError, UploadError, UploadRequest,
};
use jiff::{SignedDuration, Timestamp};
use seam::{clock::Clock, environment::Variables};

use self::{
    output::{Images, problem},
    purchase::{FLEX, IMAGES, Purchase, REFUSED},
    record::{
        BatchRecord, CancelSeen, FlexRecord, FlexStage, KeySeen, Listed, Look, ModelSeen,
        ModelsSeen, Record, Stage,
    },
};
use super::report::{Report, foreign};
use crate::{
    cloud,
    command::{
        DoctorArgs, Exit, environment,
        gemini_mode::{self, Choice},
        shutdown,
        try_image::call,
    },
};

/// How long a batch is looked up whose create call was not answered. It is longer than the create
/// call can take and than lists were seen to lag.
const LOOKUP_PERIOD: SignedDuration = SignedDuration::from_mins(35);

/// How long a batch is waited for. Gemini ends a batch after 48 hours.
const BATCH_PATIENCE: SignedDuration = SignedDuration::from_hours(50);

/// How long the output of a batch that has succeeded is waited for.
const OUTPUT_PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// How often a flex call is made in total, if Gemini has no capacity.
const MAX_FLEX_CALLS: u32 = 3;

/// How often the output is read in total, if it can't be read.
const MAX_READS: u32 = 3;

/// The first wait between two looks. Each wait is twice as long as the one before it.
const MIN_WAIT: Duration = Duration::from_secs(2);

/// The longest wait between two looks.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The address of Google's service, for the report.
const GOOGLE: &str = "https://generativelanguage.googleapis.com";

/// What one of the two batches is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchRole {
    /// The four requests.
    Main,
    /// The request that is canceled at once.
    Canceled,
}

/// What one round of looks came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Everything has been seen that will be.
    Complete,
    /// Something is still expected.
    Waiting,
    /// Gemini rejected the key, so nothing else can be seen.
    Rejected,
}

/// Runs `darkroom doctor --live`.
pub(super) async fn examine(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let folder = args.out.as_path();
    fs::create_dir_all(folder)
        .with_context(|| format!("can't create the folder {}", folder.display()))?;
    let _lock = cloud::lock(folder)?;
    let variables = Variables::from_env();
    let (disk, catalog, clock) = (Disk::durable(), Catalog::built_in(), Clock::system());
    let purchase = Purchase::new(&catalog, clock.now())?;
    let service = variables
        .optional("GEMINI_BASE_URL")
        .unwrap_or_else(|| GOOGLE.to_owned());

    // The user agrees once for each examination, before the first call.
    let record = match Record::read(folder)? {
        Some(record) if record.service != service => anyhow::bail!(
            "{} has an examination of {}: choose another folder with --out",
            folder.display(),
            foreign(&record.service)
        ),
        Some(record) => record,
        None => {
            let price = format!(
                "about {}, at most {} with thinking",
                purchase.about, purchase.most
            );
            match gemini_mode::choose_for_doctor(args.yes, &variables, &price)? {
                Choice::Exit(exit) => return Ok(exit),
                Choice::Use(_) => new_record(&purchase, service, clock.now())?,
            }
        }
    };
    record.store(&disk, folder)?;

    let mut shutdown = shutdown::requested()?;
    let mut examination = Examination {
        folder,
        disk: &disk,
        gemini: environment::live_gemini(&variables)?,
        clock: &clock,
        purchase: &purchase,
        record,
    };
    let secrets: Vec<String> = variables.optional("GEMINI_API_KEY").into_iter().collect();
    let mut wait = MIN_WAIT;
    loop {
        let progress = examination.advance().await;
        let report = examination.report(&catalog);
        report.store(&disk, folder, "report", &secrets)?;
        match progress? {
            Progress::Complete | Progress::Rejected => {
                print(&report, folder, &secrets);
                return Ok(if report.has_failures() {
                    Exit::CheckFailed
                } else {
                    Exit::Complete
                });
            }
            Progress::Waiting if !args.wait => {
                print(&report, folder, &secrets);
                println!(
                    "Not complete yet. Run the same command again in an hour; it continues and \
                     buys nothing again."
                );
                return Ok(Exit::ComeBack);
            }
            Progress::Waiting => {}
        }
        tokio::select! {
            () = wait_until_stopped(&mut shutdown) => {
                println!("Stopped. Run the same command to continue; it buys nothing again.");
                return Ok(Exit::Interrupted);
            }
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(MAX_WAIT);
    }
}

fn new_record(purchase: &Purchase, service: String, now: Timestamp) -> anyhow::Result<Record> {
    let id = getrandom::u64().context("no random number")?;
    Ok(Record {
        id: format!("{id:016x}"),
        service,
        started: now,
        agreed_usd: purchase.most,
        model: purchase.model.clone(),
        flex_model: purchase.flex.as_ref().map(|flex| flex.model.clone()),
        key: None,
        models: None,
        batch: BatchRecord::default(),
        canceled: BatchRecord::default(),
        flex: FlexRecord::default(),
    })
}

fn print(report: &Report, folder: &Path, secrets: &[String]) {
    println!("{}", super::report::without(&report.table(), secrets));
    println!("{}", report.counts());
    println!(
        "Report to attach to a bug: {} and report.json next to it.",
        folder.join("report.md").display()
    );
}

/// An examination in progress.
struct Examination<'a> {
    folder: &'a Path,
    disk: &'a Disk,
    gemini: Gemini,
    clock: &'a Clock,
    purchase: &'a Purchase,
    record: Record,
}

impl Examination<'_> {
    fn report(&self, catalog: &Catalog) -> Report {
        let now = self.clock.now();
        Report {
            version: 1,
            subject: "the Gemini API".to_owned(),
            darkroom: env!("CARGO_PKG_VERSION"),
            started: self.record.started,
            reported: now,
            complete: self.record.is_complete(),
            facts: checks::facts(&self.record, catalog),
            checks: checks::checks(&self.record, catalog, now),
        }
    }

    fn store(&self) -> anyhow::Result<()> {
        self.record.store(self.disk, self.folder)
    }

    fn batch(&mut self, role: BatchRole) -> &mut BatchRecord {
        match role {
            BatchRole::Main => &mut self.record.batch,
            BatchRole::Canceled => &mut self.record.canceled,
        }
    }

    /// Takes every step that is possible now.
    ///
    /// # Errors
    /// Returns an error if Gemini does not answer before anything was bought, or if the record
    /// can't be stored.
    async fn advance(&mut self) -> anyhow::Result<Progress> {
        if !self.list_models().await? {
            return Ok(Progress::Rejected);
        }
        // The batch that is canceled comes second: if a limit allows only one, it is the other.
        for role in [BatchRole::Main, BatchRole::Canceled] {
            self.create(role).await?;
            self.look_up(role).await?;
            self.list(role).await?;
            if role == BatchRole::Canceled {
                self.cancel().await?;
            }
        }
        // The batches run meanwhile, because a flex call may take ten minutes.
        self.call_flex().await?;
        for role in [BatchRole::Main, BatchRole::Canceled] {
            self.list(role).await?;
            self.look(role).await?;
        }
        Ok(if self.record.is_complete() {
            Progress::Complete
        } else {
            Progress::Waiting
        })
    }

    /// Lists the models, which is free and shows whether the key is accepted. Returns false if it
    /// is rejected.
    async fn list_models(&mut self) -> anyhow::Result<bool> {
        if self.record.models.is_some() && self.record.key == Some(KeySeen::Accepted) {
            return Ok(true);
        }
        let (key, models) = match self.gemini.models().await {
            Ok(models) => {
                let models = models.into_iter().map(|model| ModelSeen {
                    batches: supports_batches(&model),
                    id: foreign(&model.id),
                });
                (
                    KeySeen::Accepted,
                    Some(ModelsSeen::Listed(models.collect())),
                )
            }
            Err(error @ ApiError::Unauthorized { .. }) => {
                (KeySeen::Rejected(problem(&error)), None)
            }
            Err(error @ ApiError::Transient { .. }) => {
                anyhow::bail!("nothing was bought: {}", problem(&error))
            }
            Err(error) => (
                KeySeen::Accepted,
                Some(ModelsSeen::Unreadable(problem(&error))),
            ),
        };
        let accepted = key == KeySeen::Accepted;
        self.record.key = Some(key);
        self.record.models = models;
        self.store()?;
        Ok(accepted)
    }

    /// Uploads the input of a batch and creates it, unless that was done before.
    async fn create(&mut self, role: BatchRole) -> anyhow::Result<()> {
        if self.batch(role).stage != Stage::Planned {
            return Ok(());
        }
        let (name, lines) = match role {
            BatchRole::Main => ("main", &self.purchase.batch),
            BatchRole::Canceled => ("canceled", &self.purchase.canceled),
        };
        let name = self.record.display_name(name);
        // An upload is free, so a lost one is repeated.
        let file = match self.upload(&name, lines.clone()).await {
            Ok(file) => file,
            Err(error) => {
                let text = foreign(&error.to_string());
                anyhow::bail!("the input of a batch can't be uploaded: {text}")
            }
        };

        // After this write, the call may have been made, and it is never made again.
        let now = self.clock.now();
        let batch = self.batch(role);
        batch.stage = Stage::Creating;
        batch.creating_since = Some(now);
        self.store()?;
        let model = self.record.model.clone();
        let created = self.gemini.create_batch(&model, &name, &file).await;
        let batch = self.batch(role);
        match created {
            Ok(created) => {
                batch.stage = Stage::Live;
                batch.name = Some(created.name);
            }
            // The batch is looked up instead.
            Err(CreateError::Unknown(error)) => {
                batch.adopted = true;
                batch.problem = Some(problem(&error));
            }
            Err(CreateError::NotCreated(error @ ApiError::Transient { .. })) => {
                batch.stage = Stage::Planned;
                self.store()?;
                anyhow::bail!("a batch was not created: {}", problem(&error))
            }
            Err(CreateError::NotCreated(error)) => {
                batch.stage = Stage::Refused;
                batch.problem = Some(problem(&error));
            }
        }
        self.store()
    }

    async fn upload(&self, name: &str, lines: Vec<u8>) -> Result<FileName, UploadError> {
        let request = UploadRequest {
            display_name: name.to_owned(),
            mime_type: self.gemini.input_mime_type().to_owned(),
            size_bytes: lines.len() as u64,
            name: None,
        };
        let body = stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(lines))]);
        Ok(self.gemini.upload(request, body).await?.name)
    }

    /// Looks for the batch of a create call that was not answered.
    async fn look_up(&mut self, role: BatchRole) -> anyhow::Result<()> {
        if self.batch(role).stage != Stage::Creating {
            return Ok(());
        }
        let found = self.find_in_list(role).await;
        let now = self.clock.now();
        let batch = self.batch(role);
        // The command may have ended before it could record that there was no answer.
        batch.adopted = true;
        match found {
            Ok(Some(name)) => {
                batch.stage = Stage::Live;
                batch.name = Some(name);
            }
            Ok(None) if since(batch.creating_since, now) > LOOKUP_PERIOD => {
                batch.stage = Stage::Lost;
            }
            Ok(None) => {}
            Err(error) => batch.problem = Some(problem(&error)),
        }
        self.store()
    }

    async fn find_in_list(&self, role: BatchRole) -> Result<Option<BatchName>, ApiError> {
        let display_name = self.record.display_name(match role {
            BatchRole::Main => "main",
            BatchRole::Canceled => "canceled",
        });
        let mut listed = self.gemini.batches().await?.into_iter();
        let found = listed.find(|batch| batch.display_name == display_name);
        Ok(found.map(|batch| batch.name))
    }

    /// Records whether lists show the batch, until they do.
    async fn list(&mut self, role: BatchRole) -> anyhow::Result<()> {
        let batch = self.batch(role);
        let is_listed = |listed: Listed| listed.after_seconds.is_some();
        if batch.stage != Stage::Live || batch.listed.is_some_and(is_listed) {
            return Ok(());
        }
        // If the list can't be read, the next look tries again.
        let Ok(found) = self.find_in_list(role).await else {
            return Ok(());
        };
        let now = self.clock.now();
        let batch = self.batch(role);
        batch.listed = Some(Listed {
            at_first: batch
                .listed
                .map_or(found.is_some(), |listed| listed.at_first),
            after_seconds: found.map(|_| since(batch.creating_since, now).as_secs()),
        });
        self.store()
    }

    /// Requests the cancellation of the batch that is there for it.
    async fn cancel(&mut self) -> anyhow::Result<()> {
        let canceled = &self.record.canceled;
        let (Stage::Live, Some(name), None) = (canceled.stage, &canceled.name, &canceled.cancel)
        else {
            return Ok(());
        };
        let outcome = self.gemini.cancel(name).await;
        self.record.canceled.cancel = Some(CancelSeen {
            at: self.clock.now(),
            problem: outcome.err().map(|error| problem(&error)),
        });
        self.store()
    }

    /// Makes the flex call, unless one may have been made before.
    async fn call_flex(&mut self) -> anyhow::Result<()> {
        // The command has ended during an earlier call.
        if self.record.flex.stage == FlexStage::Calling {
            self.record.flex.stage = FlexStage::Lost;
            return self.store();
        }
        if self.record.flex.stage != FlexStage::Planned {
            return Ok(());
        }
        let Some(flex) = &self.purchase.flex else {
            self.record.flex.stage = FlexStage::Refused;
            self.record.flex.problem = Some("no model of the catalog has the flex tier".to_owned());
            return self.store();
        };
        self.record.flex.stage = FlexStage::Calling;
        self.store()?;
        let called = call::call(&self.gemini, &flex.model, Lane::Flex, &flex.request).await;
        let record = &mut self.record.flex;
        match called {
            Ok(answered) => {
                record.stage = FlexStage::Answered;
                record.tier = answered.tier.as_deref().map(foreign);
                record.lane = Some(answered.lane);
                record.answer = Some(output::line_of(Some(FLEX.to_owned()), &answered.answer));
            }
            Err(GenerateError::NoCapacity(error)) => {
                record.without_capacity += 1;
                record.problem = Some(problem(&error));
                record.stage = if record.without_capacity < MAX_FLEX_CALLS {
                    FlexStage::Planned
                } else {
                    FlexStage::NoCapacity
                };
            }
            Err(GenerateError::NotMade(error)) => {
                record.stage = FlexStage::Refused;
                record.problem = Some(problem(&error));
            }
            Err(GenerateError::Unknown(error)) => {
                record.stage = FlexStage::Lost;
                record.problem = Some(problem(&error));
            }
        }
        self.store()
    }

    /// Looks at a batch, and reads its output if there is one.
    async fn look(&mut self, role: BatchRole) -> anyhow::Result<()> {
        let batch = self.batch(role);
        let (Stage::Live, Some(name)) = (batch.stage, batch.name.clone()) else {
            return Ok(());
        };
        let described = self.gemini.batch(&name).await;
        let now = self.clock.now();
        let record = self.batch(role);
        let age = since(record.creating_since, now);
        match &described {
            Ok(described) => {
                record.problem = None;
                let look = Look {
                    at: now,
                    state: foreign(&described.state.to_string()),
                    succeeded: described.state == BatchState::Succeeded,
                    terminal: described.is_terminal(),
                    done: described.done,
                    has_output: described.output_file.is_some() || described.inline_output,
                };
                let is_new = record.looks.last().is_none_or(|last| {
                    Look {
                        at: last.at,
                        ..look.clone()
                    } != *last
                });
                if is_new {
                    record.looks.push(look);
                }
            }
            Err(error) => record.problem = Some(problem(error)),
        }
        if let (Ok(described), BatchRole::Main) = (&described, role)
            && described.is_terminal()
        {
            self.read_output(described).await?;
        }

        let record = self.batch(role);
        let ended = record.first_terminal().map(|look| look.at);
        let awaits_output = role == BatchRole::Main
            && record.output.is_none()
            && record.unreadable < MAX_READS
            && record
                .looks
                .last()
                .is_some_and(|look| look.has_output || look.succeeded);
        let is_over = match ended {
            Some(ended) if awaits_output => now.duration_since(ended) > OUTPUT_PATIENCE,
            Some(_) => true,
            None => age > BATCH_PATIENCE,
        };
        if is_over {
            record.stage = Stage::Ended;
        }
        self.store()
    }

    async fn read_output(&mut self, batch: &gemini::Batch) -> anyhow::Result<()> {
        if batch.output_file.is_none() && !batch.inline_output {
            return Ok(());
        }
        let keys: Vec<&str> = IMAGES
            .iter()
            .map(|(key, ..)| *key)
            .chain([REFUSED])
            .collect();
        let folder = self.folder.join("images");
        let images = Images {
            disk: self.disk,
            folder: &folder,
        };
        match output::read(&self.gemini, batch, &keys, &images).await {
            Ok(output) => self.record.batch.output = Some(output),
            Err(error) => {
                self.record.batch.unreadable += 1;
                self.record.batch.problem = Some(foreign(&format!("{error:#}")));
            }
        }
        self.store()
    }
}

fn supports_batches(model: &gemini::Model) -> bool {
    let mut methods = model.methods.iter();
    methods.any(|method| method == "batchGenerateContent")
}

/// Returns the time since a moment, or zero.
fn since(moment: Option<Timestamp>, now: Timestamp) -> SignedDuration {
    moment.map_or(SignedDuration::ZERO, |moment| now.duration_since(moment))
}
