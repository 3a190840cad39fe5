//! What an examination of Gemini has found out: a pure function of its record.

use std::collections::BTreeSet;

use darkroom::{
    cost::{self, Usage},
    lane::Lane,
    models::{Catalog, Model},
    money::Usd,
    results::{
        Status,
        image::{ratio_matches, size_matches},
    },
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{
    purchase::{IMAGES, REFUSED},
    record::{
        BatchRecord, FlexStage, KeySeen, LineSeen, ModelSeen, ModelsSeen, Output, RangeSeen,
        Record, Stage,
    },
};
use crate::command::doctor::report::{Check, Verdict};

/// What is shown of something that has not happened yet.
const NOT_YET: &str = "not yet";

/// How long Google takes for a batch at most, by its documentation
/// (<https://ai.google.dev/gemini-api/docs/batch-api>, read 2026-11).
const TARGET: SignedDuration = SignedDuration::from_hours(24);

/// Returns facts about an examination: what it examined and what it cost.
pub(super) fn facts(record: &Record, catalog: &Catalog) -> Vec<String> {
    let flex = record.flex_model.as_deref().unwrap_or("no model");
    vec![
        format!("service: {}", record.service),
        format!(
            "model of the batches: {}; of the flex call: {flex}",
            record.model
        ),
        format!(
            "agreed to at most {}; by the tokens that were reported, {} so far",
            record.agreed_usd,
            spent(record, catalog)
        ),
    ]
}

/// Returns what the answers cost by their tokens.
fn spent(record: &Record, catalog: &Catalog) -> Usd {
    let cost = |usage: &Option<Usage>, model: &str, lane: Lane| {
        let model = catalog.priced(model)?;
        let rates = model.rates(lane).unwrap_or(&model.standard);
        Some(cost::actual(usage.as_ref()?, rates))
    };
    let lines = record.batch.output.iter().flat_map(|output| &output.lines);
    let batch = lines.filter_map(|line| cost(&line.usage, &record.model, Lane::Batch));
    let flex = record.flex.answer.iter().filter_map(|answer| {
        let lane = record.flex.lane.unwrap_or(Lane::Flex);
        cost(&answer.usage, record.flex_model.as_deref()?, lane)
    });
    batch.chain(flex).sum()
}

/// Returns all checks, in the order of the documentation.
pub(super) fn checks(record: &Record, catalog: &Catalog, now: Timestamp) -> Vec<Check> {
    let mut checks = vec![key(record)];
    checks.extend(models(record, catalog));
    checks.push(created(&record.batch));
    checks.push(listed(&record.batch));
    checks.push(duration(&record.batch, now));
    checks.push(output_with_state(&record.batch));
    checks.push(done(&record.batch));
    checks.push(range(&record.batch));
    checks.push(keys(&record.batch));
    let model = catalog.priced(&record.model);
    for (key, size, ratio) in IMAGES {
        checks.push(shape(&record.batch, key, size, ratio));
        checks.push(tokens(&record.batch, key, size, model));
    }
    checks.push(thinking(&record.batch, model));
    checks.push(version(record));
    checks.push(refusal(&record.batch));
    checks.push(canceled(&record.canceled));
    checks.extend(flex(record, catalog));
    checks
}

/// A check whose subject has not happened, or did not happen.
fn unseen(check: &str, expected: &str, batch: &BatchRecord) -> Check {
    let seen = match (&batch.problem, batch.is_settled()) {
        (_, false) => NOT_YET.to_owned(),
        (Some(problem), true) => problem.clone(),
        (None, true) => "nothing".to_owned(),
    };
    Check::new(check, expected, seen, Verdict::Unseen, "")
}

fn key(record: &Record) -> Check {
    match &record.key {
        Some(KeySeen::Accepted) => Check::expected("key", "accepted"),
        Some(KeySeen::Rejected(problem)) => Check::new(
            "key",
            "accepted",
            problem,
            Verdict::Failed,
            "Nothing was bought. Correct GEMINI_API_KEY, or enable the API and billing in its \
             Google project, and run the same command again.",
        ),
        None => Check::new("key", "accepted", NOT_YET, Verdict::Unseen, ""),
    }
}

fn models(record: &Record, catalog: &Catalog) -> Vec<Check> {
    let expected = "all live models of the catalog, with batches";
    let listed = match &record.models {
        Some(ModelsSeen::Listed(listed)) => listed,
        Some(ModelsSeen::Unreadable(problem)) => {
            let follows = "The list of models can't be read, and Darkroom does not need it.";
            return vec![Check::new(
                "models",
                expected,
                problem,
                Verdict::Unseen,
                follows,
            )];
        }
        None => {
            return vec![Check::new("models", expected, NOT_YET, Verdict::Unseen, "")];
        }
    };
    let today = record.started.to_zoned(TimeZone::UTC).date();
    let is_served = |model: &&Model| {
        let mut served = listed.iter();
        served.any(|seen: &ModelSeen| seen.id == model.id && seen.batches)
    };
    let is_live = |model: &&Model| model.available <= today && !model.retired(today);
    let names = |models: Vec<&Model>| {
        let ids = models.iter().map(|model| model.id.as_str());
        ids.collect::<Vec<_>>().join(", ")
    };
    let missing: Vec<&Model> = catalog
        .models()
        .iter()
        .filter(is_live)
        .filter(|model| !is_served(model))
        .collect();
    let retired: Vec<&Model> = catalog
        .models()
        .iter()
        .filter(|model| !is_live(model) && is_served(model))
        .collect();
    let known = |id: &str| catalog.model(id).is_some() || catalog.resolve(id, today, true).is_ok();
    let new: Vec<&str> = listed
        .iter()
        .filter(|seen| seen.batches && seen.id.starts_with("gemini-"))
        .filter(|seen| seen.id.contains("image") || seen.id.contains("banana"))
        .map(|seen| seen.id.as_str())
        .filter(|id| !known(id))
        .collect();

    let first = if missing.is_empty() {
        Check::expected("models", expected)
    } else {
        Check::new(
            "models",
            expected,
            format!("not listed with batches: {}", names(missing)),
            Verdict::Failed,
            "Items that name them will fail. Correct their dates in stack/models.toml.",
        )
    };
    let mut checks = vec![first];
    if !retired.is_empty() {
        checks.push(Check::new(
            "retired models",
            "none is listed",
            names(retired),
            Verdict::Handled,
            "They are still served. AllowRetiredModels lets items name them.",
        ));
    }
    if !new.is_empty() {
        checks.push(Check::new(
            "new models",
            "none",
            new.join(", "),
            Verdict::Handled,
            "The catalog has no prices for them. Add them to stack/models.toml, or set \
             AllowUnknownModels.",
        ));
    }
    checks
}

fn created(batch: &BatchRecord) -> Check {
    let (check, expected) = ("tier", "a paid tier: batches are accepted");
    match batch.stage {
        Stage::Live | Stage::Ended if batch.adopted => Check::new(
            "tier",
            expected,
            "the create call was not answered, and a list has the batch",
            Verdict::Handled,
            "Darkroom looks such batches up, too.",
        ),
        Stage::Live | Stage::Ended => Check::new(
            check,
            expected,
            expected,
            Verdict::Expected,
            "Gemini does not name the tier. Compare GeminiTier with Google AI Studio.",
        ),
        Stage::Refused => Check::new(
            check,
            expected,
            batch.problem.clone().unwrap_or_default(),
            Verdict::Failed,
            "Nothing was bought for the batch. A quota error on the first batch usually means a \
             project without billing, or one whose limits others use.",
        ),
        Stage::Lost => Check::new(
            check,
            expected,
            "the create call was not answered, and no batch has appeared",
            Verdict::Unseen,
            "Nothing is requested again. To repeat the examination, choose another folder.",
        ),
        Stage::Planned | Stage::Creating => unseen(check, expected, batch),
    }
}

fn listed(batch: &BatchRecord) -> Check {
    let (check, expected) = ("list of batches", "shows a new batch at once");
    let follows = "Darkroom searches two lists after QuietPeriodMinutes before it creates a batch \
                   again, so set that to more than this lag.";
    match batch.listed {
        Some(listed) if listed.at_first && !batch.adopted => Check::expected(check, expected),
        Some(listed) => {
            let seen = match listed.after_seconds {
                Some(seconds) if batch.adopted => {
                    format!("seen {seconds} s after the call; the first list is not known")
                }
                Some(seconds) => {
                    format!("not in the first list; in one {seconds} s after the call")
                }
                None => "not in any list so far".to_owned(),
            };
            let verdict = match listed.after_seconds {
                Some(seconds) if seconds < 20 * 60 => Verdict::Handled,
                Some(_) => Verdict::Failed,
                None if batch.is_settled() => Verdict::Failed,
                None => Verdict::Unseen,
            };
            Check::new(check, expected, seen, verdict, follows)
        }
        None => unseen(check, expected, batch),
    }
}

fn duration(batch: &BatchRecord, now: Timestamp) -> Check {
    let (check, expected) = ("time of a batch", "at most 24 hours");
    let (Some(created), Some(last)) = (batch.creating_since, batch.looks.last()) else {
        return unseen(check, expected, batch);
    };
    let ended = batch.first_terminal().map(|look| look.at);
    let took = ended.unwrap_or(now).duration_since(created);
    let minutes = took.as_mins();
    match ended {
        Some(_) if took <= TARGET => Check::new(
            check,
            expected,
            format!("{} after at most {minutes} min", last.state),
            Verdict::Expected,
            "",
        ),
        Some(_) => Check::new(
            check,
            expected,
            format!("{} after {minutes} min", last.state),
            Verdict::Handled,
            "Darkroom waits for 46 hours, then cancels and requests the rest again.",
        ),
        None => Check::new(
            check,
            expected,
            format!("{} for {minutes} min", last.state),
            Verdict::Unseen,
            "",
        ),
    }
}

fn output_with_state(batch: &BatchRecord) -> Check {
    let (check, expected) = ("output", "with the state BATCH_STATE_SUCCEEDED");
    let Some(first) = batch.first_terminal() else {
        return unseen(check, expected, batch);
    };
    let later = batch.looks.iter().find(|look| look.has_output);
    let verdict =
        |seen: String, verdict, follows| Check::new(check, expected, seen, verdict, follows);
    match later {
        _ if !first.succeeded && later.is_none() => verdict(
            first.state.clone(),
            Verdict::Failed,
            "The batch has ended without results. Attach this report to a bug.",
        ),
        Some(look) if look.at == first.at && !first.succeeded => verdict(
            format!("with the state {}", first.state),
            Verdict::Handled,
            "Darkroom reads the output in any state that is final.",
        ),
        Some(look) if look.at == first.at => Check::expected(check, expected),
        Some(look) => verdict(
            format!(
                "at most {} s after the state",
                look.at.duration_since(first.at).as_secs()
            ),
            Verdict::Handled,
            "Darkroom keeps asking until a batch that has succeeded has an output.",
        ),
        None if batch.is_settled() => verdict(
            "never".to_owned(),
            Verdict::Failed,
            "Darkroom holds such a shard, because its images are paid for. Attach this report to \
             a bug.",
        ),
        None => verdict("not with the state".to_owned(), Verdict::Unseen, ""),
    }
}

fn done(batch: &BatchRecord) -> Check {
    let (check, expected) = ("done", "true with the final state");
    match batch.first_terminal() {
        None => unseen(check, expected, batch),
        Some(first) if first.done => Check::expected(check, expected),
        Some(first) => {
            let seen = match batch.looks.iter().find(|look| look.done) {
                Some(look) => format!(
                    "{} s after the state",
                    look.at.duration_since(first.at).as_secs()
                ),
                None => "never with the state".to_owned(),
            };
            let follows = "Darkroom goes by either of the two.";
            Check::new(check, expected, seen, Verdict::Handled, follows)
        }
    }
}

fn range(batch: &BatchRecord) -> Check {
    let (check, expected) = ("range of a download", "honored");
    let Some(output) = &batch.output else {
        return unseen(check, expected, batch);
    };
    let differs =
        |seen: &str, verdict, follows| Check::new(check, expected, seen, verdict, follows);
    match &output.range {
        RangeSeen::Honored => Check::expected(check, expected),
        RangeSeen::Ignored => differs(
            "ignored: the whole file is sent",
            Verdict::Handled,
            "An interrupted download is read again from the start, and known lines are skipped.",
        ),
        RangeSeen::Wrong(problem) => differs(
            problem,
            Verdict::Failed,
            "An interrupted download can't be resumed. Attach this report to a bug.",
        ),
        RangeSeen::Inline => differs(
            "the results are in the description of the batch, not in a file",
            Verdict::Handled,
            "Darkroom reads both.",
        ),
    }
}

fn keys(batch: &BatchRecord) -> Check {
    let (check, expected) = ("result lines", "one for each of 4 keys");
    let Some(output) = &batch.output else {
        return unseen(check, expected, batch);
    };
    let wanted = IMAGES.iter().map(|(key, ..)| *key).chain([REFUSED]);
    let wanted: BTreeSet<&str> = wanted.collect();
    let found = output.lines.iter().filter_map(|line| line.key.as_deref());
    let found: Vec<&str> = found.filter(|key| wanted.contains(key)).collect();
    let distinct: BTreeSet<&str> = found.iter().copied().collect();
    if output.lines.len() == wanted.len() && distinct == wanted {
        return Check::expected(check, expected);
    }
    let unreadable = output.lines.iter().filter(|line| line.status.is_none());
    Check::new(
        check,
        expected,
        format!(
            "{} lines, {} of them unreadable, {} of 4 keys",
            output.lines.len(),
            unreadable.count(),
            distinct.len()
        ),
        Verdict::Failed,
        "A line without a known key is kept as unmatched, and its image is requested again. \
         Attach this report to a bug.",
    )
}

fn line_of<'a>(output: &'a Output, key: &str) -> Option<&'a LineSeen> {
    let mut lines = output.lines.iter();
    lines.find(|line| line.key.as_deref() == Some(key))
}

fn shape(batch: &BatchRecord, key: &str, size: &str, ratio: &str) -> Check {
    let check = format!("size {size} {ratio}");
    let expected = format!("an image of {size} and {ratio}");
    let Some(output) = &batch.output else {
        return unseen(&check, &expected, batch);
    };
    let image = line_of(output, key).and_then(|line| line.image.as_ref());
    let Some(image) = image else {
        let code = line_of(output, key).and_then(|line| line.code.clone());
        return Check::new(
            &check,
            expected,
            code.unwrap_or_else(|| "no line".to_owned()),
            Verdict::Failed,
            "There is no image. Attach this report to a bug.",
        );
    };
    let (width, height) = (image.width, image.height);
    let honored = (
        size_matches(width, height, size),
        ratio_matches(width, height, ratio),
    );
    let (verdict, follows) = match honored {
        (true, true) => (Verdict::Expected, ""),
        (false, _) => (
            Verdict::Failed,
            "Batches do not honor the size. Request such images in the lane interactive until \
             that is solved.",
        ),
        (true, false) => (
            Verdict::Failed,
            "Batches do not honor the ratio; results.csv has a warning for each such image.",
        ),
    };
    let seen = format!("{width} x {height}, {}", image.mime_type);
    Check::new(&check, expected, seen, verdict, follows)
}

fn tokens(batch: &BatchRecord, key: &str, size: &str, model: Option<&Model>) -> Check {
    let check = format!("tokens of {size}");
    let tokens = model.and_then(|model| Some(model.size(Some(size))?.tokens));
    let expected = match tokens {
        Some(tokens) => format!("{tokens} for the image"),
        None => "those of the catalog".to_owned(),
    };
    let Some(output) = &batch.output else {
        return unseen(&check, &expected, batch);
    };
    let line = line_of(output, key).filter(|line| line.image.is_some());
    let Some(usage) = line.and_then(|line| line.usage) else {
        return Check::new(
            &check,
            expected,
            "not reported",
            Verdict::Unseen,
            "The cost in summary.json is the estimate if Gemini reports no tokens.",
        );
    };
    let seen = format!("{} for the image", usage.output_image_tokens);
    if tokens == Some(usage.output_image_tokens) {
        return Check::expected(&check, expected);
    }
    Check::new(
        &check,
        expected,
        seen,
        Verdict::Failed,
        "Estimates and budgets are wrong by the same factor. Correct the tokens and prices of \
         the size in stack/models.toml.",
    )
}

fn thinking(batch: &BatchRecord, model: Option<&Model>) -> Check {
    let check = "thinking tokens";
    let range = model.and_then(|model| model.thoughts.as_ref());
    let expected = match range {
        Some(range) => format!("{} to {} for an image", range.min_tokens, range.max_tokens),
        None => "any".to_owned(),
    };
    let Some(output) = &batch.output else {
        return unseen(check, &expected, batch);
    };
    let images = output.lines.iter().filter(|line| line.image.is_some());
    let counts: Vec<u64> = images
        .filter_map(|line| Some(line.usage?.thought_tokens))
        .collect();
    let seen = counts.iter().map(u64::to_string).collect::<Vec<_>>();
    let seen = seen.join(", ");
    let is_within = |tokens: &u64| {
        range.is_none_or(|range| (range.min_tokens..=range.max_tokens).contains(tokens))
    };
    let (verdict, follows) = if counts.is_empty() {
        (Verdict::Unseen, "")
    } else if counts.iter().all(is_within) {
        (Verdict::Expected, "")
    } else {
        (
            Verdict::Handled,
            "The estimate shows thinking apart. Correct `thoughts` in stack/models.toml.",
        )
    };
    let seen = if seen.is_empty() {
        "none reported"
    } else {
        &seen
    };
    Check::new(check, expected, seen, verdict, follows)
}

fn version(record: &Record) -> Check {
    let check = "model of the answers";
    let Some(output) = &record.batch.output else {
        return unseen(check, &record.model, &record.batch);
    };
    let versions = output
        .lines
        .iter()
        .filter_map(|line| line.model_version.as_deref());
    let versions: BTreeSet<&str> = versions.collect();
    let seen = versions.iter().copied().collect::<Vec<_>>().join(", ");
    let (verdict, follows) = if versions.is_empty() {
        (Verdict::Unseen, "")
    } else if versions.iter().all(|version| *version == record.model) {
        (Verdict::Expected, "")
    } else {
        (
            Verdict::Handled,
            "Another model may have answered; results.jsonl names it for each image.",
        )
    };
    Check::new(check, &record.model, seen, verdict, follows)
}

fn refusal(batch: &BatchRecord) -> Check {
    let (check, expected) = ("refusal", "a response that names a filter");
    let Some(output) = &batch.output else {
        return unseen(check, expected, batch);
    };
    let verdict =
        |seen: String, verdict, follows| Check::new(check, expected, seen, verdict, follows);
    let Some(line) = line_of(output, REFUSED) else {
        return verdict(
            "no line".to_owned(),
            Verdict::Failed,
            "A refused image would be requested again. Attach this report to a bug.",
        );
    };
    let code = line.code.as_deref().unwrap_or("no code");
    let members = line.shape.join(", ");
    match line.status {
        Some(Status::Blocked) => verdict(format!("{code} ({members})"), Verdict::Expected, ""),
        Some(Status::NoImage) => verdict(
            format!("no image: {code} ({members})"),
            Verdict::Handled,
            "The status of refused images is no_image, and some are requested a second time.",
        ),
        Some(Status::Succeeded) => verdict(
            "an image".to_owned(),
            Verdict::Unseen,
            "The prompt was not refused, so the shape of a refusal remains unknown.",
        ),
        Some(_) => verdict(
            format!("an error: {code} ({members})"),
            Verdict::Handled,
            "The status of refused images is failed. If the code is retryable, they are requested \
             up to MaxRounds times.",
        ),
        None => verdict(
            format!("a line that can't be read: {code} ({members})"),
            Verdict::Failed,
            "A refused image would be requested again. Attach this report to a bug.",
        ),
    }
}

fn canceled(batch: &BatchRecord) -> Check {
    let (check, expected) = ("cancel", "ends as BATCH_STATE_CANCELLED");
    if let Some(problem) = batch
        .cancel
        .as_ref()
        .and_then(|cancel| cancel.problem.clone())
    {
        let follows = "A canceled job would run on. Attach this report to a bug.";
        return Check::new(check, expected, problem, Verdict::Failed, follows);
    }
    let (Some(cancel), Some(last)) = (&batch.cancel, batch.first_terminal()) else {
        return unseen(check, expected, batch);
    };
    let seconds = last.at.duration_since(cancel.at).as_secs();
    let with = if last.has_output { "with" } else { "without" };
    let seen = format!("{} within {seconds} s, {with} an output", last.state);
    if last.state == "BATCH_STATE_CANCELLED" {
        return Check::new(check, expected, seen, Verdict::Expected, "");
    }
    let follows = "The cancel came too late or had no effect. Images that a batch still makes are \
                   collected and charged for.";
    Check::new(check, expected, seen, Verdict::Handled, follows)
}

fn flex(record: &Record, catalog: &Catalog) -> Vec<Check> {
    let (check, expected) = ("flex", "an image, served as flex");
    let flex = &record.flex;
    let problem = || flex.problem.clone().unwrap_or_default();
    let one =
        |seen: String, verdict, follows| vec![Check::new(check, expected, seen, verdict, follows)];
    let answer = match flex.stage {
        FlexStage::Answered => &flex.answer,
        FlexStage::Planned if flex.without_capacity > 0 => {
            return one(problem(), Verdict::Unseen, "Another call follows.");
        }
        FlexStage::Planned | FlexStage::Calling => {
            return one(NOT_YET.to_owned(), Verdict::Unseen, "");
        }
        FlexStage::Refused => {
            let follows = "Images in the lane flex fail. Remove `flex` from the model in \
                           stack/models.toml.";
            return one(problem(), Verdict::Failed, follows);
        }
        FlexStage::NoCapacity => {
            let follows = "Darkroom waits for FlexPatienceMinutes, then changes the lane. Whether \
                           flex makes images remains unknown: repeat it in another folder later.";
            return one(problem(), Verdict::Unseen, follows);
        }
        FlexStage::Lost => {
            let follows = "The answer to the call was lost. Gemini may have charged for it, and it \
                           is not requested again.";
            return one(problem(), Verdict::Unseen, follows);
        }
    };
    let Some(answer) = answer else {
        return one(NOT_YET.to_owned(), Verdict::Unseen, "");
    };
    let tier = flex.tier.as_deref().unwrap_or("not named");
    let image = match (&answer.image, &answer.code) {
        (Some(image), _) => format!("an image of {} x {}", image.width, image.height),
        (None, Some(code)) => code.clone(),
        (None, None) => "no image".to_owned(),
    };
    let seen = format!("{image}, tier {tier}");
    let (verdict, follows) = match (flex.lane, &flex.tier) {
        _ if answer.image.is_none() => (
            Verdict::Failed,
            "The model made no image in the tier flex. Attach this report to a bug.",
        ),
        (_, None) => (
            Verdict::Handled,
            "The answer names no tier, so Darkroom assumes flex. Compare Google's bill.",
        ),
        (Some(Lane::Flex), _) => (Verdict::Expected, ""),
        _ => (
            Verdict::Failed,
            "The call was served at another tier, and is charged for at its price.",
        ),
    };
    let mut checks = one(seen, verdict, follows);
    let model = record
        .flex_model
        .as_deref()
        .and_then(|id| catalog.model(id));
    let wanted = model
        .and_then(|model| model.size(Some("1K")))
        .map(|size| size.tokens);
    if let (Some(usage), Some(wanted)) = (answer.usage.filter(|_| answer.image.is_some()), wanted) {
        let seen = usage.output_image_tokens;
        let (verdict, follows) = if seen == wanted {
            (Verdict::Expected, "")
        } else {
            (
                Verdict::Failed,
                "Correct the tokens and prices of the model in stack/models.toml.",
            )
        };
        checks.push(Check::new(
            "tokens of flex",
            format!("{wanted} for the image"),
            format!("{seen} for the image"),
            verdict,
            follows,
        ));
    }
    checks
}
