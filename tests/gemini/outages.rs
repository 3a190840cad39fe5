//! Outages: from one moment until another, by the simulated clock alone.

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
async fn an_outage_is_on_between_its_moments_and_for_its_calls_alone() {
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
        "they count as calls"
    );
}

#[tokio::test]
async fn an_outage_goes_on_over_restarts_and_begins_only_once() {
    let rules = ["any:500:0..1h"];
    let service = Service::new(outages(&rules));
    service.pass_minutes(30);
    assert_eq!(status(&service, "/v1beta/files").await, 500);
    let service = service.reopened(outages(&rules));
    assert_eq!(
        status(&service, "/v1beta/files").await,
        500,
        "in the middle of it"
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
        "the folder is an hour old, however often it is opened"
    );
}

#[tokio::test]
async fn a_folder_that_never_had_a_call_ages_too() {
    let service = Service::new(outages(&["any:500:0..1h"]));
    service.pass_minutes(60);
    let service = service.reopened(outages(&["any:500:0..1h"]));
    assert_eq!(status(&service, "/v1beta/files").await, 200);
}

#[tokio::test]
async fn an_outage_of_uploads_meets_every_call_of_an_upload() {
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
async fn an_outage_of_downloads_hides_the_output_and_not_the_batch() {
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
async fn an_outage_of_lists_fails_each_page_and_no_look_up_by_name() {
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
            "a list is whole or an error"
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
        "the page that was asked for is still the same"
    );
}

#[tokio::test]
async fn an_outage_comes_before_faults_and_a_lost_answer_has_its_effect() {
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
    let wish = json!({"batch": {"displayName": "a", "inputConfig": {"fileName": file["name"]}}});
    service
        .lose(
            "POST",
            &format!("/v1beta/models/{MODEL}:batchGenerateContent"),
            &wish,
        )
        .await;
    assert_eq!(service.gemini.batches_created(), 1);
    assert_eq!(
        status(&service, "/v1beta/files").await,
        404,
        "what no outage means is left to the faults"
    );
}

#[tokio::test]
async fn outages_can_be_made_of_their_fields() {
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
