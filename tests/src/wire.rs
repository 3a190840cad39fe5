//! The connections of a [`TestCloud`](crate::TestCloud), which a test can watch and interrupt: to
//! Gemini, and to S3 and SQS.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use gemini_sim::Gemini;
use http::{HeaderValue, Request, Response, StatusCode, header::ETAG, request::Parts};
use http_body_util::BodyExt;
use seam::transport::{Body, BoxFuture, Transport, TransportError, full};

/// A request to Gemini.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The headers, with names in lower case.
    pub headers: http::HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A fault of one request to Gemini.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Gemini handles the request, and its response is lost.
    AnswerLost,
    /// The request never reaches Gemini.
    NeverSent,
    /// The client receives this status and body, and the request never reaches Gemini.
    Answered(StatusCode, String),
}

type Decide = Box<dyn FnMut(&Sent) -> Option<Fault> + Send>;

/// A [`Transport`] to the simulated Gemini that records every request and can replace its response.
pub struct Wire {
    gemini: Arc<Gemini>,
    sent: Mutex<Vec<Sent>>,
    decide: Mutex<Option<Decide>>,
}

impl Wire {
    /// Creates a connection to `gemini` without faults.
    pub fn new(gemini: Arc<Gemini>) -> Self {
        Self {
            gemini,
            sent: Mutex::default(),
            decide: Mutex::default(),
        }
    }

    /// Lets `decide` choose the fault of each later request.
    pub fn decide(&self, decide: impl FnMut(&Sent) -> Option<Fault> + Send + 'static) {
        *lock(&self.decide) = Some(Box::new(decide));
    }

    /// Returns all requests so far.
    pub fn sent(&self) -> Vec<Sent> {
        lock(&self.sent).clone()
    }

    /// Counts the requests so far whose path ends in `path_end`.
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
            // Tests look at whole bodies, so the body is read before it is passed on.
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

            // A request that never reaches Gemini is recorded too: the client has sent it.
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
                    Err(TransportError::Interrupted("the response was lost".into()))
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

/// The handling of one request to S3 or SQS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// The request passes unchanged.
    Pass,
    /// The invocation dies before the request is sent.
    Die,
    /// The invocation dies after the request has taken effect.
    DieAfter,
    /// The request has no effect, and the response is the one of a success.
    Lost,
}

type FaultRule = dyn Fn(&Parts) -> FaultAction + Send + Sync;

/// A [`Transport`] to the stand-ins for S3 and SQS that can fail requests and kill their sender.
pub struct FaultInjector {
    aws: Arc<dyn Transport>,
    rule: Mutex<Arc<FaultRule>>,
}

impl FaultInjector {
    /// Creates a connection to `aws` that passes every request.
    pub fn new(aws: Arc<dyn Transport>) -> Self {
        Self {
            aws,
            rule: Mutex::new(Arc::new(|_| FaultAction::Pass)),
        }
    }

    /// Lets `rule` choose the handling of each later request.
    pub fn decide(&self, rule: impl Fn(&Parts) -> FaultAction + Send + Sync + 'static) {
        *lock(&self.rule) = Arc::new(rule);
    }
}

impl Transport for FaultInjector {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            // The lock is released first: a rule may send requests itself.
            let rule = Arc::clone(&lock(&self.rule));
            let (head, body) = request.into_parts();
            match rule(&head) {
                FaultAction::Pass => self.aws.send(Request::from_parts(head, body)).await,
                FaultAction::Die => panic!("the test kills the invocation"),
                FaultAction::DieAfter => {
                    let answer = self.aws.send(Request::from_parts(head, body)).await;
                    panic!("the test kills the invocation after {answer:?}")
                }
                FaultAction::Lost => {
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
