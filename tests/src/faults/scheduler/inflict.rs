//! Carries out a request, with its fault.

use std::{io, sync::Arc};

use bytes::Bytes;
use gemini_sim::BillByLane;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use jiff::SignedDuration;
use seam::transport::{Body, BoxError, Transport, TransportError, full};

use super::{DelayedRequest, Schedule, Scheduler, invocation::Until};
use crate::faults::{
    fault::Fault,
    interceptor::Arrival,
    request::{Sent, Whole},
    tamper::perform,
};

/// The maximum delay of a request.
const LATEST: SignedDuration = SignedDuration::from_mins(10);

/// Pauses just below Lambda's time limit, and above it.
const PAUSED: SignedDuration = SignedDuration::from_mins(14);
const JUMPED: SignedDuration = SignedDuration::from_mins(20);

/// The page size of every list. It is so small that each of our batches soon leaves the first page.
const PAGE: &str = "pageSize=2";

impl Scheduler {
    /// Sends the request at an index, or applies its fault.
    pub(super) async fn inflict(
        &mut self,
        place: usize,
        request: usize,
        fault: Option<Fault>,
    ) -> anyhow::Result<()> {
        let (number, sent) = self.cloud.pending.look(place);
        let name = self
            .invocations
            .iter()
            .find(|one| one.number == number)
            .map_or(String::new(), |one| one.name());
        let about = format!("{request:>4} {name} {}", sent.what());
        if let Some(fault) = fault {
            self.note(&format!("{about} [{fault}]"));
        }
        match fault {
            // The request stays pending.
            Some(Fault::Twice) => return self.twice(number),
            Some(Fault::Paused) => return self.pause(number, PAUSED),
            Some(Fault::Jump) => return self.pause(number, JUMPED),
            Some(Fault::AckLost) => {
                if let Some(one) = self.invocations.iter_mut().find(|one| one.number == number) {
                    one.ack_lost = true;
                }
            }
            Some(_) | None => {}
        }
        let Arrival {
            sent,
            answer,
            service,
            ..
        } = self.cloud.pending.take(place);
        let reply = match fault {
            None | Some(Fault::AckLost | Fault::Twice | Fault::Paused | Fault::Jump) => {
                let is_call = sent.is_call();
                let answered = self.effect(&service, sent, Some(number)).await;
                if let Ok(answer) = &answered
                    && is_call
                {
                    self.calls.reached(answer);
                }
                if fault.is_none() {
                    let status = answered
                        .as_ref()
                        .map_or_else(ToString::to_string, |answered| {
                            answered.status.as_u16().to_string()
                        });
                    self.note(&format!("{about} -> {status}"));
                }
                answered.map(|answered| answered.response(full))
            }
            Some(Fault::Killed) => {
                self.kill(number);
                return Ok(());
            }
            Some(Fault::KilledAfter) => {
                self.have_effect(&service, sent, number).await;
                self.kill(number);
                return Ok(());
            }
            Some(Fault::KilledLate) => {
                self.delay(service, sent);
                self.kill(number);
                return Ok(());
            }
            Some(Fault::Late) => {
                self.delay(service, sent);
                Err(reset())
            }
            Some(Fault::ReplyLost) => {
                self.have_effect(&service, sent, number).await;
                Err(reset())
            }
            Some(Fault::NeverSent) => Err(TransportError::NeverSent("no connection".into())),
            Some(Fault::Unavailable) => {
                Ok(Whole::bare(StatusCode::SERVICE_UNAVAILABLE).response(full))
            }
            Some(Fault::FailedAfter) => {
                self.have_effect(&service, sent, number).await;
                Ok(Whole::bare(StatusCode::INTERNAL_SERVER_ERROR).response(full))
            }
            Some(Fault::Conflict) => Ok(Whole::bare(StatusCode::CONFLICT).response(full)),
            Some(Fault::NoReply) => {
                self.have_effect(&service, sent, number).await;
                if let Some(one) = self.invocations.iter_mut().find(|one| one.number == number) {
                    one.unanswered.push(answer);
                }
                return Ok(());
            }
            Some(Fault::HalfBody) => self
                .effect(&service, sent, Some(number))
                .await
                .map(|answered| answered.response(half)),
        };
        // The sender may be gone.
        let _ = answer.send(reply);
        Ok(())
    }

    /// Sends a request to its service. `invocation` is its sender, unless that has ended.
    pub(super) async fn effect(
        &mut self,
        service: &Arc<dyn Transport>,
        mut sent: Sent,
        invocation: Option<usize>,
    ) -> Result<Whole, TransportError> {
        if sent.is_list() {
            let uri = sent.uri.to_string().replace("pageSize=100", PAGE);
            sent.uri = uri
                .parse()
                .map_err(|error: http::uri::InvalidUri| TransportError::NeverSent(error.into()))?;
        }
        let passed = self.cloud.now().duration_since(self.began);
        if let Some(outage) = self
            .aws_outages
            .iter()
            .find(|outage| outage.concerns(&sent, passed))
        {
            return Ok(Whole::bare(outage.status));
        }
        if let Some(batch) = sent.cancels() {
            self.cancelled.insert(batch);
        }
        let is_call = sent.is_call();
        let before = if is_call {
            self.cloud.billed()?
        } else {
            BillByLane::default()
        };
        let answer = perform(&self.cloud, self.broken, service.as_ref(), &sent).await;
        if is_call {
            let (after, now) = (self.cloud.billed()?, self.cloud.now());
            let answer = answer.as_ref().ok();
            self.calls
                .record((&sent, now), invocation, answer, (before, after));
        }
        if let Ok(answer) = &answer
            && answer.status.is_success()
            && sent.method == Method::PUT
        {
            self.calls.wrote(&sent, invocation);
        }
        if let Some(display_name) = sent.display_name() {
            let refused = |error: anyhow::Error| TransportError::NeverSent(error.into());
            self.cloud
                .another_client_creates_a_batch()
                .await
                .map_err(refused)?;
            self.cloud
                .another_folder_creates_a_batch(&display_name)
                .await
                .map_err(refused)?;
        }
        answer
    }

    /// Sends a request whose response is lost.
    async fn have_effect(&mut self, service: &Arc<dyn Transport>, sent: Sent, number: usize) {
        let answered = self.effect(service, sent, Some(number)).await;
        let answered = answered.map_or_else(
            |error| error.to_string(),
            |answered| answered.status.as_u16().to_string(),
        );
        self.note(&format!("     response lost: {answered}"));
    }

    /// Delays a request.
    fn delay(&mut self, service: Arc<dyn Transport>, sent: Sent) {
        let after = match &mut self.schedule {
            Schedule::Listed(_) => LATEST,
            Schedule::Drawn { rng, .. } => SignedDuration::from_secs(rng.i64(1..=LATEST.as_secs())),
        };
        self.delayed.push(DelayedRequest {
            due: self.cloud.now() + after,
            sent,
            service,
        });
    }

    /// Delivers the message of an invocation a second time.
    fn twice(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(one) = self.invocations.iter().find(|one| one.number == number) else {
            return Ok(());
        };
        let Some((source, delivery)) = one.source.zip(one.deliveries.first().cloned()) else {
            let second = self.sweep();
            if let Schedule::Listed(_) = self.schedule {
                self.stand(number, Until::End(second));
            }
            return Ok(());
        };
        let queues = &self.cloud.local.queues;
        let queue = source.queue;
        if queues
            .change_visibility(queue, &delivery.receipt_handle, SignedDuration::ZERO)
            .is_err()
        {
            // The message is already visible again, or deleted.
            return Ok(());
        }
        let (again, others): (Vec<_>, Vec<_>) = queues
            .receive(queue, 10, None)?
            .into_iter()
            .partition(|other| other.message_id == delivery.message_id);
        for other in others {
            queues.change_visibility(queue, &other.receipt_handle, SignedDuration::ZERO)?;
        }
        if !again.is_empty() {
            let second = self.invoke(source, again)?;
            if let Schedule::Listed(_) = self.schedule {
                self.stand(number, Until::End(second));
            }
        }
        Ok(())
    }

    /// Pauses an invocation. In a drawn schedule, pauses all of them.
    fn pause(&mut self, number: usize, pause: SignedDuration) -> anyhow::Result<()> {
        let moment = self.cloud.now() + pause;
        match self.schedule {
            Schedule::Listed(_) => self.stand(number, Until::Moment(moment)),
            Schedule::Drawn { .. } => self.cloud.local.time.jump_to(moment)?,
        }
        Ok(())
    }

    fn stand(&mut self, number: usize, until: Until) {
        if let Some(one) = self.invocations.iter_mut().find(|one| one.number == number) {
            one.until = Some(until);
        }
    }
}

fn reset() -> TransportError {
    TransportError::Interrupted(io::Error::from(io::ErrorKind::ConnectionReset).into())
}

/// Returns the first half of a body, followed by a reset.
fn half(body: Bytes) -> Body {
    let first = http_body::Frame::data(body.slice(..body.len() / 2));
    let broken: BoxError = io::Error::from(io::ErrorKind::ConnectionReset).into();
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter([
        Ok(first),
        Err(broken),
    ])))
}
