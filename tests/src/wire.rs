//! The wires: to Gemini, where every request is noted and may be answered by a test instead; and to
//! S3 and SQS, where an invocation may be made to die.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gemini_sim::Gemini;
use http::{HeaderValue, Request, Response, StatusCode, header::ETAG, request::Parts};
use http_body_util::BodyExt;
use seam::transport::{Body, BoxFuture, Transport, TransportError, full};

/// A request as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// The path, without query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: http::HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

/// What a test does with a request before or instead of Gemini.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Gemini gets it, but its answer is lost.
    AnswerLost,
    /// Gemini never gets it.
    NeverSent,
    /// It is answered with this status and body, and Gemini never gets it.
    Answered(StatusCode, String),
}

type Decide = Box<dyn FnMut(&Sent) -> Option<Fault> + Send>;

/// A [`Transport`] before the simulated Gemini.
pub struct Wire {
    gemini: Arc<Gemini>,
    sent: Mutex<Vec<Sent>>,
    decide: Mutex<Option<Decide>>,
}

impl Wire {
    /// A wire to `gemini`, without faults.
    pub fn new(gemini: Arc<Gemini>) -> Self {
        Self {
            gemini,
            sent: Mutex::default(),
            decide: Mutex::default(),
        }
    }

    /// Lets `decide` choose what happens to each request from now on.
    pub fn decide(&self, decide: impl FnMut(&Sent) -> Option<Fault> + Send + 'static) {
        *lock(&self.decide) = Some(Box::new(decide));
    }

    /// All requests so far.
    pub fn sent(&self) -> Vec<Sent> {
        lock(&self.sent).clone()
    }

    /// How many requests were sent whose path ends so.
    pub fn count(&self, path_end: &str) -> usize {
        lock(&self.sent)
            .iter()
            .filter(|sent| sent.path.ends_with(path_end))
            .count()
    }
}

impl Transport for Wire {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map_err(TransportError::Interrupted)?
                .to_bytes();
            let sent = Sent {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                headers: head.headers.clone(),
                body: body.clone(),
            };
            let fault = lock(&self.decide).as_mut().and_then(|decide| decide(&sent));
            lock(&self.sent).push(sent);
            match fault {
                None => {
                    self.gemini
                        .send(Request::from_parts(head, full(body)))
                        .await
                }
                Some(Fault::AnswerLost) => {
                    self.gemini
                        .send(Request::from_parts(head, full(body)))
                        .await?;
                    Err(TransportError::Interrupted("the answer was lost".into()))
                }
                Some(Fault::NeverSent) => Err(TransportError::NeverSent("no connection".into())),
                Some(Fault::Answered(status, text)) => {
                    let mut response = Response::new(full(text));
                    *response.status_mut() = status;
                    Ok(response)
                }
            }
        })
    }
}

/// What becomes of a request to S3 or SQS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// It goes its way.
    Pass,
    /// The invocation dies before it is sent.
    Die,
    /// The invocation dies after it has taken effect.
    DieAfter,
    /// It has no effect, and is answered as if it had.
    Lost,
}

type Tread = dyn Fn(&Parts) -> Trip + Send + Sync;

/// A [`Transport`] before the stand-ins of S3 and SQS.
pub struct Tripwire {
    aws: Arc<dyn Transport>,
    tread: Mutex<Arc<Tread>>,
}

impl Tripwire {
    /// A wire to `aws` that nobody trips over.
    pub fn new(aws: Arc<dyn Transport>) -> Self {
        Self {
            aws,
            tread: Mutex::new(Arc::new(|_| Trip::Pass)),
        }
    }

    /// Lets `tread` choose what happens to each request from now on.
    pub fn decide(&self, tread: impl Fn(&Parts) -> Trip + Send + Sync + 'static) {
        *lock(&self.tread) = Arc::new(tread);
    }
}

impl Transport for Tripwire {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let tread = Arc::clone(&lock(&self.tread));
            let (head, body) = request.into_parts();
            match tread(&head) {
                Trip::Pass => self.aws.send(Request::from_parts(head, body)).await,
                Trip::Die => panic!("the invocation dies, as a test asks for"),
                Trip::DieAfter => {
                    let answer = self.aws.send(Request::from_parts(head, body)).await;
                    panic!("the invocation dies, as a test asks for, after {answer:?}")
                }
                Trip::Lost => {
                    body.collect().await.map_err(TransportError::Interrupted)?;
                    let mut response = Response::new(full(""));
                    response
                        .headers_mut()
                        .insert(ETAG, HeaderValue::from_static("\"lost\""));
                    Ok(response)
                }
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
