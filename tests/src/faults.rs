//! The fault harness: it tries to break the guarantee that every image is paid for once, kept, and
//! stored under its key.
//!
//! The harness is a discrete-event simulation of the real functions with their real clients. An
//! *interceptor* holds every request of every invocation until one scheduler decides which request
//! is sent next, which message is delivered next, when time passes, and what fails. A schedule is a
//! seed, or a list of numbered requests with a fault at each, and always gives the same log. The
//! oracle judges the result by the records of the simulated Gemini and the contents of the bucket,
//! never by what the functions report.

mod calls;
mod cloud;
mod draw;
mod explore;
mod fault;
mod fingerprint;
mod interceptor;
mod oracle;
mod outage;
mod receiver;
mod request;
mod scheduler;
mod tamper;
mod world;

pub use self::{
    explore::{Case, Failure, Found, Plan, explore},
    fault::{At, Fault},
    oracle::{Violation, Wrong},
    tamper::Break,
    world::World,
};
