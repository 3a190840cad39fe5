//! The product's client and the simulated service, each written from the contract alone, understand each other.

use bytes::Bytes;
use clients::gemini::{ApiError, BatchState, CreateError, File, FileState, Gemini, UploadRequest};
use darkroom::names::FileName;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::service::{Service, lines_of, plain_lines};

const MODEL: &str = "gemini-3.1-flash-image";

async fn upload(client: &Gemini, bytes: Vec<u8>) -> File {
    let request = UploadRequest {
        display_name: "in".to_owned(),
        mime_type: client.input_mime_type().to_owned(),
        size_bytes: bytes.len() as u64,
        name: None,
    };
    client.upload(request, stream::iter([Ok::<_, std::io::Error>(Bytes::from(bytes))])).await.unwrap()
}

async fn input(client: &Gemini, count: usize) -> FileName {
    upload(client, lines_of(&plain_lines(count)).into_bytes()).await.name
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
async fn a_batch_goes_from_input_to_results() {
    let service = Service::steady();
    let client = service.client();
    let created = client.create_batch(MODEL, "stack/job/0000/1", &input(&client, 3).await).await.unwrap();
    assert_eq!(created.state, BatchState::Pending);
    let listed = client.batches().await.unwrap();
    assert_eq!(listed.iter().map(|batch| batch.display_name.as_str()).collect::<Vec<_>>(), ["stack/job/0000/1"]);

    service.pass_minutes(100);
    let ended = client.batch(&created.name).await.unwrap();
    assert_eq!((&ended.state, ended.done, ended.stats.successful), (&BatchState::Succeeded, true, 3));
    let download = client.download(&ended.output_file.unwrap(), 0).await.unwrap();
    let pieces: Vec<Bytes> = download.body.map(Result::unwrap).collect().await;
    let text = String::from_utf8(pieces.concat()).unwrap();
    let keys: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].take()).collect();
    assert_eq!(keys, ["k0", "k1", "k2"]);
}

#[tokio::test]
async fn a_download_from_an_offset_starts_at_the_beginning() {
    let service = Service::steady();
    let client = service.client();
    let created = client.create_batch(MODEL, "a", &input(&client, 1).await).await.unwrap();
    service.pass_minutes(100);
    let file = client.batch(&created.name).await.unwrap().output_file.unwrap();
    let download = client.download(&file, 10).await.unwrap();
    assert_eq!(download.starts_at, 0);
    let pieces: Vec<Bytes> = download.body.try_collect().await.unwrap();
    assert!(pieces.concat().starts_with(b"{"));
}

#[tokio::test]
async fn a_cancelled_batch_is_terminal() {
    let service = Service::steady();
    let client = service.client();
    let created = client.create_batch(MODEL, "a", &input(&client, 2).await).await.unwrap();
    client.cancel(&created.name).await.unwrap();
    let cancelled = client.batch(&created.name).await.unwrap();
    assert!(cancelled.is_terminal());
    assert_eq!((cancelled.state, cancelled.stats.pending), (BatchState::Cancelled, 2));
    assert_eq!((cancelled.output_file, cancelled.error.map(|error| error.code)), (None, Some(13)));
}

#[tokio::test]
async fn what_is_refused_is_not_created() {
    let service = Service::steady();
    let client = service.client();
    let input = input(&client, 1).await;
    let no_model = client.create_batch("no-such", "a", &input).await;
    assert!(matches!(no_model, Err(CreateError::NotCreated(_))), "{no_model:?}");
    let bad = upload(&client, json!({"key": "a"}).to_string().into_bytes()).await.name;
    let bad_line = client.create_batch(MODEL, "a", &bad).await;
    assert!(matches!(bad_line, Err(CreateError::NotCreated(ApiError::Invalid { .. }))), "{bad_line:?}");
    client.delete_file(&input).await.unwrap();
    let no_input = client.create_batch(MODEL, "a", &input).await;
    assert!(matches!(no_input, Err(CreateError::NotCreated(_))), "{no_input:?}");
    assert_eq!(service.gemini.batches_created(), 0);
}
