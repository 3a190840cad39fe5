//! The multipart uploads that were completed recently. A client that lost the answer repeats its
//! request and gets the same answer.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::{attributes::Attributes, multipart::NamedPart};

/// How many completed uploads are remembered. A client repeats a request within seconds, so they
/// need not survive a restart.
const MAX_REMEMBERED: usize = 1_000;

/// The most recently completed uploads, oldest first.
#[derive(Debug, Default)]
pub(super) struct CompletedUploads(Mutex<VecDeque<CompletedUpload>>);

/// The parts of a completion request that identify it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CompletionRequest {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) upload: String,
    pub(super) parts: Vec<NamedPart>,
}

#[derive(Debug)]
struct CompletedUpload {
    request: CompletionRequest,
    object: Attributes,
}

impl CompletedUploads {
    /// Remembers the object that `request` created.
    pub(super) fn add(&self, request: CompletionRequest, object: Attributes) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_REMEMBERED {
            all.pop_front();
        }
        all.push_back(CompletedUpload { request, object });
    }

    /// Returns the object that an identical request created.
    pub(super) fn find(&self, request: &CompletionRequest) -> Option<Attributes> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .rev()
            .find(|upload| upload.request == *request)
            .map(|upload| upload.object.clone())
    }
}
