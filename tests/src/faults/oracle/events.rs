//! Judges the events that a webhook has received.

use super::Wrong;
use crate::faults::{cloud::FaultCloud, receiver::ReceivedEvent};

/// Looks for events of a complete job that the webhook has not received, or that it has received with
/// more than one id.
pub(super) fn check(
    cloud: &FaultCloud,
    job: &str,
    marker: &str,
    report: &mut impl FnMut(Wrong, String),
) {
    let Some(receiver) = &cloud.receiver else {
        return;
    };
    let id = job.trim_start_matches("jobs/").trim_end_matches('/');
    let end = match marker {
        "_SUCCESS" => "Job Completed",
        "_PARTIAL" => "Job Partial",
        "_FAILED" => "Job Failed",
        _ => "Job Cancelled",
    };
    let received: Vec<ReceivedEvent> = receiver
        .received()
        .into_iter()
        .filter(|event| event.job == id)
        .collect();
    for kind in ["Job Accepted", end] {
        let ids = received.iter().filter(|event| event.kind == kind).count();
        if ids != 1 {
            report(
                Wrong::LostEvent,
                format!("{job} has {kind} with {ids} ids, although it has {marker}"),
            );
        }
    }
}
