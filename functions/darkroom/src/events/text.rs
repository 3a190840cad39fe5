//! Events as messages for people.

use std::fmt::Write;

use super::{Ending, Event, Hold, HoldCause, News};

/// The maximum number of characters of a subject: SNS allows fewer than 100
/// (<https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>, read 2026-11).
const MAX_SUBJECT_CHARACTERS: usize = 99;

/// A message for a user, such as an e-mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One line of at most 99 characters of ASCII.
    pub subject: String,
    /// What happened, the counts and the cost, what to do, and where the results are.
    pub body: String,
}

impl Event {
    /// Returns the event as a message for a user.
    pub fn to_message(&self) -> Message {
        let (what, body) = match &self.news {
            News::Accepted {
                images,
                estimated_usd,
                warnings,
                ..
            } => {
                let mut body = format!(
                    "The job will make {} for about {estimated_usd}, without thinking tokens and \
                     retries.\n",
                    count(*images, "image"),
                );
                if *warnings > 0 {
                    let key = format!("{}validation.csv", self.folder);
                    let _ = writeln!(
                        body,
                        "\nRead the {}: {}",
                        count(*warnings, "warning"),
                        self.address(&key)
                    );
                }
                let _ = writeln!(
                    body,
                    "\nThere is nothing to do. Watch the job: {}\nTo cancel it: {}",
                    self.address(&format!("{}job.json", self.folder)),
                    self.put_command("cancel")
                );
                (
                    format!(
                        "accepted, {}, about {estimated_usd}",
                        count(*images, "image")
                    ),
                    body,
                )
            }
            News::Rejected { errors, validation } => (
                format!("rejected, {}", count(*errors, "error")),
                format!(
                    "The manifest has {}. Nothing was bought.\n\nRead the errors, correct the \
                     manifest and drop it again: {}\n",
                    count(*errors, "error"),
                    self.address(validation)
                ),
            ),
            News::Held(hold) => self.held(hold),
            News::Progress {
                percent,
                finished,
                images,
            } => (
                format!("{percent} % finished"),
                format!("{finished} of {} are finished.\n", count(*images, "image")),
            ),
            News::Completed(ending) => (made("completed", ending), self.ended(ending)),
            News::Partial(ending) => (made("partial", ending), self.ended(ending)),
            News::Failed(ending) => (made("failed", ending), self.ended(ending)),
            News::Cancelled(ending) => (made("canceled", ending), self.ended(ending)),
        };
        Message {
            subject: subject(&format!("Darkroom: {} {what}", self.job)),
            body: format!(
                "{body}\nJob: {}\nManifest: {}\nTime: {}\nEvent: {} {}\n",
                self.job,
                self.manifest,
                self.time.strftime("%Y-%m-%d %H:%M UTC"),
                self.news.kind().detail_type(),
                self.id
            ),
        }
    }

    fn held(&self, hold: &Hold) -> (String, String) {
        let images = count(hold.images, "image");
        let mut body = match hold.cause {
            HoldCause::Decision => format!("{images} wait for your decision.\n"),
            HoldCause::Document => "The job can't be closed until a document is repaired.\n".into(),
        };
        for reason in &hold.reasons {
            let _ = writeln!(
                body,
                "\n- {}: {}",
                count(reason.images, "image"),
                one_line(&reason.reason)
            );
        }
        let what = match hold.cause {
            HoldCause::Decision => {
                let _ = writeln!(
                    body,
                    "\nTo approve: {}\nTo end the job with what it has: {}",
                    self.put_command("approve"),
                    self.put_command("cancel")
                );
                format!("held, {images} wait for your decision")
            }
            HoldCause::Document => "held, a document needs repair".to_owned(),
        };
        (what, body)
    }

    fn ended(&self, ending: &Ending) -> String {
        let mut body = format!("{}\n", ending.outcome);
        let missing = ending.counts.expected - ending.counts.succeeded;
        if missing > 0 {
            let _ = writeln!(body, "\nMissing: {}.", count(missing, "image"));
            for reason in &ending.errors_top {
                let (code, key) = (
                    one_line(&reason.code),
                    one_line(reason.example_key.as_str()),
                );
                let _ = writeln!(body, "- {} x {code}, for example {key}", reason.count);
            }
            let _ = writeln!(
                body,
                "To request them again, change the prompts that a filter has blocked, and drop {}",
                self.address(&ending.links.retry)
            );
        }
        let links = &ending.links;
        let _ = writeln!(
            body,
            "\nTo fetch the images: aws s3 sync {} images/\n\nImages: {}\nGallery: {}\nTable: {}\n\
             Summary: {}",
            self.address(&links.images),
            self.address(&links.images),
            self.address(&links.gallery),
            self.address(&links.table),
            self.address(&links.summary)
        );
        body
    }

    fn address(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    /// Returns the command that puts a request about the job into the bucket.
    fn put_command(&self, word: &str) -> String {
        format!(
            "aws s3api put-object --bucket {} --key control/{}/{word}",
            self.bucket, self.job
        )
    }
}

fn made(what: &str, ending: &Ending) -> String {
    format!(
        "{what}, {} of {}",
        ending.counts.succeeded,
        count(ending.counts.expected, "image")
    )
}

fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

/// Returns a text from a manifest or from Gemini on one line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|character| match character.is_control() {
            true => ' ',
            false => character,
        })
        .collect()
}

/// Returns a line that SNS accepts as a subject: shortened, without control characters, in ASCII.
fn subject(line: &str) -> String {
    line.chars()
        .take(MAX_SUBJECT_CHARACTERS)
        .map(
            |character| match character.is_ascii() && !character.is_control() {
                true => character,
                false => '?',
            },
        )
        .collect()
}
