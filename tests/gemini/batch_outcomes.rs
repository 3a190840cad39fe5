//! Outcomes of whole batches, and the effect of a cancel.

use gemini_sim::{BatchOutcome, BatchOutcomeRule, Scenario};
use http::StatusCode;
use serde_json::{Value, json};

use super::service::{
    Service, assert_schema, download_path, image, jpeg_pixels, name, plain_lines, request, steady,
};

const MODEL: &str = "gemini-3.1-flash-image";
const TWO_DAYS: i64 = 48 * 60;

fn with_outcome(which: &str, outcome: BatchOutcome) -> Scenario {
    Scenario {
        batch_outcomes: vec![BatchOutcomeRule {
            which: which.parse().unwrap(),
            outcome,
        }],
        ..steady()
    }
}

/// Creates a service whose first batch has this outcome, and that batch, with eight lines.
async fn first(outcome: BatchOutcome) -> (Service, Value) {
    let service = Service::new(with_outcome("1", outcome));
    let batch = service.batch(MODEL, &plain_lines(8)).await;
    (service, batch)
}

fn state(operation: &Value) -> &str {
    operation["metadata"]["state"].as_str().unwrap()
}

async fn cancel(service: &Service, batch: &Value) {
    assert_eq!(
        service
            .call("POST", &format!("/v1beta/{}:cancel", name(batch)))
            .await
            .json(),
        json!({})
    );
}

async fn assert_no_results(service: &Service, operation: &Value) {
    assert_eq!(operation["done"], true);
    assert_eq!(operation["metadata"].get("output"), None);
    assert_eq!(operation.get("response"), None);
    assert_eq!(
        service
            .call("GET", &download_path(operation))
            .await
            .error()
            .0,
        403
    );
}

#[tokio::test]
async fn a_cancel_before_the_start_leaves_all_requests_pending() {
    let service = Service::steady();
    let batch = service.batch(MODEL, &plain_lines(4)).await;
    service.pass_minutes(5);
    assert_eq!(
        service
            .call("POST", &format!("/v1beta/{}:cancel", name(&batch)))
            .await
            .json(),
        json!({})
    );
    service.pass_minutes(500);
    let cancelled = service.get(&batch).await;
    assert_schema("Operation", &cancelled);
    assert_eq!(cancelled["done"], true);
    assert_eq!(cancelled["metadata"]["state"], "BATCH_STATE_CANCELLED");
    assert_eq!(
        cancelled["metadata"]["batchStats"],
        json!({"requestCount": "4", "pendingRequestCount": "4"})
    );
    assert_eq!(cancelled["error"]["code"], 13);
    assert_eq!(cancelled["metadata"].get("output"), None);
    assert_eq!(service.gemini.billed().unwrap(), 0);
}

#[tokio::test]
async fn a_cancel_after_the_start_ends_in_either_of_two_ways() {
    let service = Service::steady();
    let mut batches = Vec::new();
    for _ in 0..12 {
        batches.push(service.batch(MODEL, &plain_lines(4)).await);
    }
    service.pass_minutes(55);
    let running = service.gemini.billed().unwrap();
    for batch in &batches {
        cancel(&service, batch).await;
    }
    service.pass_minutes(500);
    let service = service.reopened(Scenario {
        seed: 5,
        ..steady()
    });
    let (mut succeeded, mut partial) = (0, 0);
    for batch in &batches {
        let ended = service.get(batch).await;
        assert_schema("Operation", &ended);
        assert_eq!(ended["done"], true);
        assert_eq!(ended.get("error"), None);
        let stats = &ended["metadata"]["batchStats"];
        let lines = service.results(batch).await;
        assert!(
            lines[..2]
                .iter()
                .all(|line| jpeg_pixels(&image(line)) == (512, 512))
        );
        match state(&ended) {
            "BATCH_STATE_SUCCEEDED" => {
                assert_eq!(
                    *stats,
                    json!({"requestCount": "4", "successfulRequestCount": "2", "failedRequestCount": "2"})
                );
                let unserved: Vec<_> = lines[2..]
                    .iter()
                    .map(|line| (&line["key"], &line["error"]))
                    .collect();
                assert_eq!(
                    unserved,
                    [
                        (&json!("k2"), &json!({"code": 1})),
                        (&json!("k3"), &json!({"code": 1}))
                    ]
                );
                succeeded += 1;
            }
            "BATCH_STATE_CANCELLED" => {
                assert_eq!(
                    *stats,
                    json!({"requestCount": "4", "successfulRequestCount": "2", "pendingRequestCount": "2"})
                );
                assert_eq!(lines.len(), 2);
                partial += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(
        succeeded > 0 && partial > 0,
        "{succeeded} succeeded, {partial} partial"
    );
    assert_eq!(
        service.gemini.billed().unwrap(),
        running,
        "unserved requests cost nothing"
    );
}

#[tokio::test]
async fn cancel_after_the_end_changes_nothing() {
    let service = Service::steady();
    let batch = service.batch(MODEL, &plain_lines(2)).await;
    service.pass_minutes(100);
    let ended = service.get(&batch).await;
    cancel(&service, &batch).await;
    assert_eq!(service.get(&batch).await, ended);
}

#[tokio::test]
async fn stuck_batches_end_only_by_a_cancel() {
    for (outcome, stays) in [
        (BatchOutcome::StuckPending, "PENDING"),
        (BatchOutcome::StuckRunning, "RUNNING"),
    ] {
        let (service, batch) = first(outcome).await;
        service.pass_minutes(5 * TWO_DAYS);
        let stuck = service.get(&batch).await;
        assert_eq!(state(&stuck), format!("BATCH_STATE_{stays}"));
        assert_eq!(stuck.get("done"), None);
        assert_eq!(service.gemini.next_event(), None);
        cancel(&service, &batch).await;
        assert_eq!(service.get(&batch).await["done"], true);
    }
}

#[tokio::test]
async fn expired_batch_runs_two_days_and_has_no_results() {
    let (service, batch) = first(BatchOutcome::Expired).await;
    service.pass_minutes(TWO_DAYS - 1);
    assert_eq!(state(&service.get(&batch).await), "BATCH_STATE_RUNNING");
    service.pass_minutes(1);
    let expired = service.get(&batch).await;
    assert_schema("Operation", &expired);
    assert_eq!(state(&expired), "BATCH_STATE_EXPIRED");
    assert_no_results(&service, &expired).await;
    assert_eq!(service.gemini.billed().unwrap(), 0);
}

#[tokio::test]
async fn a_failed_batch_has_a_top_level_error_or_none() {
    for (outcome, code) in [
        (BatchOutcome::Failed, json!(13)),
        (BatchOutcome::FailedSilently, Value::Null),
    ] {
        let (service, batch) = first(outcome).await;
        service.pass_minutes(99);
        assert_eq!(state(&service.get(&batch).await), "BATCH_STATE_RUNNING");
        service.pass_minutes(1);
        let failed = service.get(&batch).await;
        assert_schema("Operation", &failed);
        assert_eq!(state(&failed), "BATCH_STATE_FAILED");
        assert_eq!(failed["error"]["code"], code);
        assert_eq!(
            failed.get("error").is_some(),
            outcome == BatchOutcome::Failed
        );
        assert_no_results(&service, &failed).await;
        assert_eq!(service.gemini.billed().unwrap(), 0);
    }
}

#[tokio::test]
async fn a_batch_cancelled_by_the_service_has_half_of_its_results() {
    let (service, batch) = first(BatchOutcome::Cancelled).await;
    service.pass_minutes(100);
    let cancelled = service.get(&batch).await;
    assert_eq!(state(&cancelled), "BATCH_STATE_CANCELLED");
    let stats =
        json!({"requestCount": "8", "successfulRequestCount": "4", "pendingRequestCount": "4"});
    assert_eq!(cancelled["metadata"]["batchStats"], stats);
    assert_eq!(service.results(&batch).await.len(), 4);
}

#[tokio::test]
async fn a_truncated_file_ends_in_the_middle_of_a_line() {
    let (service, batch) = first(BatchOutcome::Truncated).await;
    service.pass_minutes(100);
    let ended = service.get(&batch).await;
    assert_eq!(state(&ended), "BATCH_STATE_SUCCEEDED");
    assert_eq!(
        ended["metadata"]["batchStats"],
        json!({"requestCount": "8", "successfulRequestCount": "8"})
    );
    let truncated = service.output(&batch).await;

    let regular = Service::steady();
    let batch = regular.batch(MODEL, &plain_lines(8)).await;
    regular.pass_minutes(100);
    let whole = regular.output(&batch).await;
    assert!(whole.starts_with(&truncated));
    let ends: Vec<usize> = whole
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1)
        .collect();
    assert!(
        ends[2] < truncated.len() && truncated.len() < ends[3],
        "the file ends inside the fourth line"
    );
    assert_eq!(
        service.gemini.billed().unwrap(),
        regular.gemini.billed().unwrap()
    );
}

#[tokio::test]
async fn an_outcome_applies_to_the_selected_batch_and_survives_a_restart() {
    let service = Service::new(with_outcome("2", BatchOutcome::Failed));
    let mut batches = vec![service.batch(MODEL, &plain_lines(1)).await];
    // A rejected batch takes no ordinal.
    assert_eq!(
        service.try_batch(MODEL, "{").await.status,
        StatusCode::BAD_REQUEST
    );
    let service = service.reopened(with_outcome("2", BatchOutcome::Failed));
    batches.push(service.batch(MODEL, &plain_lines(1)).await);
    batches.push(service.batch(MODEL, &plain_lines(1)).await);
    let service = service.reopened(with_outcome("100%", BatchOutcome::Expired));
    service.pass_minutes(100);
    let mut states = Vec::new();
    for batch in &batches {
        states.push(state(&service.get(batch).await).to_owned());
    }
    assert_eq!(
        states,
        [
            "BATCH_STATE_SUCCEEDED",
            "BATCH_STATE_FAILED",
            "BATCH_STATE_SUCCEEDED"
        ]
    );
}

#[tokio::test]
async fn the_seed_determines_a_share_of_batches() {
    let mut drawn = Vec::new();
    for seed in [1, 1, 2] {
        let service = Service::new(Scenario {
            seed,
            ..with_outcome("50%", BatchOutcome::Failed)
        });
        let mut failed = Vec::new();
        for _ in 0..12 {
            failed.push(service.batch(MODEL, &plain_lines(1)).await);
        }
        service.pass_minutes(100);
        let mut states = Vec::new();
        for batch in &failed {
            states.push(state(&service.get(batch).await).to_owned());
        }
        drawn.push(states);
    }
    assert_eq!(drawn[0], drawn[1]);
    assert_ne!(drawn[0], drawn[2]);
    assert!(drawn[0].iter().any(|state| state != "BATCH_STATE_FAILED"));
    assert!(drawn[0].iter().any(|state| state == "BATCH_STATE_FAILED"));
}

#[tokio::test]
async fn lists_lag_but_lookups_by_name_do_not() {
    let service = Service::new(Scenario {
        list_lag_seconds: 600,
        ..steady()
    });
    let mut batches = Vec::new();
    for _ in 0..10 {
        batches.push(service.batch(MODEL, &plain_lines(1)).await);
    }
    let listed = async || {
        let list = service
            .call("GET", "/v1beta/batches?pageSize=100")
            .await
            .json();
        list.get("operations")
            .map_or(0, |operations| operations.as_array().unwrap().len())
    };
    assert!(listed().await < 3, "few batches are listed at once");
    for batch in &batches {
        assert_eq!(service.get(batch).await["name"], batch["name"]);
    }
    service.pass_minutes(5);
    assert!(
        (1..10).contains(&listed().await),
        "some batches are listed after half of the lag"
    );
    service.pass_minutes(5);
    assert_eq!(listed().await, 10);
}

#[tokio::test]
async fn ranges_are_honored_if_enabled() {
    for ranges in [false, true] {
        let service = Service::new(Scenario { ranges, ..steady() });
        let batch = service.batch(MODEL, &plain_lines(3)).await;
        service.pass_minutes(100);
        let whole = service.output(&batch).await;
        let from = async |range: String| {
            let asked = request("GET", &download_path(&batch)).header("range", range);
            service
                .send(asked.body(seam::transport::empty()).unwrap())
                .await
        };
        let (first, length) = (whole.len() / 2, whole.len());
        let part = from(format!("bytes={first}-")).await;
        if !ranges {
            assert_eq!(
                (part.status.as_u16(), part.header("content-range")),
                (200, String::new())
            );
            assert!(part.bytes == whole);
            continue;
        }
        assert_eq!(part.status, 206);
        assert_eq!(
            part.header("content-range"),
            format!("bytes {first}-{}/{length}", length - 1)
        );
        assert!(part.bytes == whole[first..]);
        let two = from("bytes=5-6".to_owned()).await;
        assert!((two.status.as_u16(), &two.bytes[..]) == (206, &whole[5..7]));
        let behind = from(format!("bytes={length}-")).await;
        assert_eq!(
            (behind.status.as_u16(), behind.header("content-range")),
            (416, format!("bytes */{length}"))
        );
    }
}
