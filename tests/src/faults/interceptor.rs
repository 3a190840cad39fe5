//! The gate: every request of every invocation waits here until the scheduler lets it through.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response};
use seam::transport::{Body, BoxFuture, Transport, TransportError};
use tokio::sync::oneshot;

use super::request::Sent;

tokio::task_local! {
    /// The invocation that a task runs. Who runs outside of any passes the gate unseen.
    pub(crate) static INVOCATION: usize;
}

/// What the sender is told.
pub(crate) type Reply = Result<Response<Body>, TransportError>;

/// A request that waits.
pub(crate) struct Arrival {
    /// Whose it is.
    pub(crate) invocation: usize,
    /// What it is.
    pub(crate) sent: Sent,
    /// How the sender is answered.
    pub(crate) answer: oneshot::Sender<Reply>,
    /// Whom it is for.
    pub(crate) service: Arc<dyn Transport>,
}

/// Where requests wait, in the order of their arrival.
#[derive(Default)]
pub(crate) struct PendingRequests(Mutex<Vec<Arrival>>);

impl PendingRequests {
    /// Drops all requests that wait.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Drops the requests of an invocation that was killed, so that none is let through before it
    /// is gone.
    pub(crate) fn forget(&self, invocation: usize) {
        self.lock()
            .retain(|arrival| arrival.invocation != invocation);
    }

    /// Takes out the request at a place.
    pub(crate) fn take(&self, place: usize) -> Arrival {
        self.lock().remove(place)
    }

    /// Whose requests wait. Those whose sender has given up are gone.
    pub(crate) fn senders(&self) -> Vec<usize> {
        let mut arrivals = self.lock();
        arrivals.retain(|arrival| !arrival.answer.is_closed());
        arrivals.iter().map(|arrival| arrival.invocation).collect()
    }

    /// What is asked at a place, and by whom.
    pub(crate) fn look(&self, place: usize) -> (usize, Sent) {
        let arrivals = self.lock();
        (arrivals[place].invocation, arrivals[place].sent.clone())
    }

    /// What an invocation asks for, all of it.
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

/// A [`Transport`] before a service.
pub(crate) struct Interceptor {
    pending: Arc<PendingRequests>,
    service: Arc<dyn Transport>,
    gemini: bool,
}

impl Interceptor {
    /// Before S3 and SQS.
    pub(crate) fn aws(
        pending: &Arc<PendingRequests>,
        service: Arc<dyn Transport>,
    ) -> Arc<dyn Transport> {
        Arc::new(Self {
            pending: Arc::clone(pending),
            service,
            gemini: false,
        })
    }

    /// Before Gemini.
    pub(crate) fn gemini(
        pending: &Arc<PendingRequests>,
        service: Arc<dyn Transport>,
    ) -> Arc<dyn Transport> {
        Arc::new(Self {
            pending: Arc::clone(pending),
            service,
            gemini: true,
        })
    }
}

impl Transport for Interceptor {
    fn send(&self, request: Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let Ok(invocation) = INVOCATION.try_with(|number| *number) else {
                return self.service.send(request).await;
            };
            let sent = Sent::read(request, self.gemini).await?;
            let (answer, told) = oneshot::channel();
            self.pending.lock().push(Arrival {
                invocation,
                sent,
                answer,
                service: Arc::clone(&self.service),
            });
            told.await
                .unwrap_or_else(|_| Err(TransportError::Interrupted("the world ended".into())))
        })
    }
}
