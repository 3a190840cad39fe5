//! The uploads that became objects lately. A client that lost the answer asks again, and is told
//! the same.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::{attributes::Attributes, multipart::NamedPart};

/// How many are remembered. A client asks again within seconds, so they need not outlive the
/// process either.
const MOST: usize = 1_000;

/// The last completions, the newest at the end.
#[derive(Debug, Default)]
pub(super) struct Completions(Mutex<VecDeque<Completion>>);

/// What a caller asks for when an upload is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) upload: String,
    pub(super) parts: Vec<NamedPart>,
}

#[derive(Debug)]
struct Completion {
    request: Request,
    object: Attributes,
}

impl Completions {
    /// Remembers the object that a request led to.
    pub(super) fn add(&self, request: Request, object: Attributes) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(Completion { request, object });
    }

    /// The object that the same request led to.
    pub(super) fn find(&self, request: &Request) -> Option<Attributes> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .rev()
            .find(|completion| completion.request == *request)
            .map(|completion| completion.object.clone())
    }
}
