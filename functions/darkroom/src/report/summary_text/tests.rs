//! What a user reads about a job.

use jiff::Timestamp;

use super::*;
use crate::{
    manifest::Reading,
    names::{BatchName, JobId, RequestKey, ShardId},
    plan::{ManifestVersion, PlanSummary},
    report::{CodeCount, Tally, UnfetchedBatch},
    status::UnmatchedImages,
};

fn summary(manifest: &str) -> Summary {
    let version = ManifestVersion {
        uri: manifest.parse().unwrap(),
        etag: "\"e\"".to_owned(),
        sha256: String::new(),
        size_bytes: 1,
    };
    let planned: Timestamp = "2026-11-27T09:00:00Z".parse().unwrap();
    Summary::unplanned(&JobId::new("catalog-1"), version, planned)
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

/// A summary in which every part is present.
fn partial(key: &str) -> Summary {
    let base = summary("s3://studio/inbox/acme/catalog.csv");
    let plan = PlanSummary::of(&Reading::default(), 1, base.time.planned);
    let mut cost = Tally::default().cost(&plan);
    cost.estimated_usd = usd("0.60");
    cost.actual_usd = usd("0.66");
    cost.variance_percent = "10".parse().ok();
    cost.interactive_usd = usd("1.32");
    cost.saved_usd = usd("0.66");
    cost.by_model = vec![ModelCost {
        model: "gemini-nano-banana-2.1".to_owned(),
        images: 25,
        estimated_usd: usd("0.60"),
        actual_usd: usd("0.66"),
        variance_percent: None,
        interactive_usd: usd("1.32"),
        saved_usd: usd("0.66"),
        by_round: Vec::new(),
    }];
    Summary {
        status: JobPhase::Partial,
        counts: Counts {
            expected: 28,
            succeeded: 25,
            blocked: 2,
            failed: 1,
            ..Counts::default()
        },
        integrity: Integrity {
            wrong_size: 4,
            ..Integrity::default()
        },
        provenance: ProvenanceCounts {
            iptc: 20,
            c2pa: 0,
            none: 5,
        },
        time: super::super::Times {
            finished: "2026-11-27T12:05:00Z".parse().unwrap(),
            ..base.time
        },
        cost,
        unfetched: vec![UnfetchedBatch {
            shard: ShardId::first(3),
            batch_name: BatchName::new("batches/b"),
            output: None,
            kept_until: Some("2027-01-02T09:00:00Z".parse().unwrap()),
        }],
        unmatched: Some(UnmatchedImages {
            images: 1,
            folder: "jobs/catalog-1/unmatched/".to_owned(),
        }),
        errors_top: vec![CodeCount {
            code: "IMAGE_SAFETY".to_owned(),
            count: 2,
            example_key: RequestKey::new(key),
        }],
        ..base
    }
}

#[test]
fn a_partial_job_is_explained_with_what_to_do_next() {
    insta::assert_snapshot!(partial("sneaker/white").to_markdown(), @r"
    # `catalog-1`

    25 of 28 images were made, for $0.66. Interactive requests would have cost $1.32, so the job saved $0.66.

    - Manifest: `s3://studio/inbox/acme/catalog.csv`
    - Planned: 2026-11-27 09:00 UTC
    - Finished: 2026-11-27 12:05 UTC, after 3 h 5 min

    ## Images

    | outcome | images |
    | --- | ---: |
    | made | 25 |
    | failed | 1 |
    | blocked by a filter | 2 |
    | **expected** | **28** |

    ## Cost

    |  | dollars |
    | --- | ---: |
    | estimated | $0.60 |
    | actual (10 % above the estimate) | **$0.66** |
    | the same in the lane `interactive` | $1.32 |
    | saved | $0.66 |

    | model | images | estimated | actual | saved |
    | --- | ---: | ---: | ---: | ---: |
    | `gemini-nano-banana-2.1` | 25 | $0.60 | $0.66 | $0.66 |

    ## Missing images

    - 2 × `IMAGE_SAFETY`, for example `sneaker/white`

    The manifest [retry.jsonl](retry.jsonl) requests the 3 missing images again. Change prompts that a filter has blocked, and drop it like any other manifest:

    ```sh
    aws s3 cp s3://studio/jobs/catalog-1/retry.jsonl s3://studio/inbox/acme/catalog-1-retry.jsonl
    ```

    ## Provenance

    | mark | images |
    | --- | ---: |
    | IPTC digital source type `trainedAlgorithmicMedia` | 20 |
    | C2PA content credentials | 0 |
    | neither | 5 |

    ## Batches that were not read completely

    Their images may have been charged for. Fetch them before you drop `retry.jsonl`, which buys them again.

    - Shard 0003: `batches/b`, without a known output, kept until 2027-01-02 09:00 UTC

    ## Images that belong to no request

    The folder [unmatched/](unmatched/) has 1 image that Gemini made and that can't be assigned to a request.

    ## Deviations

    - 4 images with another size than requested

    ## Files

    - [index.html](index.html): all images on one page, to choose among them
    - [images/](images/): the images, as Gemini made them
    - [results.csv](results.csv): one row per image, for spreadsheets
    - [results.jsonl](results.jsonl): one line per image, for programs
    - [retry.jsonl](retry.jsonl): a manifest of the missing images
    - [summary.json](summary.json): this summary, for programs
    ");
}

#[test]
fn the_outcome_is_one_sentence() {
    let outcome = |status, expected, succeeded| {
        let counts = Counts {
            expected,
            succeeded,
            ..Counts::default()
        };
        Summary {
            status,
            counts,
            ..summary("s3://studio/inbox/a.csv")
        }
        .outcome()
    };
    for (status, expected, succeeded, text) in [
        (JobPhase::Succeeded, 1, 1, "The image was made for $0.00."),
        (
            JobPhase::Succeeded,
            3,
            3,
            "All 3 images were made for $0.00.",
        ),
        (
            JobPhase::Partial,
            3,
            1,
            "1 of 3 images were made, for $0.00.",
        ),
        (
            JobPhase::Failed,
            1,
            0,
            "None of 1 image was made. The job cost $0.00.",
        ),
        (
            JobPhase::Cancelled,
            3,
            1,
            "The job was canceled: 1 of 3 images were made, for $0.00.",
        ),
    ] {
        assert_eq!(outcome(status, expected, succeeded), text);
    }
}

#[test]
fn a_job_without_missing_images_has_nothing_to_retry() {
    let page = summary("s3://studio/inbox/a.csv").to_markdown();
    assert!(!page.contains("aws s3 cp"), "{page}");
}

/// A command is never built from a name that a shell could misread.
#[test]
fn a_hostile_name_neither_runs_nor_becomes_markup() {
    let hostile = "x` <img src=x onerror=alert(1)> | [a](javascript:b) $(rm)\n# y";
    let mut summary = partial(hostile);
    summary.manifest.uri.key = "inbox/$(rm -rf)/`x`.csv".to_owned();
    let page = summary.to_markdown();
    assert!(
        page.contains("s3://studio/inbox/catalog-1-retry.jsonl\n"),
        "{page}"
    );
    let line = page.lines().find(|line| line.contains("onerror")).unwrap();
    assert!(
        line.contains("for example ``x` <img") && line.ends_with("# y``"),
        "{line}"
    );
}
