//! `darkroom try`: makes one image now by one synchronous call, edits it in further turns, and
//! keeps its request in a manifest.

pub(super) mod call;
mod keep;
mod pictures;
mod record;
pub(super) mod request;

use std::{collections::HashMap, path::Path, sync::Arc};

use anyhow::Context;
use aws_sim::listen::wait_until_stopped;
use bytes::Bytes;
use darkroom::{
    cost,
    lane::Lane,
    manifest::PlannedImage,
    models::Catalog,
    money::Usd,
    names::ObjectUri,
    requests::PlacedReference,
    results::{
        Image, Outcome, Reason,
        image::{ratio_matches, size_matches},
    },
};
use disk::Disk;
use gemini::Gemini;
use gemini_sim::Gemini as SimulatedGemini;
use jiff::Timestamp;
use seam::{clock::Clock, environment::Variables};
use serde_json::value::RawValue;

use self::{
    call::Answered,
    pictures::Picture,
    record::{Record, Tries},
    request::{FriendlyLine, Planned, Planner, conversation, native_line, request_text},
};
use super::{
    Exit, GeminiMode, TryArgs, catalog, environment,
    gemini_mode::{self, Choice},
    shutdown,
};
use crate::{cloud, time::Time};

/// Runs `darkroom try`.
pub(super) fn try_image(args: &TryArgs) -> anyhow::Result<Exit> {
    if let (Some(key), Some(into)) = (&args.keep, &args.into) {
        return keep::keep(&args.out, key, into);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(make_image(args))
}

async fn make_image(args: &TryArgs) -> anyhow::Result<Exit> {
    // Two processes would give two images the same number.
    let internal = environment::internal_folder(&args.out)?;
    let _lock = lock(&internal.join("try"))?;
    let tries = Tries::in_folder(&args.out);
    let number = tries.next_number()?;
    let simulated = Time::simulated(&internal)?;
    let planner = Planner::new(catalog::of_folder(&args.out)?, simulated.now());

    // An edit continues the conversation of the last image, with its model.
    let (previous, prompt) = match (&args.again, &args.prompt) {
        (Some(change), _) => (Some(tries.last()?), change),
        (None, prompt) => (None, prompt.as_ref().context("missing prompt")?),
    };
    let pictures = pictures::read(&args.references, tries.folder())?;
    let line = FriendlyLine {
        key: format!("try-{number:04}"),
        prompt: prompt.clone(),
        model: match &previous {
            Some(previous) => Some(previous.model.clone()),
            None => args.model.clone(),
        },
        aspect_ratio: args.ratio.clone(),
        image_size: args.size.clone(),
        thinking: args.thinking.clone(),
        refs: pictures.iter().map(|picture| picture.key.clone()).collect(),
        lane: None,
    };

    // The line is checked before anything else, because the question whether to spend money needs
    // its price. It names no lane, so that it requests the image in a batch.
    let lane = Lane::from(args.lane.unwrap_or_default());
    let in_lane = FriendlyLine {
        lane: Some(lane),
        ..line.clone()
    };
    let Planned { image, warnings } = match planner.read(&in_lane.text()?)? {
        Ok(planned) => planned,
        Err(problems) => return Ok(rejected(&problems)),
    };
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let (ceiling, model) = (image.ceiling_usd, image.model);
    let line = FriendlyLine {
        model: Some(model.clone()),
        ..line
    };

    // The choice and the consent are those of `darkroom run`.
    let variables = Variables::from_env();
    let price = format!(
        "about {}, at most {ceiling} with thinking",
        image.estimate.usd()
    );
    let mode = match gemini_mode::choose_for_try(args, &internal, &variables, &price)? {
        Choice::Use(mode) => mode,
        Choice::Exit(exit) => return Ok(exit),
    };
    environment::init_log(&internal)?;
    let mut shutdown = shutdown::requested()?;
    let (gemini, clock, _lock) = match mode {
        GeminiMode::Sim => {
            println!("Simulated Gemini: no API key, no cost.");
            // The simulated Gemini keeps its state in the folder, and `run` and `serve` use it too.
            let lock = cloud::lock(&internal)?;
            let scenario = args.scenario.scenario(environment::REALISTIC_BATCH_SECONDS);
            let service =
                SimulatedGemini::open(&internal.join("gemini"), simulated.clock(), scenario)?;
            let gemini = environment::simulated_gemini(Arc::new(service))?;
            (gemini, simulated.clock(), Some(lock))
        }
        GeminiMode::Live => (environment::live_gemini(&variables)?, Clock::system(), None),
    };
    let disk = environment::disk(mode);

    // The request is read from the manifest line, as `plan` and `generate` read it.
    let (placed, files_until) = place(&gemini, &clock, &pictures, &disk, tries.folder()).await?;
    let turn = match planner.read(&line.text()?)? {
        Ok(planned) => planned.image,
        Err(problems) => return Ok(rejected(&problems)),
    };
    let turn_text = request_text(&turn, &placed)?;
    let (image, text, line) = match &previous {
        None => (turn, turn_text, Some(line)),
        Some(previous) => {
            let whole = conversation(previous, &turn_text)?;
            let native = native_line(&line.key, &model, &whole);
            match planner.read(&native)? {
                Ok(planned) => {
                    let text = request_text(&planned.image, &HashMap::new())?;
                    (planned.image, text, None)
                }
                Err(problems) => return Ok(rejected(&problems)),
            }
        }
    };

    // The call is never repeated, because Gemini charges for each.
    let calling = call::call(&gemini, &image.model, lane, &text);
    let answered = tokio::select! {
        answered = calling => answered.map_err(|error| call::explain(error, lane, ceiling))?,
        () = wait_until_stopped(&mut shutdown) => {
            println!("Stopped. Gemini may have made the image and charged up to {ceiling} for it.");
            return Ok(Exit::Interrupted);
        }
    };
    let files_until = files_until
        .into_iter()
        .chain(previous.and_then(|previous| previous.files_until))
        .min();
    let request = RawValue::from_string(text)?;
    Try {
        tries: &tries,
        number,
        asked: lane,
        disk: &disk,
        catalog: planner.catalog(),
        out: &args.out,
    }
    .finish(&image, line, request, files_until, answered)
}

/// Locks a folder, which is created if it is missing.
fn lock(folder: &Path) -> anyhow::Result<std::fs::File> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("can't create the folder {}", folder.display()))?;
    cloud::lock(folder)
}

/// Prints why a request was not sent.
fn rejected(problems: &[String]) -> Exit {
    problems.iter().for_each(|problem| println!("{problem}"));
    println!("Rejected. Nothing was bought.");
    Exit::Rejected
}

/// Stores the reference pictures and places each where Gemini can read it. Returns also when Gemini
/// deletes the first of those that were uploaded.
async fn place(
    gemini: &Gemini,
    clock: &Clock,
    pictures: &[Picture],
    disk: &Disk,
    folder: &Path,
) -> anyhow::Result<(HashMap<ObjectUri, PlacedReference>, Option<Timestamp>)> {
    let (mut placed, mut until) = (HashMap::new(), None);
    for picture in pictures {
        picture.store(disk, folder)?;
        let uri = picture.uri();
        if placed.contains_key(&uri) {
            continue;
        }
        let content = Bytes::from(picture.bytes.clone());
        let (reference, expires) = exchange::references::place_alone(gemini, clock, &uri, content)
            .await
            .context("nothing was bought")?;
        placed.insert(uri, reference);
        until = until.into_iter().chain(expires).min();
    }
    Ok((placed, until))
}

/// What happens with an answer.
struct Try<'a> {
    tries: &'a Tries,
    number: u32,
    /// The lane that was asked for.
    asked: Lane,
    disk: &'a Disk,
    catalog: &'a Catalog,
    out: &'a Path,
}

impl Try<'_> {
    /// Stores the image of an answer and prints what it is, or prints why there is none.
    fn finish(
        &self,
        planned: &PlannedImage,
        line: Option<FriendlyLine>,
        request: Box<RawValue>,
        files_until: Option<Timestamp>,
        answered: Answered,
    ) -> anyhow::Result<Exit> {
        let Answered {
            answer,
            turn,
            lane: served,
            tier: _,
        } = answered;
        let cost_usd = answer.usage.as_ref().and_then(|usage| {
            let model = self.catalog.priced(&planned.model)?;
            let rates = model.rates(served).unwrap_or(&model.standard);
            Some(cost::actual(usage, rates))
        });
        let (image, extras) = match answer.outcome {
            Outcome::Succeeded { image, extras } => (image, extras),
            Outcome::Blocked(reason)
            | Outcome::NoImage(reason)
            | Outcome::Failed(reason)
            | Outcome::Cancelled(reason) => {
                self.show_refusal(&reason, served, cost_usd);
                return Ok(Exit::Incomplete);
            }
        };

        // The record goes last, because it makes the image the one that is edited next.
        let path = self
            .tries
            .store_image(self.disk, self.number, &image, &extras)?;
        let record = Record {
            model: planned.model.clone(),
            asked: self.asked,
            served,
            cost_usd,
            usage: answer.usage,
            line,
            request,
            answer: turn,
            files_until,
        };
        self.tries.store_record(self.disk, self.number, &record)?;

        println!("{}", path.display());
        let row = |label: &str, text: String| println!("  {label:<6}  {text}");
        row("size", describe_size(&image));
        row("lane", describe_lane(self.asked, served));
        row("price", describe_price(cost_usd));
        row("model", planned.model.clone());
        let warnings = answer.warnings.into_iter();
        for warning in warnings.chain(shape_warnings(planned, &image)) {
            row("check", warning);
        }
        self.show_next(&record)
    }

    fn show_refusal(&self, reason: &Reason, served: Lane, cost_usd: Option<Usd>) {
        let Reason {
            code,
            message,
            retryable,
        } = reason;
        println!("No image: {} ({code}).", message.trim_end_matches('.'));
        println!("  lane    {}", describe_lane(self.asked, served));
        println!("  price   {}", describe_price(cost_usd));
        println!(
            "{}",
            if *retryable {
                "The same command may succeed later."
            } else {
                "The same request would fail again: change the prompt."
            }
        );
    }

    /// Prints how to request the image again, and how to edit or keep it.
    fn show_next(&self, record: &Record) -> anyhow::Result<Exit> {
        let out = match self.out.to_str() {
            Some("darkroom-out") => String::new(),
            _ => format!(" --out {}", self.out.display()),
        };
        match &record.line {
            Some(line) => {
                println!(
                    "\nThe manifest line that requests it:\n\n{}\n",
                    line.text()?
                );
                if !line.refs.is_empty() {
                    println!(
                        "Its pictures are below {}, and belong below refs/ next to the manifest.",
                        self.tries.folder().join("refs").display()
                    );
                }
            }
            None => println!(
                "\nIts manifest line holds the whole conversation, and --keep writes it.\n"
            ),
        }
        println!("To edit it:          darkroom try --again \"what to change\"{out}");
        println!("To add its request:  darkroom try --keep KEY --into manifest.jsonl{out}");
        Ok(Exit::Complete)
    }
}

fn describe_size(image: &Image) -> String {
    let kilobytes = image.bytes.as_ref().len().div_ceil(1000);
    format!("{} x {}, {kilobytes} kB", image.width, image.height)
}

fn describe_lane(asked: Lane, served: Lane) -> String {
    if asked == served {
        served.to_string()
    } else {
        format!("{served} (asked for {asked})")
    }
}

fn describe_price(cost_usd: Option<Usd>) -> String {
    cost_usd.map_or_else(
        || "unknown: Gemini did not report its tokens".to_owned(),
        |usd| usd.to_string(),
    )
}

/// Returns a text for each property in which the image differs from the request.
fn shape_warnings(planned: &PlannedImage, image: &Image) -> Vec<String> {
    let (width, height) = (image.width, image.height);
    let ratio = planned
        .aspect_ratio
        .iter()
        .filter(|ratio| !ratio_matches(width, height, ratio));
    let size = planned
        .image_size
        .iter()
        .filter(|size| !size_matches(width, height, size));
    ratio
        .chain(size)
        .map(|asked| format!("asked for {asked}, but the image is {width} x {height}"))
        .collect()
}
