//! Outages, which start and end by the simulated clock alone.

use gemini_sim::{Call, Calls, Fault, Outage, Scenario};
use serde_json::{Value, json};

use super::service::{Service, chunk, download_path, lines_of, name, plain_lines, steady};

const MODEL: &str = "gemini-3.1-flash-image";

fn outages(rules: &[&str]) -> Scenario {
    Scenario {
        outages: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
        ..steady()
    }
}

async fn status(service: &Service, path: &str) -> u16 {
    service.call("GET", path).await.status.as_u16()
}

#[tokio::test]
async fn an_outage_affects_only_its_period_and_its_calls() {
    let service = Service::new(outages(&["list-files:503:10m..20m"]));
    let mut listed = Vec::new();
    for _ in 0..=2 {
        listed.push(status(&service, "/v1beta/files").await);
        assert_eq!(status(&service, "/v1beta/models").await, 200);
        service.pass_minutes(10);
    }
    assert_eq!(listed, [200, 503, 200]);
    assert_eq!(
        service.gemini.requests().of(Call::ListFiles),
        3,
        "failed calls are counted"
    );
}

#[tokio::test]
async fn an_outage_continues_after_a_restart_and_does_not_repeat() {
    let rules = ["any:500:0..1h"];
    let service = Service::new(outages(&rules));
    service.pass_minutes(30);
    assert_eq!(status(&service, "/v1beta/files").await, 500);
    let service = service.reopened(outages(&rules));
    assert_eq!(
        status(&service, "/v1beta/files").await,
        500,
        "the outage continues after a restart"
    );
    service.pass_minutes(29);
    let service = service.reopened(outages(&rules));
    assert_eq!(status(&service, "/v1beta/files").await, 500);
    service.pass_minutes(1);
    assert_eq!(status(&service, "/v1beta/files").await, 200);
    let service = service.reopened(outages(&rules));
    assert_eq!(
        status(&service, "/v1beta/files").await,
        200,
        "reopening the folder does not change its age"
    );
}

#[tokio::test]
async fn the_age_of_the_state_folder_does_not_depend_on_calls() {
    let service = Service::new(outages(&["any:500:0..1h"]));
    service.pass_minutes(60);
    let service = service.reopened(outages(&["any:500:0..1h"]));
    assert_eq!(status(&service, "/v1beta/files").await, 200);
}

#[tokio::test]
async fn an_outage_of_uploads_affects_every_call_of_an_upload() {
    let service = Service::new(outages(&["uploads:403:1m..2m"]));
    let started = service.start_upload(5, "text/plain", json!({})).await;
    let url = started.header("x-goog-upload-url");
    service.pass_minutes(1);
    assert_eq!(
        service
            .start_upload(5, "text/plain", json!({}))
            .await
            .status,
        403
    );
    let whole = || chunk(&url, "upload, finalize", 0, seam::transport::full("hello"));
    assert_eq!(service.send(whole()).await.status, 403);
    service.pass_minutes(1);
    assert_eq!(
        service.send(whole()).await.header("x-goog-upload-status"),
        "final"
    );
}

#[tokio::test]
async fn an_outage_of_downloads_affects_the_output_only() {
    let quick = Scenario {
        shortest_batch_seconds: 60,
        longest_batch_seconds: 60,
        ..steady()
    };
    let service = Service::new(Scenario {
        outages: outages(&["downloads:429-prepaid:0..81m"]).outages,
        ..quick
    });
    let batch = service.batch(MODEL, &plain_lines(1)).await;
    service.pass_minutes(80);
    assert_eq!(service.get(&batch).await["done"], true);
    let refused = service.call("GET", &download_path(&batch)).await.error();
    assert!(
        refused
            .2
            .starts_with("Your prepayment credits are depleted"),
        "{}",
        refused.2
    );
    service.pass_minutes(1);
    assert_eq!(service.results(&batch).await.len(), 1);
}

#[tokio::test]
async fn an_outage_of_lists_affects_each_page_but_no_lookup_by_name() {
    let service = Service::new(outages(&["list-batches:503:1m..2m"]));
    let mut batches = Vec::new();
    for _ in 0..3 {
        batches.push(service.batch(MODEL, &plain_lines(1)).await);
    }
    let page = service
        .call("GET", "/v1beta/batches?pageSize=2")
        .await
        .json();
    let next = format!(
        "/v1beta/batches?pageSize=2&pageToken={}",
        page["nextPageToken"].as_str().unwrap()
    );
    service.pass_minutes(1);
    for path in ["/v1beta/batches?pageSize=2", &next, "/v1beta/batches"] {
        let (code, status, _) = service.call("GET", path).await.error();
        assert_eq!(
            (code, status.as_str()),
            (503, "UNAVAILABLE"),
            "a list is complete or an error"
        );
    }
    for batch in &batches {
        assert_eq!(service.get(batch).await["name"], batch["name"]);
    }
    service.pass_minutes(1);
    let rest = service.call("GET", &next).await.json();
    assert_eq!(
        rest["operations"].as_array().unwrap().len(),
        1,
        "the page token is still valid"
    );
}

#[tokio::test]
async fn outages_take_precedence_over_faults() {
    let scenario = Scenario {
        faults: vec!["any:404:100%".parse().unwrap()],
        ..outages(&["create-batch:lost-reply:0..1h"])
    };
    let service = Service::new(Scenario {
        outages: Vec::new(),
        faults: Vec::new(),
        ..scenario.clone()
    });
    let file = service
        .upload(lines_of(&plain_lines(1)), "application/jsonl", json!({}))
        .await;
    let service = service.reopened(scenario);
    let create_body =
        json!({"batch": {"displayName": "a", "inputConfig": {"fileName": file["name"]}}});
    service
        .lose(
            "POST",
            &format!("/v1beta/models/{MODEL}:batchGenerateContent"),
            &create_body,
        )
        .await;
    assert_eq!(service.gemini.batches_created(), 1);
    assert_eq!(
        status(&service, "/v1beta/files").await,
        404,
        "faults apply to calls without an outage"
    );
}

#[tokio::test]
async fn an_outage_can_be_built_from_its_fields() {
    let hour = std::time::Duration::from_secs(3600);
    let outage = Outage {
        call: Calls::Of(Call::GetBatch),
        answer: Fault::Unavailable,
        from: hour,
        until: 3 * hour,
    };
    let service = Service::new(Scenario {
        outages: vec![outage],
        ..steady()
    });
    let batch = service.batch(MODEL, &plain_lines(1)).await;
    service.pass_minutes(60);
    assert_eq!(
        status(&service, &format!("/v1beta/{}", name(&batch))).await,
        503
    );
    service.pass_minutes(120);
    assert_ne!(service.get(&batch).await["metadata"], Value::Null);
}
