//! Which events follow from which documents, and what they contain.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::{
    manifest::Reading,
    names::{FolderPath, ShardId},
    plan::{ManifestVersion, PlanSummary},
    report::Summary,
    status::{Blocker, JobPhase, JobStatus, ShardPhase, ShardStatus},
};

const STACK: &str = "darkroom-3f2a";

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn at(time: &str) -> Timestamp {
    format!("2026-11-21T{time}Z").parse().unwrap()
}

fn job() -> JobId {
    JobId::new("catalog-9cf485441ecdeefd")
}

fn manifest() -> ObjectUri {
    "s3://studio/inbox/acme/catalog.csv".parse().unwrap()
}

fn status(phase: JobPhase) -> JobStatus {
    JobStatus {
        folder: Some(JobFolder {
            path: FolderPath::new("inbox/acme/**"),
            notify: vec!["studio@acme.example".to_owned()],
        }),
        ..JobStatus::new(&job(), &manifest(), phase, at("10:00:00"))
    }
}

/// An open job of 28 images of which some are finished.
fn open(finished: u64) -> JobStatus {
    let mut plan = PlanSummary::of(&Reading::default(), 2, at("09:00:00"));
    plan.images = 28;
    plan.estimate.batch_usd = usd("0.94");
    plan.warnings = 1;
    JobStatus {
        plan: Some(plan),
        finished,
        ..status(JobPhase::Waiting)
    }
}

fn shard(number: u32, phase: ShardPhase, note: &str) -> ShardStatus {
    let mut entry: ShardStatus = serde_json::from_value(json!({
        "shard": ShardId::first(number), "phase": "planned", "requests": 14, "finished": 0
    }))
    .unwrap();
    entry.phase = phase;
    entry.note = (!note.is_empty()).then(|| note.to_owned());
    entry
}

/// An open job one of whose shards is held.
fn held() -> JobStatus {
    let reason = "a create call was not answered, and no batch was found in three lookups. To \
                  approve, upload an empty object as control/catalog-9cf485441ecdeefd/approve";
    JobStatus {
        shards: vec![
            shard(0, ShardPhase::Submitted, ""),
            shard(1, ShardPhase::Held, reason),
        ],
        ..open(0)
    }
}

/// A job that has ended in this phase with this number of images.
fn ended(phase: JobPhase, succeeded: u64) -> JobDocuments {
    let version = ManifestVersion {
        uri: manifest(),
        etag: "\"e\"".to_owned(),
        sha256: String::new(),
        size_bytes: 1,
    };
    let mut summary = Summary::unplanned(&job(), version, at("09:00:00"));
    summary.status = phase;
    summary.time.finished = at("10:30:00");
    summary.counts.expected = 28;
    summary.counts.succeeded = succeeded;
    summary.cost.estimated_usd = usd("0.94");
    let blocked = 28 - succeeded;
    if succeeded > 0 {
        summary.cost.actual_usd = usd("0.92");
        summary.cost.interactive_usd = usd("1.84");
        summary.cost.saved_usd = usd("0.92");
    }
    if phase == JobPhase::Cancelled {
        summary.counts.cancelled = blocked;
    } else {
        summary.counts.blocked = blocked;
    }
    if blocked > 0 {
        summary.errors_top = vec![CodeCount {
            code: "PROHIBITED_CONTENT".to_owned(),
            count: blocked,
            example_key: crate::names::RequestKey::new("sneaker/white/street"),
        }];
    }
    JobDocuments {
        status: JobStatus {
            phase,
            ..open(succeeded)
        },
        has_marker: true,
        summary: Some(summary),
    }
}

fn documents(status: JobStatus) -> JobDocuments {
    JobDocuments {
        status,
        has_marker: false,
        summary: None,
    }
}

/// The events of a job whose outbox has followed only this status.
fn events(documents: &JobDocuments) -> Vec<Event> {
    let mut outbox = Outbox::new(&documents.status.job);
    outbox.follow(&documents.status);
    documents.events(STACK, &outbox)
}

fn kinds(documents: &JobDocuments) -> Vec<EventKind> {
    events(documents)
        .iter()
        .map(|event| event.news.kind())
        .collect()
}

/// One event of each kind, in the order of [`EventKind::ALL`].
fn samples() -> Vec<Event> {
    let rejected = JobDocuments {
        has_marker: true,
        ..documents(JobStatus {
            errors: Some(3),
            ..status(JobPhase::Rejected)
        })
    };
    let last = |documents: &JobDocuments| events(documents).pop().unwrap();
    vec![
        last(&documents(open(0))),
        last(&rejected),
        last(&documents(held())),
        last(&documents(open(15))),
        last(&ended(JobPhase::Succeeded, 28)),
        last(&ended(JobPhase::Partial, 25)),
        last(&ended(JobPhase::Failed, 0)),
        last(&ended(JobPhase::Cancelled, 12)),
    ]
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

fn schema() -> jsonschema::Validator {
    let schema = fs::read(folder().join("schema/event.schema.json")).unwrap();
    jsonschema::validator_for(&serde_json::from_slice(&schema).unwrap()).unwrap()
}

/// An event as a subscriber of the bus receives it.
fn envelope(event: &Event) -> Value {
    json!({
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": event.news.kind().detail_type(),
        "source": SOURCE,
        "account": "123456789012",
        "time": event.time,
        "region": "us-east-1",
        "resources": [format!("arn:aws:s3:::{}/{}", event.bucket, event.folder)],
        "detail": event,
    })
}

#[test]
fn there_is_a_sample_of_each_event_and_it_is_what_the_code_makes() {
    for (event, kind) in samples().iter().zip(EventKind::ALL) {
        assert_eq!(event.news.kind(), kind);
        let made = serde_json::to_string_pretty(&envelope(event)).unwrap() + "\n";
        let name = kind.webhook_type().trim_start_matches("job.").to_owned() + ".json";
        let kept = folder().join("samples").join(&name);
        if fs::read_to_string(&kept).unwrap_or_default() != made {
            let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target");
            fs::write(here.join(&name), made).unwrap();
            panic!("{} differs: copy target/{name}", kept.display());
        }
    }
}

#[test]
fn every_event_is_valid_by_the_schema_and_a_part_of_one_is_not() {
    let schema = schema();
    for event in samples() {
        let event = serde_json::to_value(event).unwrap();
        let faults: Vec<_> = schema.iter_errors(&event).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{event}: {faults:?}");
        for member in event.as_object().unwrap().keys() {
            let mut less = event.clone();
            less.as_object_mut().unwrap().remove(member);
            // Only the tenant is optional: not every manifest is in a folder of a tenant.
            assert_eq!(
                schema.is_valid(&less),
                member == "tenant",
                "{member} in {event}"
            );
        }
    }
}

#[test]
fn a_job_that_is_planned_is_accepted_and_a_dry_run_is_neither() {
    assert_eq!(kinds(&documents(open(0))), [EventKind::Accepted]);
    let estimated = JobStatus {
        phase: JobPhase::Estimated,
        ..open(0)
    };
    let estimated = JobDocuments {
        has_marker: true,
        ..documents(estimated)
    };
    assert!(kinds(&estimated).is_empty() && estimated.is_final());
}

#[test]
fn nothing_is_said_about_an_end_before_its_marker_exists() {
    let rejected = documents(status(JobPhase::Rejected));
    assert!(kinds(&rejected).is_empty() && !rejected.is_final());
    let closing = JobDocuments {
        has_marker: false,
        summary: None,
        ..ended(JobPhase::Partial, 25)
    };
    assert_eq!(kinds(&closing), [EventKind::Accepted]);
    assert!(!closing.is_final());
}

#[test]
fn each_quarter_comes_once_and_a_retry_does_not_repeat_one() {
    let mut outbox = Outbox::new(&job());
    let mut seen = Vec::new();
    for finished in [0, 6, 7, 13, 20, 6, 8, 21, 28] {
        let documents = documents(open(finished));
        outbox.follow(&documents.status);
        for event in documents.events(STACK, &outbox) {
            if let News::Progress { percent, .. } = event.news
                && !outbox.was_sent(&event.id, TargetName::Webhook)
            {
                seen.push((finished, percent));
                outbox.record(&event, TargetName::Webhook, event.time);
            }
        }
    }
    assert_eq!(seen, [(7, 25), (20, 50), (21, 75)]);
}

#[test]
fn progress_and_holds_of_a_job_that_has_ended_are_not_sent() {
    let before = JobDocuments {
        status: JobStatus {
            phase: JobPhase::Partial,
            ..held()
        },
        ..ended(JobPhase::Partial, 25)
    };
    assert_eq!(kinds(&before), [EventKind::Accepted, EventKind::Partial]);
}

#[test]
fn a_job_that_is_held_again_after_a_decision_is_another_event() {
    let id = |outbox: &mut Outbox, status: JobStatus| {
        outbox.follow(&status);
        let events = documents(status).events(STACK, outbox);
        let held = events
            .into_iter()
            .find(|event| event.news.kind() == EventKind::Held);
        held.map(|event| event.id)
    };
    let mut outbox = Outbox::new(&job());
    let first = id(&mut outbox, held());
    assert!(first.is_some());

    // More held shards are part of the same decision, which is about all of them.
    let mut more = held();
    more.shards[0] = shard(0, ShardPhase::Held, "another reason");
    assert_eq!(id(&mut outbox, more), first);
    assert_eq!(id(&mut outbox, open(0)), None);
    let second = id(&mut outbox, held());
    assert!(second.is_some() && second != first);

    // A document that needs repair is something else than a decision.
    let blocked = JobStatus {
        blocker: Some(Blocker::missing("jobs/a/plan.jsonl", at("10:00:00"))),
        phase: JobPhase::Blocked,
        ..held()
    };
    let third = id(&mut outbox, blocked);
    assert!(third.is_some() && third != second);
}

#[test]
fn what_waits_for_a_proof_is_announced_once_the_proof_is_made() {
    let of = |proof: ShardPhase, rest: ShardPhase, follows_proof: bool| JobStatus {
        shards: vec![
            ShardStatus {
                proof: true,
                ..shard(0, proof, "held: no answer")
            },
            ShardStatus {
                follows_proof,
                ..shard(1, rest, "held until the proof is approved")
            },
        ],
        ..open(0)
    };
    use ShardPhase::{Done, Held, Submitted};
    assert_eq!(Hold::of(&of(Submitted, Held, false)), None);
    let made = of(Done, Held, false);
    let hold = Hold::of(&made).unwrap();
    assert_eq!((hold.cause, hold.images), (HoldCause::Decision, 14));
    assert!(!Hold::may_be_released(&made));
    // `control` releases these if all of the proof has succeeded.
    assert!(Hold::may_be_released(&of(Done, Held, true)));
    // A shard of the proof itself is held: only a user can continue it.
    let stuck = Hold::of(&of(Held, Held, false)).unwrap();
    assert_eq!(
        (stuck.images, stuck.reasons[0].reason.as_str()),
        (14, "held: no answer")
    );
}

#[test]
fn news_is_a_hold_its_end_or_another_quarter() {
    assert!(has_news(&open(0), &held()) && has_news(&held(), &open(0)));
    assert!(has_news(&open(6), &open(7)) && !has_news(&open(7), &open(13)));
    assert!(!has_news(&open(20), &open(6)) && !has_news(&held(), &held()));
}

#[test]
fn an_id_depends_on_the_job_the_kind_and_the_occurrence_only() {
    let ids = |documents: &JobDocuments| -> Vec<EventId> {
        events(documents)
            .into_iter()
            .map(|event| event.id)
            .collect()
    };
    let later = JobStatus {
        updated_at: at("11:00:00"),
        ..open(0)
    };
    assert_eq!(ids(&documents(open(0))), ids(&documents(later)));
    let mut all: Vec<EventId> = samples().into_iter().map(|event| event.id).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), EventKind::ALL.len());
    let accepted = EventId::of(&JobId::new("another"), EventKind::Accepted, 0);
    assert!(!all.contains(&accepted));
}

#[test]
fn a_record_has_each_event_once_with_its_targets() {
    let [accepted, .., cancelled] = &samples()[..] else {
        panic!("there are eight samples")
    };
    let mut outbox = Outbox::new(&job());
    outbox.record(accepted, TargetName::Sns, at("10:00:00"));
    outbox.record(accepted, TargetName::Webhook, at("10:00:01"));
    outbox.record(cancelled, TargetName::Sns, at("10:00:02"));
    for (event, target, sent) in [
        (accepted, TargetName::Sns, true),
        (accepted, TargetName::Webhook, true),
        (accepted, TargetName::EventBridge, false),
        (cancelled, TargetName::Sns, true),
        (cancelled, TargetName::Webhook, false),
    ] {
        assert_eq!(outbox.was_sent(&event.id, target), sent, "{target}");
    }
    assert_eq!(outbox.events.len(), 2);
    let stored = serde_json::to_string(&outbox).unwrap();
    assert_eq!(serde_json::from_str::<Outbox>(&stored).unwrap(), outbox);
}

#[test]
fn a_claim_ends_with_its_lease() {
    let mut outbox = Outbox::new(&job());
    assert!(!outbox.is_claimed(at("10:00:00")));
    outbox.claimed_until = Some(at("10:15:00"));
    assert!(outbox.is_claimed(at("10:14:59")));
    assert!(!outbox.is_claimed(at("10:15:00")));
}

#[test]
fn a_message_names_the_counts_the_cost_what_to_do_and_where_the_results_are() {
    for (event, subject, parts) in samples()
        .iter()
        .zip([
            (
                "accepted, 28 images, about $0.94",
                &["1 warning", "job.json", "cancel"][..],
            ),
            (
                "rejected, 3 errors",
                &["Nothing was bought", "validation.csv", "drop it again"],
            ),
            (
                "held, 14 images wait for your decision",
                &[
                    "no batch was found",
                    "control/catalog-9cf485441ecdeefd/approve",
                ],
            ),
            ("50 % finished", &["15 of 28 images"]),
            (
                "completed, 28 of 28 images",
                &[
                    "All 28 images were made for $0.92",
                    "saved $0.92",
                    "images/",
                    "index.html",
                ],
            ),
            (
                "partial, 25 of 28 images",
                &[
                    "Missing: 3 images",
                    "PROHIBITED_CONTENT",
                    "retry.jsonl",
                    "results.csv",
                ],
            ),
            (
                "failed, 0 of 28 images",
                &["None of 28 images was made", "Missing: 28 images"],
            ),
            (
                "canceled, 12 of 28 images",
                &["The job was canceled", "retry.jsonl"],
            ),
        ])
        .map(|(event, (subject, parts))| (event, subject, parts))
    {
        let message = event.to_message();
        assert_eq!(
            message.subject,
            format!("Darkroom: catalog-9cf485441ecdeefd {subject}")
        );
        for part in parts {
            assert!(message.body.contains(part), "{part}: {}", message.body);
        }
        assert!(message.body.contains(event.id.as_str()));
    }
}

#[test]
fn a_subject_is_one_short_line_of_ascii_whatever_the_job_is_called() {
    let mut event = samples().remove(0);
    event.job = JobId::new(format!("日本\n{}", "x".repeat(200)));
    let subject = event.to_message().subject;
    assert!(subject.len() < 100 && subject.is_ascii(), "{subject}");
    assert!(!subject.contains(char::is_control), "{subject}");
}

#[test]
fn a_reason_can_not_begin_a_line_of_the_message() {
    let mut status = held();
    status.shards[1].note = Some("bad\n\nTo approve: curl https://evil.example".to_owned());
    let event = events(&documents(status)).pop().unwrap();
    let body = event.to_message().body;
    assert!(body.contains("bad  To approve: curl"), "{body}");
}
