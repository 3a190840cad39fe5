//! Counts the requests of the functions at the seam of their clients, and models how long they wait
//! for the answers.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use darkroom::chain::Function;
use http::{Method, Request, Response, request::Parts};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use seam::transport::{Body, BoxError, BoxFuture, Transport, TransportError};

use super::prices::Model;

/// The caller of requests that no function sends: those of the person who uploads a manifest.
pub const USER: &str = "user";

/// The service that answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Amazon S3.
    S3,
    /// Amazon SQS.
    Sqs,
    /// The Gemini API.
    Gemini,
}

/// The kind of a request. AWS prices requests by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// S3: an object is written in one request.
    Put,
    /// S3: a request of a multipart upload, of any kind.
    Multipart,
    /// S3: an object other than a shard's state is read.
    Get,
    /// S3: the state of a shard is read.
    GetState,
    /// S3: the head of an object is read.
    Head,
    /// S3: keys are listed.
    List,
    /// S3: an object is deleted.
    Delete,
    /// SQS: one message or several are sent.
    Send,
    /// SQS: the visibility of one message or of several is changed.
    ChangeVisibility,
    /// SQS: the event source mapping receives messages.
    Receive,
    /// SQS: the event source mapping deletes messages.
    Acknowledge,
    /// SQS: anything else.
    OtherSqs,
    /// Gemini: a file is uploaded, in one request of several.
    Upload,
    /// Gemini: a batch is created.
    CreateBatch,
    /// Gemini: the state of a batch is read.
    GetBatch,
    /// Gemini: an output file is downloaded.
    Download,
    /// Gemini: anything else, such as a list.
    OtherGemini,
}

impl Kind {
    /// Every kind, by service.
    pub const ALL: [Self; 17] = [
        Self::Put,
        Self::Multipart,
        Self::Get,
        Self::GetState,
        Self::Head,
        Self::List,
        Self::Delete,
        Self::Send,
        Self::ChangeVisibility,
        Self::Receive,
        Self::Acknowledge,
        Self::OtherSqs,
        Self::Upload,
        Self::CreateBatch,
        Self::GetBatch,
        Self::Download,
        Self::OtherGemini,
    ];

    /// Returns the service that answers it.
    pub fn service(self) -> Service {
        match self {
            Self::Put
            | Self::Multipart
            | Self::Get
            | Self::GetState
            | Self::Head
            | Self::List
            | Self::Delete => Service::S3,
            Self::Send
            | Self::ChangeVisibility
            | Self::Receive
            | Self::Acknowledge
            | Self::OtherSqs => Service::Sqs,
            Self::Upload
            | Self::CreateBatch
            | Self::GetBatch
            | Self::Download
            | Self::OtherGemini => Service::Gemini,
        }
    }

    /// Returns the name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "S3 PUT",
            Self::Multipart => "S3 multipart",
            Self::Get => "S3 GET",
            Self::GetState => "S3 GET of a state",
            Self::Head => "S3 HEAD",
            Self::List => "S3 LIST",
            Self::Delete => "S3 DELETE",
            Self::Send => "SQS send",
            Self::ChangeVisibility => "SQS visibility",
            Self::Receive => "SQS receive",
            Self::Acknowledge => "SQS delete",
            Self::OtherSqs => "SQS other",
            Self::Upload => "Gemini upload",
            Self::CreateBatch => "Gemini create",
            Self::GetBatch => "Gemini get batch",
            Self::Download => "Gemini download",
            Self::OtherGemini => "Gemini other",
        }
    }

    /// Returns the kind of a request to S3 or SQS.
    fn of_aws(head: &Parts) -> Self {
        if let Some(target) = head.headers.get("x-amz-target") {
            let operation = target.to_str().unwrap_or_default();
            return match operation.strip_prefix("AmazonSQS.").unwrap_or(operation) {
                "SendMessage" | "SendMessageBatch" => Self::Send,
                "ChangeMessageVisibility" | "ChangeMessageVisibilityBatch" => {
                    Self::ChangeVisibility
                }
                _ => Self::OtherSqs,
            };
        }
        let query = head.uri.query().unwrap_or_default();
        let has = |name: &str| {
            query
                .split('&')
                .any(|pair| pair.split('=').next() == Some(name))
        };
        // A multipart upload is a POST, a PUT of each part and a POST, or a DELETE to abort it.
        if has("uploadId") || has("uploads") {
            return Self::Multipart;
        }
        match head.method {
            Method::GET if has("list-type") => Self::List,
            Method::GET if head.uri.path().ends_with("/state.json") => Self::GetState,
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::DELETE => Self::Delete,
            _ => Self::Put,
        }
    }

    /// Returns the kind of a request to Gemini.
    fn of_gemini(head: &Parts) -> Self {
        let path = head.uri.path();
        match head.method {
            Method::POST if path.ends_with(":batchGenerateContent") => Self::CreateBatch,
            _ if path.contains("/upload/") || has_upload_id(head) => Self::Upload,
            Method::GET if path.ends_with(":download") => Self::Download,
            Method::GET if path.contains("/batches/") => Self::GetBatch,
            _ => Self::OtherGemini,
        }
    }
}

fn has_upload_id(head: &Parts) -> bool {
    head.uri
        .query()
        .is_some_and(|query| query.contains("upload_id="))
}

/// How many requests there were, and how many bytes their bodies had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The number of requests.
    pub requests: u64,
    /// The bytes of the bodies of requests.
    pub sent: u64,
    /// The bytes of the bodies of responses.
    pub received: u64,
}

impl Count {
    /// Adds another count to this one.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.sent += other.sent;
        self.received += other.received;
    }

    /// Returns how many bytes crossed the network.
    pub fn bytes(self) -> u64 {
        self.sent + self.received
    }
}

/// Counts by the caller (the name of a function, or [`USER`]) and the kind.
pub type Counts = BTreeMap<(&'static str, Kind), Count>;

/// Counts all requests of one simulation. Only one function runs at a time, so every request
/// belongs to the function that runs.
pub(super) struct Meter {
    model: Model,
    state: Mutex<State>,
}

struct State {
    caller: &'static str,
    counts: Counts,
    network: Network,
}

/// What an invocation did with the network.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Network {
    /// The bytes that it has sent and received.
    pub(super) bytes: u64,
    /// How long it has waited for answers without any passing of tokio's time.
    pub(super) waiting: Duration,
}

impl Meter {
    pub(super) fn new(model: Model) -> Self {
        Self {
            model,
            state: Mutex::new(State {
                caller: USER,
                counts: Counts::new(),
                network: Network::default(),
            }),
        }
    }

    /// Attributes the requests from now on to `caller`.
    pub(super) fn enter(&self, caller: &'static str) {
        let mut state = self.lock();
        state.caller = caller;
        state.network = Network::default();
    }

    /// Attributes later requests to the user again. Returns what the caller did with the network.
    pub(super) fn leave(&self) -> Network {
        let mut state = self.lock();
        state.caller = USER;
        state.network
    }

    /// Counts requests that an event source mapping makes for a function.
    pub(super) fn count_mapping(&self, function: &'static str, kind: Kind, requests: u64) {
        let count = Count {
            requests,
            ..Count::default()
        };
        self.lock()
            .counts
            .entry((function, kind))
            .or_default()
            .add(count);
    }

    /// Returns all counts so far.
    pub(super) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    fn count(&self, kind: Kind, count: Count) {
        let mut state = self.lock();
        state.network.bytes += count.bytes();
        let key = (state.caller, kind);
        state.counts.entry(key).or_default().add(count);
    }

    /// Waits as long as a service takes to answer.
    async fn wait(&self, service: Service) {
        let latency = Duration::from_millis(match service {
            Service::S3 => self.model.s3_milliseconds,
            Service::Sqs => self.model.sqs_milliseconds,
            Service::Gemini => self.model.gemini_milliseconds,
        });
        // `plan` waits on a thread for blocking work, and tokio's time stops while such a thread is
        // busy. Its latencies are added instead, as if no two requests were concurrent.
        {
            let mut state = self.lock();
            if state.caller == Function::Plan.name() {
                state.network.waiting += latency;
                return;
            }
        }
        tokio::time::sleep(latency).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection whose requests are counted, and take as long as the model states. The time is
/// tokio's, which the simulation has paused: it advances only while every task waits.
pub(super) struct Metered {
    service: Arc<dyn Transport>,
    meter: Arc<Meter>,
    kind_of: fn(&Parts) -> Kind,
}

impl Metered {
    /// Returns a connection to the stand-ins for S3 and SQS.
    pub(super) fn aws(service: Arc<dyn Transport>, meter: &Arc<Meter>) -> Arc<dyn Transport> {
        Arc::new(Self {
            service,
            meter: Arc::clone(meter),
            kind_of: Kind::of_aws,
        })
    }

    /// Returns a connection to the simulated Gemini.
    pub(super) fn gemini(service: Arc<dyn Transport>, meter: &Arc<Meter>) -> Arc<dyn Transport> {
        Arc::new(Self {
            service,
            meter: Arc::clone(meter),
            kind_of: Kind::of_gemini,
        })
    }

    fn counted(&self, body: Body, kind: Kind, count: fn(u64) -> Count) -> Body {
        CountedBody {
            body,
            meter: Arc::clone(&self.meter),
            kind,
            count,
        }
        .boxed()
    }
}

impl Transport for Metered {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let kind = (self.kind_of)(&head);
            self.meter.count(
                kind,
                Count {
                    requests: 1,
                    ..Count::default()
                },
            );
            let body = self.counted(body, kind, |sent| Count {
                sent,
                ..Count::default()
            });
            let response = self.service.send(Request::from_parts(head, body)).await?;
            self.meter.wait(kind.service()).await;
            Ok(response.map(|body| {
                self.counted(body, kind, |received| Count {
                    received,
                    ..Count::default()
                })
            }))
        })
    }
}

/// A body whose bytes are counted as they pass.
struct CountedBody {
    body: Body,
    meter: Arc<Meter>,
    kind: Kind,
    count: fn(u64) -> Count,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.meter.count(self.kind, (self.count)(data.len() as u64));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, uri: &str, target: Option<&str>) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(target) = target {
            request = request.header("x-amz-target", target);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn requests_to_aws_have_the_kinds_that_aws_prices() {
        for (method, uri, kind) in [
            ("PUT", "/darkroom/jobs/a/job.json?x-id=PutObject", Kind::Put),
            (
                "GET",
                "/darkroom/jobs/a/plan.jsonl?x-id=GetObject",
                Kind::Get,
            ),
            (
                "GET",
                "/darkroom/jobs/a/shards/0000/state.json",
                Kind::GetState,
            ),
            ("HEAD", "/darkroom/jobs/a/_SUCCESS", Kind::Head),
            ("GET", "/darkroom/?list-type=2&prefix=stack%2F", Kind::List),
            ("DELETE", "/darkroom/stack/open/a", Kind::Delete),
            (
                "POST",
                "/darkroom/jobs/a/results.jsonl?uploads",
                Kind::Multipart,
            ),
            (
                "PUT",
                "/darkroom/a?partNumber=1&uploadId=7",
                Kind::Multipart,
            ),
            ("DELETE", "/darkroom/a?uploadId=7", Kind::Multipart),
        ] {
            assert_eq!(
                Kind::of_aws(&head(method, uri, None)),
                kind,
                "{method} {uri}"
            );
        }
        for (operation, kind) in [
            ("AmazonSQS.SendMessageBatch", Kind::Send),
            ("AmazonSQS.ChangeMessageVisibility", Kind::ChangeVisibility),
            ("AmazonSQS.GetQueueAttributes", Kind::OtherSqs),
        ] {
            assert_eq!(Kind::of_aws(&head("POST", "/", Some(operation))), kind);
        }
    }

    #[test]
    fn requests_to_gemini_have_the_kinds_that_matter() {
        let host = "https://generativelanguage.googleapis.com";
        for (method, path, kind) in [
            ("POST", "/upload/v1beta/files", Kind::Upload),
            ("POST", "/upload/v1beta/files?upload_id=3", Kind::Upload),
            (
                "POST",
                "/v1beta/models/m:batchGenerateContent",
                Kind::CreateBatch,
            ),
            ("GET", "/v1beta/batches/x", Kind::GetBatch),
            ("GET", "/v1beta/batches?pageSize=100", Kind::OtherGemini),
            (
                "GET",
                "/download/v1beta/files/x:download?alt=media",
                Kind::Download,
            ),
            ("DELETE", "/v1beta/files/x", Kind::OtherGemini),
        ] {
            let head = head(method, &format!("{host}{path}"), None);
            assert_eq!(Kind::of_gemini(&head), kind, "{method} {path}");
        }
    }

    #[test]
    fn every_kind_belongs_to_the_service_in_its_name() {
        for kind in Kind::ALL {
            let service = match kind.service() {
                Service::S3 => "S3 ",
                Service::Sqs => "SQS ",
                Service::Gemini => "Gemini ",
            };
            assert!(kind.name().starts_with(service), "{kind:?}");
        }
    }
}
