//! Outages of S3 and SQS.

use http::{Method, StatusCode};
use jiff::SignedDuration;

use super::request::{Sent, Service};

/// A period in which requests of some kind fail with one status and have no effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AwsOutage {
    /// The service.
    pub(crate) service: Service,
    /// Whether reading still works.
    pub(crate) writes_only: bool,
    /// Whether only images are affected, as if a permission were missing.
    pub(crate) images_only: bool,
    /// The status of the responses.
    pub(crate) status: StatusCode,
    /// When it begins, since the start of the simulation.
    pub(crate) from: SignedDuration,
    /// When it ends, since the start of the simulation.
    pub(crate) until: SignedDuration,
}

impl AwsOutage {
    /// Whether it affects a request that is sent `passed` after the start of the simulation.
    pub(crate) fn concerns(&self, sent: &Sent, passed: SignedDuration) -> bool {
        let is_read = sent.method == Method::GET || sent.method == Method::HEAD;
        let is_image = sent.key().is_some_and(|key| key.contains("/images/"));
        self.service == sent.service
            && (self.from..self.until).contains(&passed)
            && !(self.writes_only && is_read)
            && (is_image || !self.images_only)
    }
}
