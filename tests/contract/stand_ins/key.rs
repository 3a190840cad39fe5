//! The API key in SSM: when it is read, how long it is cached, and what happens after Gemini
//! rejects it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use futures_util::future::join_all;
use gemini::{CreateError, Gemini, Settings, key::KeySource};
use http::{Request, Response};
use http_body_util::BodyExt;
use jiff::Timestamp;
use runtime::{aws_call::AwsCaller, parameter::Parameter};
use seam::{
    clock::Clock,
    transport::{Body, BoxFuture, Transport, TransportError, full},
};
use serde_json::{Value, json};

/// A stand-in for SSM: its current answer, and the requests that it received.
#[derive(Default)]
struct FakeSsm {
    answer: Mutex<Option<(u16, Value)>>,
    requests: Mutex<Vec<Value>>,
}

impl FakeSsm {
    fn holds(&self, key: &str) {
        *self.answer.lock().unwrap() =
            Some((200, json!({"Parameter": {"Name": "key", "Value": key}})));
    }

    fn refuses(&self, code: &str) {
        *self.answer.lock().unwrap() = Some((400, json!({"__type": code, "message": "no"})));
    }

    fn is_down(&self) {
        *self.answer.lock().unwrap() = None;
    }

    fn request_count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

impl Transport for FakeSsm {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            assert_eq!(request.headers()["x-amz-target"], "AmazonSSM.GetParameter");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            // Other callers that need the key arrive while this one waits.
            tokio::task::yield_now().await;
            self.requests
                .lock()
                .unwrap()
                .push(serde_json::from_slice(&body).unwrap());
            match &*self.answer.lock().unwrap() {
                Some((status, answer)) => Ok(Response::builder()
                    .status(*status)
                    .body(full(answer.to_string()))
                    .unwrap()),
                None => Err(TransportError::NeverSent("down".into())),
            }
        })
    }
}

/// Returns a key source, its SSM, and the seconds on its clock.
fn source(name: &str) -> (Arc<KeySource>, Arc<FakeSsm>, Arc<AtomicI64>) {
    let (ssm, seconds) = (Arc::<FakeSsm>::default(), Arc::new(AtomicI64::new(0)));
    let credentials = Credentials::new("test", "test", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let clock = Arc::clone(&seconds);
    let clock =
        Clock::from_fn(move || Timestamp::from_second(clock.load(Ordering::Relaxed)).unwrap());
    let aws = AwsCaller::new(Arc::clone(&ssm) as _, config, clock.clone());
    let store = Parameter::new(Arc::new(aws), name.to_owned());
    (
        Arc::new(KeySource::stored(Arc::new(store), clock)),
        ssm,
        seconds,
    )
}

/// A Gemini that accepts one key and counts its refusals.
struct OneKeyGemini {
    accepts: &'static str,
    refusal: (u16, Value),
    refused: Mutex<u32>,
}

impl Transport for OneKeyGemini {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let (status, body) = if request.headers()["x-goog-api-key"] == self.accepts {
            (
                200,
                json!({"name": "batches/b", "metadata": {"state": "BATCH_STATE_PENDING"}}),
            )
        } else {
            *self.refused.lock().unwrap() += 1;
            self.refusal.clone()
        };
        Box::pin(async move {
            Ok(Response::builder()
                .status(status)
                .body(full(body.to_string()))
                .unwrap())
        })
    }
}

const FORBIDDEN: &str = "Permission denied on resource project.";

async fn create(key: &Arc<KeySource>, gemini_stub: &Arc<OneKeyGemini>) -> Result<(), CreateError> {
    let gemini = Gemini::new(Settings::new(Arc::clone(key)), Arc::clone(gemini_stub) as _).unwrap();
    gemini
        .create_batch(
            "gemini-3-pro-image",
            "one",
            &serde_json::from_value(json!("files/in")).unwrap(),
        )
        .await
        .map(drop)
}

#[tokio::test]
async fn simultaneous_callers_share_one_read_of_the_key() {
    let (source, ssm, seconds) = source("arn:aws:ssm:us-east-1:000000000000:parameter/studio/key");
    ssm.holds("first");
    assert_eq!(ssm.request_count(), 0);
    let keys = join_all((0..20).map(|_| source.key())).await;
    assert!(keys.iter().all(Result::is_ok));
    assert_eq!(ssm.request_count(), 1);
    let wanted = json!({"Name": "arn:aws:ssm:us-east-1:000000000000:parameter/studio/key", "WithDecryption": true});
    assert_eq!(ssm.requests.lock().unwrap()[0], wanted);

    seconds.store(299, Ordering::Relaxed);
    source.key().await.unwrap();
    assert_eq!(ssm.request_count(), 1);
    seconds.store(300, Ordering::Relaxed);
    source.key().await.unwrap();
    assert_eq!(ssm.request_count(), 2);
}

#[tokio::test]
async fn a_cached_key_is_used_during_an_outage_but_not_after_its_removal() {
    let (source, ssm, seconds) = source("/studio/key");
    ssm.is_down();
    let problem = source.key().await.unwrap_err().to_string();
    assert!(
        problem.contains("SSM doesn't answer about the parameter /studio/key"),
        "{problem}"
    );
    ssm.holds("first");
    let first = source.key().await.unwrap();

    ssm.is_down();
    seconds.store(1_000, Ordering::Relaxed);
    assert!(source.key().await.unwrap() == first);
    ssm.refuses("AccessDeniedException");
    seconds.store(2_000, Ordering::Relaxed);
    let problem = source.key().await.unwrap_err().to_string();
    assert!(
        problem.contains("role may not read the SSM parameter /studio/key"),
        "{problem}"
    );
    ssm.refuses("ParameterNotFound");
    let problem = source.key().await.unwrap_err().to_string();
    assert!(
        problem.contains("there is no SSM parameter /studio/key"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_malformed_key_is_refused_and_not_printed() {
    let (source, ssm, _) = source("/studio/key");
    ssm.holds("canary with blanks");
    let problem = source.key().await.unwrap_err().to_string();
    assert!(
        problem.contains("/studio/key") && !problem.contains("canary"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_replaced_key_costs_one_refusal() {
    for refusal in [
        (401, json!({"error": {"code": 401, "message": "no"}})),
        (403, json!({"error": {"code": 403, "message": FORBIDDEN}})),
        (
            400,
            json!({"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}),
        ),
    ] {
        let (source, ssm, seconds) = source("/studio/key");
        ssm.holds("first");
        source.key().await.unwrap();
        ssm.holds("second");
        seconds.store(60, Ordering::Relaxed);
        let gemini_stub = Arc::new(OneKeyGemini {
            accepts: "second",
            refusal,
            refused: Mutex::default(),
        });
        create(&source, &gemini_stub).await.unwrap();
        assert_eq!(*gemini_stub.refused.lock().unwrap(), 1);
        create(&source, &gemini_stub).await.unwrap();
        assert_eq!(
            (*gemini_stub.refused.lock().unwrap(), ssm.request_count()),
            (1, 2)
        );
    }
}

#[tokio::test]
async fn a_rejected_key_is_not_read_again_at_each_request() {
    let (source, ssm, seconds) = source("/studio/key");
    ssm.holds("first");
    let refusal = (401, json!({"error": {"code": 401, "message": "no"}}));
    let gemini_stub = Arc::new(OneKeyGemini {
        accepts: "second",
        refusal,
        refused: Mutex::default(),
    });
    for second in 0..60 {
        seconds.store(second, Ordering::Relaxed);
        let outcome = create(&source, &gemini_stub).await;
        assert!(
            matches!(outcome, Err(CreateError::NotCreated(_))),
            "{outcome:?}"
        );
    }
    assert_eq!(ssm.request_count(), 2);
    assert_eq!(*gemini_stub.refused.lock().unwrap(), 60);
}

#[tokio::test]
async fn nothing_is_created_without_a_key() {
    let (source, ssm, _) = source("/studio/key");
    ssm.refuses("AccessDeniedException");
    let gemini_stub = Arc::new(OneKeyGemini {
        accepts: "first",
        refusal: (401, json!({})),
        refused: Mutex::default(),
    });
    let problem = create(&source, &gemini_stub).await.unwrap_err();
    let CreateError::NotCreated(reason) = problem else {
        panic!("{problem:?}");
    };
    assert!(reason.to_string().contains("/studio/key"), "{reason}");
    assert_eq!(*gemini_stub.refused.lock().unwrap(), 0);
}
