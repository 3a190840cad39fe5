//! A simulated Gemini API: files, batches, results, models and single requests, served over the
//! wire.
//!
//! This crate is written from Google's published contract alone. It does not depend on the client
//! crate `gemini` and shares no type with it, so that the two check each other. Each image is a real
//! JPEG file with the request's key and prompt written on it, drawn while it is downloaded. Time
//! comes from the clock that is passed in, every random choice is a hash of the seed, and the state
//! survives a restart.

mod batch;
mod counters;
mod digest;
mod faults;
mod files;
mod generation;
mod images;
mod quotas;
mod request_log;
mod scenario;
mod seeded_random;
mod service;
mod wire;

pub use self::{
    batch::{
        delivered::{Delivered, DeliveredImage, DeliveredLine, LineOrigin},
        record::{Bill, Record},
    },
    counters::{BillByLane, Requests},
    faults::{
        Fault, FaultRule, FaultRuleError,
        outage::{Calls, Outage, OutageError},
    },
    generation::{line_form::ImageForm, service_tier::ServiceTier},
    request_log::{LoggedCall, LoggedRequest, LoggedTier},
    scenario::{
        Scenario,
        batch_outcome::{BatchOutcome, BatchOutcomeRule, DeletingInput},
        duration::DurationError,
        forbidden_prompt::ForbiddenPrompt,
        output_rules::{ArrayRule, ArrayStyle, DoneFlag, LateOutputRule, OutputRuleError},
        selector::{Selector, SelectorError},
        shape::{Shape, ShapeRule, ShapeRuleError},
    },
    service::Gemini,
    wire::route::Call,
};
