//! The product's client works with the simulated service, although both are written from the
//! contract alone.

use std::sync::Arc;

use bytes::Bytes;
use darkroom::names::FileName;
use futures_util::{StreamExt, TryStreamExt, stream};
use gemini::{
    ApiError, BatchState, CreateError, File, FileState, Gemini, Settings, UploadRequest,
    key::{ApiKey, KeySource},
};
use gemini_sim::{BatchOutcome, BatchOutcomeRule, Call, Scenario, Selector};
use seam::clock::Clock;
use serde_json::{Value, json};

use super::{
    faults::faults,
    service::{Service, lines_of, plain_lines, steady},
};

const MODEL: &str = "gemini-3.1-flash-image";

async fn upload(client: &Gemini, bytes: Vec<u8>) -> File {
    let request = UploadRequest {
        display_name: "in".to_owned(),
        mime_type: client.input_mime_type().to_owned(),
        size_bytes: bytes.len() as u64,
        name: None,
    };
    client
        .upload(
            request,
            stream::iter([Ok::<_, std::io::Error>(Bytes::from(bytes))]),
        )
        .await
        .unwrap()
}

async fn input(client: &Gemini, count: usize) -> FileName {
    upload(client, lines_of(&plain_lines(count)).into_bytes())
        .await
        .name
}

#[tokio::test]
async fn a_large_file_arrives_whole_and_can_be_deleted() {
    let service = Service::steady();
    let client = service.client();
    let file = upload(&client, vec![b'x'; 9 * 1024 * 1024]).await;
    assert_eq!(file.state, FileState::Active);
    assert_eq!(file.size_bytes, 9 * 1024 * 1024);
    assert_eq!(file.sha256.as_deref().map(str::len), Some(64));
    assert_eq!(client.file(&file.name).await.unwrap(), file);
    client.delete_file(&file.name).await.unwrap();
    assert!(client.file(&file.name).await.is_err());
}

#[tokio::test]
async fn all_files_are_listed_except_deleted_ones() {
    let service = Service::steady();
    let client = service.client();
    assert_eq!(client.files().await.unwrap(), []);
    let mut uploaded = Vec::new();
    // More than one page.
    for _ in 0..101 {
        uploaded.insert(0, upload(&client, b"x".to_vec()).await);
    }
    assert_eq!(client.files().await.unwrap(), uploaded, "newest first");
    assert_eq!(service.gemini.requests().of(Call::ListFiles), 3);
    client.delete_file(&uploaded.remove(50).name).await.unwrap();
    assert_eq!(client.files().await.unwrap(), uploaded);
    assert!(
        uploaded
            .iter()
            .all(|file| file.display_name == "in" && file.create_time.is_some())
    );
}

#[tokio::test]
async fn an_invalid_key_gets_the_error_of_google() {
    let folder = tempfile::tempdir().unwrap();
    let key = |text| ApiKey::new(text).unwrap();
    let service =
        gemini_sim::Gemini::open(folder.path(), Clock::system(), Scenario::default()).unwrap();
    let service = Arc::new(service.accepting(key("right").header()));
    let list = async |text| {
        let settings = Settings::new(Arc::new(KeySource::fixed(key(text))));
        Gemini::new(settings, Arc::clone(&service) as _)
            .unwrap()
            .batches()
            .await
    };
    list("right").await.unwrap();
    let refusal = list("wrong").await.unwrap_err();
    assert!(
        matches!(&refusal, ApiError::Unauthorized { message } if message.contains("API key not valid")),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_batch_runs_from_input_to_results() {
    let service = Service::steady();
    let client = service.client();
    let created = client
        .create_batch(MODEL, "stack/job/0000/1", &input(&client, 3).await)
        .await
        .unwrap();
    assert_eq!(created.state, BatchState::Pending);
    let listed = client.batches().await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|batch| batch.display_name.as_str())
            .collect::<Vec<_>>(),
        ["stack/job/0000/1"]
    );

    service.pass_minutes(100);
    let ended = client.batch(&created.name).await.unwrap();
    assert_eq!(
        (&ended.state, ended.done, ended.stats.successful),
        (&BatchState::Succeeded, true, 3)
    );
    let download = client
        .download(&ended.output_file.unwrap(), 0)
        .await
        .unwrap();
    let pieces: Vec<Bytes> = download.body.map(Result::unwrap).collect().await;
    let text = String::from_utf8(pieces.concat()).unwrap();
    let keys: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].take())
        .collect();
    assert_eq!(keys, ["k0", "k1", "k2"]);
}

#[tokio::test]
async fn a_download_ignores_the_offset_by_default() {
    let service = Service::steady();
    let client = service.client();
    let created = client
        .create_batch(MODEL, "a", &input(&client, 1).await)
        .await
        .unwrap();
    service.pass_minutes(100);
    let file = client
        .batch(&created.name)
        .await
        .unwrap()
        .output_file
        .unwrap();
    let download = client.download(&file, 10).await.unwrap();
    assert_eq!(download.starts_at, 0);
    let pieces: Vec<Bytes> = download.body.try_collect().await.unwrap();
    assert!(pieces.concat().starts_with(b"{"));
}

#[tokio::test]
async fn a_download_starts_at_the_offset_if_ranges_are_enabled() {
    let service = Service::new(Scenario {
        ranges: true,
        ..steady()
    });
    let client = service.client();
    let created = client
        .create_batch(MODEL, "a", &input(&client, 2).await)
        .await
        .unwrap();
    service.pass_minutes(100);
    let file = client
        .batch(&created.name)
        .await
        .unwrap()
        .output_file
        .unwrap();
    let bytes = async |offset: u64| {
        let download = client.download(&file, offset).await.unwrap();
        assert_eq!(download.starts_at, offset);
        download
            .body
            .try_collect::<Vec<Bytes>>()
            .await
            .unwrap()
            .concat()
    };
    let whole = bytes(0).await;
    assert!(bytes(1000).await == whole[1000..]);
    assert!(bytes(whole.len() as u64).await.is_empty());
}

#[tokio::test]
async fn a_broken_download_ends_with_an_error_and_can_be_repeated() {
    let service = Service::new(faults(&["download:cut:1"]));
    let client = service.client();
    let created = client
        .create_batch(MODEL, "a", &input(&client, 3).await)
        .await
        .unwrap();
    service.pass_minutes(100);
    let file = client
        .batch(&created.name)
        .await
        .unwrap()
        .output_file
        .unwrap();
    let broken: Result<Vec<Bytes>, ApiError> = client
        .download(&file, 0)
        .await
        .unwrap()
        .body
        .try_collect()
        .await;
    assert!(
        matches!(broken, Err(ApiError::Transient { .. })),
        "{broken:?}"
    );
    let whole: Vec<Bytes> = client
        .download(&file, 0)
        .await
        .unwrap()
        .body
        .try_collect()
        .await
        .unwrap();
    assert!(whole.concat().ends_with(b"\n"));
}

#[tokio::test]
async fn an_unanswered_create_is_unknown_whether_or_not_it_took_effect() {
    for (fault, created) in [
        ("lost-request", 0),
        ("lost-reply", 1),
        ("cut", 1),
        ("500", 0),
        ("503", 0),
    ] {
        let service = Service::new(faults(&[&format!("create-batch:{fault}:1")]));
        let client = service.client();
        let batch = client
            .create_batch(MODEL, "a", &input(&client, 1).await)
            .await;
        assert!(
            matches!(batch, Err(CreateError::Unknown(_))),
            "{fault}: {batch:?}"
        );
        assert_eq!(service.gemini.batches_created(), created, "{fault}");
        assert_eq!(
            service.gemini.requests().of(Call::CreateBatch),
            1,
            "{fault}: sent once"
        );
    }
}

#[tokio::test]
async fn quotas_are_distinguished() {
    let rules = ["429", "429-minute", "429-day", "429-prepaid"];
    let rules: Vec<String> = rules
        .iter()
        .zip(1..)
        .map(|(fault, n)| format!("create-batch:{fault}:{n}"))
        .collect();
    let service = Service::new(faults(
        &rules.iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    let client = service.client();
    let input = input(&client, 1).await;
    let refused = async || match client.create_batch(MODEL, "a", &input).await {
        Err(CreateError::NotCreated(error)) => error,
        other => panic!("{other:?}"),
    };
    let ApiError::RateLimited {
        retry_after: None,
        quota: None,
        ..
    } = refused().await
    else {
        panic!("429")
    };
    let ApiError::RateLimited {
        retry_after: Some(wait),
        quota: Some(_),
        ..
    } = refused().await
    else {
        panic!("minute")
    };
    assert_eq!(wait.as_secs(), 34);
    let ApiError::RateLimited {
        quota: Some(quota), ..
    } = refused().await
    else {
        panic!("day")
    };
    assert!(quota.contains("PerDay"));
    let ApiError::PrepaymentDepleted { .. } = refused().await else {
        panic!("prepaid")
    };
}

#[tokio::test]
async fn an_upload_survives_lost_answers_and_lost_chunks() {
    for rule in [
        "continue-upload:lost-reply:1",
        "continue-upload:lost-request:1",
        "continue-upload:503:first-2",
    ] {
        let service = Service::new(faults(&[rule]));
        let file = upload(&service.client(), vec![b'x'; 9 * 1024 * 1024]).await;
        assert_eq!(file.size_bytes, 9 * 1024 * 1024, "{rule}");
    }
}

#[tokio::test]
async fn every_batch_outcome_is_terminal_for_the_client() {
    for (outcome, state, code, has_output) in [
        (BatchOutcome::Failed, BatchState::Failed, Some(13), false),
        (
            BatchOutcome::FailedSilently,
            BatchState::Failed,
            None,
            false,
        ),
        (BatchOutcome::Expired, BatchState::Expired, Some(4), false),
        (BatchOutcome::Cancelled, BatchState::Cancelled, None, true),
        (BatchOutcome::Truncated, BatchState::Succeeded, None, true),
    ] {
        let batch_outcomes = vec![BatchOutcomeRule {
            which: Selector::Nth(1),
            outcome,
        }];
        let service = Service::new(Scenario {
            batch_outcomes,
            ..steady()
        });
        let client = service.client();
        let created = client
            .create_batch(MODEL, "a", &input(&client, 4).await)
            .await
            .unwrap();
        service.pass_minutes(48 * 60);
        let ended = client.batch(&created.name).await.unwrap();
        assert!(ended.is_terminal());
        let found = (
            ended.state,
            ended.error.map(|error| error.code),
            ended.output_file.is_some(),
        );
        assert_eq!(found, (state, code, has_output), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_cancelled_batch_is_terminal() {
    let service = Service::steady();
    let client = service.client();
    let created = client
        .create_batch(MODEL, "a", &input(&client, 2).await)
        .await
        .unwrap();
    client.cancel(&created.name).await.unwrap();
    let cancelled = client.batch(&created.name).await.unwrap();
    assert!(cancelled.is_terminal());
    assert_eq!(
        (cancelled.state, cancelled.stats.pending),
        (BatchState::Cancelled, 2)
    );
    assert_eq!(
        (
            cancelled.output_file,
            cancelled.error.map(|error| error.code)
        ),
        (None, Some(13))
    );
}

#[tokio::test]
async fn a_rejected_create_creates_nothing() {
    let service = Service::steady();
    let client = service.client();
    let input = input(&client, 1).await;
    let no_model = client.create_batch("no-such", "a", &input).await;
    assert!(
        matches!(no_model, Err(CreateError::NotCreated(_))),
        "{no_model:?}"
    );
    let bad = upload(&client, json!({"key": "a"}).to_string().into_bytes())
        .await
        .name;
    let bad_line = client.create_batch(MODEL, "a", &bad).await;
    assert!(
        matches!(
            bad_line,
            Err(CreateError::NotCreated(ApiError::Invalid { .. }))
        ),
        "{bad_line:?}"
    );
    client.delete_file(&input).await.unwrap();
    let no_input = client.create_batch(MODEL, "a", &input).await;
    assert!(
        matches!(no_input, Err(CreateError::NotCreated(_))),
        "{no_input:?}"
    );
    assert_eq!(service.gemini.batches_created(), 0);
}
