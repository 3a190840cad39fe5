//! The fault harness: it tries to break the promise that every image is paid for once, kept, and
//! put in its place.
//!
//! It is a discrete-event simulation of the real functions, with their real clients, of its own
//! making: every wire request of every invocation stops at a *gate*, and one scheduler alone
//! decides which goes on next, which message is delivered next, when time passes, and what goes
//! wrong. So a schedule is a seed, or a list of numbered requests with what goes wrong at each, and
//! gives the same wire log whenever it is run. What came of it is judged by what the simulated
//! Gemini knows that it made and what lies in the bucket, never by what the functions say.

mod cloud;
mod draw;
mod explore;
mod fault;
mod fingerprint;
mod interceptor;
mod oracle;
mod outage;
mod request;
mod scheduler;
mod tamper;

pub use self::{
    explore::{Case, Failure, Found, Plan, explore},
    fault::{At, Fault},
    oracle::{Violation, Wrong},
    tamper::Break,
};
