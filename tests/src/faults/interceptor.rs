//! The interceptor: it holds every request of every invocation until the scheduler sends it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response};
use seam::transport::{Body, BoxFuture, Transport, TransportError};
use tokio::sync::oneshot;

use super::request::{Sent, Service};

tokio::task_local! {
    /// The invocation that a task belongs to. Requests of other tasks are not intercepted.
    pub(crate) static INVOCATION: usize;
}

/// The result that the sender receives.
pub(crate) type Reply = Result<Response<Body>, TransportError>;

/// A pending request.
pub(crate) struct Arrival {
    /// The invocation that sent it.
    pub(crate) invocation: usize,
    /// The request.
    pub(crate) sent: Sent,
    /// Where the result is sent.
    pub(crate) answer: oneshot::Sender<Reply>,
    /// The service that it is sent to.
    pub(crate) service: Arc<dyn Transport>,
}

/// The pending requests, in the order of their arrival.
#[derive(Default)]
pub(crate) struct PendingRequests(Mutex<Vec<Arrival>>);

impl PendingRequests {
    /// Drops all pending requests.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Drops the requests of a killed invocation, so that none is sent before the invocation is
    /// gone.
    pub(crate) fn forget(&self, invocation: usize) {
        self.lock()
            .retain(|arrival| arrival.invocation != invocation);
    }

    /// Removes and returns the request at an index.
    pub(crate) fn take(&self, place: usize) -> Arrival {
        self.lock().remove(place)
    }

    /// Returns the invocation of each pending request, after removing those whose sender has given
    /// up.
    pub(crate) fn senders(&self) -> Vec<usize> {
        let mut arrivals = self.lock();
        arrivals.retain(|arrival| !arrival.answer.is_closed());
        arrivals.iter().map(|arrival| arrival.invocation).collect()
    }

    /// Returns the request at an index and its invocation.
    pub(crate) fn look(&self, place: usize) -> (usize, Sent) {
        let arrivals = self.lock();
        (arrivals[place].invocation, arrivals[place].sent.clone())
    }

    /// Describes all pending requests of an invocation.
    pub(crate) fn asked_by(&self, invocation: usize) -> Vec<String> {
        let arrivals = self.lock();
        arrivals
            .iter()
            .filter(|arrival| arrival.invocation == invocation)
            .map(|arrival| arrival.sent.what())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`Transport`] that holds the requests to a service.
pub(crate) struct Interceptor {
    pending: Arc<PendingRequests>,
    service: Arc<dyn Transport>,
    /// The service, unless it is S3 or SQS.
    outside: Option<Service>,
}

impl Interceptor {
    /// Creates an interceptor for S3 and SQS.
    pub(crate) fn aws(
        pending: &Arc<PendingRequests>,
        service: Arc<dyn Transport>,
    ) -> Arc<dyn Transport> {
        Arc::new(Self {
            pending: Arc::clone(pending),
            service,
            outside: None,
        })
    }

    /// Creates an interceptor for a service outside of AWS.
    pub(crate) fn outside(
        kind: Service,
        pending: &Arc<PendingRequests>,
        service: Arc<dyn Transport>,
    ) -> Arc<dyn Transport> {
        Arc::new(Self {
            pending: Arc::clone(pending),
            service,
            outside: Some(kind),
        })
    }
}

impl Transport for Interceptor {
    fn send(&self, request: Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let Ok(invocation) = INVOCATION.try_with(|number| *number) else {
                return self.service.send(request).await;
            };
            let sent = Sent::read(request, self.outside).await?;
            let (answer, reply) = oneshot::channel();
            self.pending.lock().push(Arrival {
                invocation,
                sent,
                answer,
                service: Arc::clone(&self.service),
            });
            reply
                .await
                .unwrap_or_else(|_| Err(TransportError::Interrupted("the simulation ended".into())))
        })
    }
}
