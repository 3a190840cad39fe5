//! `summary.md`: the summary of a finished job for people.
//!
//! Texts that come from a manifest or from Gemini are written as code spans on one line, in which
//! Markdown has no meaning.

mod markdown;

use std::fmt::Write;

use jiff::SignedDuration;

use self::markdown::{Cell, Code, Page, quoted};
use super::{Counts, Integrity, ModelCost, ProvenanceCounts, Summary};
use crate::{lane::Lane, money::Usd, names::ObjectUri, state::BatchOutput, status::JobPhase};

impl Summary {
    /// Returns the summary as a page in Markdown.
    pub fn to_markdown(&self) -> String {
        let mut page = Page::default();
        page.line(format_args!("# {}", Code(self.job_id.as_str())));
        page.paragraph(&self.outcome());
        self.write_job(&mut page);
        self.write_images(&mut page);
        self.write_cost(&mut page);
        self.write_missing(&mut page);
        self.write_provenance(&mut page);
        self.write_batches(&mut page);
        self.write_deviations(&mut page);
        self.write_notes(&mut page);
        self.write_files(&mut page);
        page.into_text()
    }

    /// Returns the outcome in one or two sentences.
    pub(crate) fn outcome(&self) -> String {
        let Counts {
            expected,
            succeeded,
            ..
        } = self.counts;
        let cost = &self.cost;
        let (actual, saved) = (cost.actual_usd, cost.saved_usd);
        let mut text = match self.status {
            JobPhase::Succeeded if expected == 1 => format!("The image was made for {actual}."),
            JobPhase::Succeeded => format!("All {expected} images were made for {actual}."),
            JobPhase::Cancelled => format!(
                "The job was canceled: {succeeded} of {} were made, for {actual}.",
                images(expected)
            ),
            _ if succeeded == 0 => {
                format!(
                    "None of {} was made. The job cost {actual}.",
                    images(expected)
                )
            }
            _ => format!(
                "{succeeded} of {} were made, for {actual}.",
                images(expected)
            ),
        };
        if saved > Usd::ZERO {
            let _ = write!(
                text,
                " Interactive requests would have cost {}, so the job saved {saved}.",
                cost.interactive_usd
            );
        }
        text
    }

    fn write_job(&self, page: &mut Page) {
        let took = self.time.finished.duration_since(self.time.planned);
        page.line(format_args!(
            "- Manifest: {}",
            Code(&self.manifest.uri.to_string())
        ));
        page.line(format_args!("- Planned: {}", moment(self.time.planned)));
        page.line(format_args!(
            "- Finished: {}, after {}",
            moment(self.time.finished),
            duration(took)
        ));
    }

    fn write_images(&self, page: &mut Page) {
        // All members are listed, so that a new status is shown.
        let Counts {
            expected,
            succeeded,
            failed,
            blocked,
            no_image,
            expired,
            cancelled,
            skipped,
        } = self.counts;
        page.heading("Images");
        page.table(["outcome", "images"], "-r");
        let rows = [
            ("made", succeeded),
            ("failed", failed),
            ("blocked by a filter", blocked),
            ("answered without an image", no_image),
            ("expired", expired),
            ("canceled", cancelled),
            ("never requested", skipped),
        ];
        for (outcome, count) in rows.into_iter().filter(|(_, count)| *count > 0) {
            page.row([&outcome, &count]);
        }
        page.row([&"**expected**", &format!("**{expected}**")]);
    }

    fn write_cost(&self, page: &mut Page) {
        let cost = &self.cost;
        page.heading("Cost");
        page.table(["", "dollars"], "-r");
        page.row([&"estimated", &cost.estimated_usd]);
        let variance = cost.variance_percent.filter(|percent| !percent.is_zero());
        let variance = variance.map(|percent| {
            let direction = if percent.is_sign_negative() {
                "below"
            } else {
                "above"
            };
            format!(
                " ({} % {direction} the estimate)",
                percent.abs().normalize()
            )
        });
        page.row([
            &format!("actual{}", variance.unwrap_or_default()),
            &format!("**{}**", cost.actual_usd),
        ]);
        page.row([&"the same in the lane `interactive`", &cost.interactive_usd]);
        page.row([&"saved", &cost.saved_usd]);
        if cost.unattributed_usd > Usd::ZERO {
            page.row([
                &"part of the actual cost that belongs to no image",
                &cost.unattributed_usd,
            ]);
        }
        if cost.unaccounted.requests > 0 {
            let requests = cost.unaccounted.requests;
            page.row([
                &format!("not included: estimate of {requests} requests without a known charge"),
                &cost.unaccounted.estimated_usd,
            ]);
        }

        page.table(["model", "images", "estimated", "actual", "saved"], "-rrrr");
        for ModelCost {
            model,
            images,
            estimated_usd,
            actual_usd,
            saved_usd,
            ..
        } in &cost.by_model
        {
            page.row([&Cell(model), images, estimated_usd, actual_usd, saved_usd]);
        }
        if !cost.by_lane.is_empty() {
            page.table(["lane", "images", "estimated", "actual", "saved"], "-rrrr");
            for lane in &cost.by_lane {
                let name: Lane = lane.lane;
                page.row([
                    &name,
                    &lane.images,
                    &lane.estimated_usd,
                    &lane.actual_usd,
                    &lane.saved_usd,
                ]);
            }
        }
    }

    /// Writes which images are missing, why, and how to request them again.
    fn write_missing(&self, page: &mut Page) {
        let missing = self.counts.expected - self.counts.succeeded;
        if missing == 0 {
            return;
        }
        page.heading("Missing images");
        for reason in &self.errors_top {
            page.line(format_args!(
                "- {} × {}, for example {}",
                reason.count,
                Code(&reason.code),
                Code(reason.example_key.as_str())
            ));
        }
        let (from, to) = (&self.links.retry, self.retry_address());
        let missing = match missing {
            1 => "missing image".to_owned(),
            count => format!("{count} missing images"),
        };
        page.paragraph(&format!(
            "The manifest [retry.jsonl](retry.jsonl) requests the {missing} again. Change prompts \
             that a filter has blocked, and drop it like any other manifest:"
        ));
        page.line(format_args!("```sh"));
        page.line(format_args!(
            "aws s3 cp {} {}",
            quoted(&format!("s3://{}/{from}", to.bucket)),
            quoted(&to.to_string())
        ));
        page.line(format_args!("```"));
    }

    /// Returns an address in the manifest's folder, because a user may be allowed to write there
    /// only. A folder whose name a shell or Markdown could misread is not used.
    fn retry_address(&self) -> ObjectUri {
        let uri = &self.manifest.uri;
        let folder = uri.key.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/_.-".contains(letter);
        let folder = if folder.starts_with("inbox/") && folder.chars().all(is_plain) {
            folder
        } else {
            "inbox"
        };
        ObjectUri {
            bucket: uri.bucket.clone(),
            key: format!("{folder}/{}-retry.jsonl", self.job_id),
        }
    }

    /// Writes how many images carry the marks that shops require.
    fn write_provenance(&self, page: &mut Page) {
        let ProvenanceCounts { iptc, c2pa, none } = self.provenance;
        if iptc + c2pa + none == 0 {
            return;
        }
        page.heading("Provenance");
        page.table(["mark", "images"], "-r");
        page.row([&"IPTC digital source type `trainedAlgorithmicMedia`", &iptc]);
        page.row([&"C2PA content credentials", &c2pa]);
        page.row([&"neither", &none]);
    }

    /// Writes what may still be fetched by hand, and images that match no request.
    fn write_batches(&self, page: &mut Page) {
        if !self.unfetched.is_empty() {
            page.heading("Batches that were not read completely");
            page.paragraph(
                "Their images may have been charged for. Fetch them before you drop \
                 `retry.jsonl`, which buys them again.",
            );
            for batch in &self.unfetched {
                let output = match &batch.output {
                    Some(BatchOutput::File(file)) => format!(", output {}", Code(file.as_str())),
                    Some(BatchOutput::Inline) => ", output in the batch itself".to_owned(),
                    None => ", without a known output".to_owned(),
                };
                let kept = batch.kept_until.map(moment);
                let kept = kept.map(|until| format!(", kept until {until}"));
                page.line(format_args!(
                    "- Shard {}: {}{output}{}",
                    batch.shard,
                    Code(batch.batch_name.as_str()),
                    kept.unwrap_or_default()
                ));
            }
        }
        if let Some(unmatched) = &self.unmatched {
            page.heading("Images that belong to no request");
            page.paragraph(&format!(
                "The folder [unmatched/](unmatched/) has {} that Gemini made and that can't be \
                 assigned to a request.",
                images(unmatched.images)
            ));
        }
    }

    /// Writes in how many cases the results deviate from the requests.
    fn write_deviations(&self, page: &mut Page) {
        let Integrity {
            unknown_keys,
            repeated_keys,
            unreadable_lines,
            skipped_lines,
            missing,
            wrong_ratio,
            wrong_size,
        } = self.integrity;
        let deviations = [
            ("images with another ratio than requested", wrong_ratio),
            ("images with another size than requested", wrong_size),
            ("requests that Gemini never answered", missing),
            ("results under an unknown key", unknown_keys),
            ("results whose key already had an image", repeated_keys),
            (
                "lines without a key or that can't be read",
                unreadable_lines,
            ),
            (
                "lines that were skipped because readers crashed",
                skipped_lines,
            ),
        ];
        let mut found = deviations
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .peekable();
        if found.peek().is_some() {
            page.heading("Deviations");
            found.for_each(|(what, count)| page.line(format_args!("- {count} {what}")));
        }
    }

    fn write_notes(&self, page: &mut Page) {
        if !self.notes.is_empty() {
            page.heading("Notes");
            for note in &self.notes {
                page.line(format_args!("- {}", Code(note)));
            }
        }
    }

    fn write_files(&self, page: &mut Page) {
        page.heading("Files");
        let own_table = self.links.own_table.as_ref();
        let shopify = self.links.shopify.as_ref();
        for (name, content) in [
            Some(("index.html", "all images on one page, to choose among them")),
            Some(("images/", "the images, as Gemini made them")),
            Some(("results.csv", "one row per image, for spreadsheets")),
            own_table.map(|_| ("table.csv", "your own table with the results")),
            shopify.map(|_| ("shopify.csv", "your table, to be imported into the store")),
            Some(("results.jsonl", "one line per image, for programs")),
            Some(("retry.jsonl", "a manifest of the missing images")),
            Some(("summary.json", "this summary, for programs")),
        ]
        .into_iter()
        .flatten()
        {
            page.line(format_args!("- [{name}]({name}): {content}"));
        }
    }
}

fn images(count: u64) -> String {
    match count {
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    }
}

fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn duration(took: SignedDuration) -> String {
    match (took.as_hours(), took.as_mins(), took.as_secs()) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {} s", seconds % 60),
        (hours, minutes, _) => format!("{hours} h {} min", minutes % 60),
    }
}

#[cfg(test)]
mod tests;
