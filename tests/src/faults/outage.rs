//! Times in which S3 or SQS does not do what it is asked to.

use http::{Method, StatusCode};
use jiff::SignedDuration;

use super::request::{Sent, Service};

/// From one moment until another, requests of some kind are answered in one way and have no effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AwsOutage {
    /// The service.
    pub(crate) service: Service,
    /// Whether reading still works.
    pub(crate) writes_only: bool,
    /// Whether only images are concerned, as where a permission is missing.
    pub(crate) images_only: bool,
    /// How they are answered.
    pub(crate) status: StatusCode,
    /// When it begins, since the world began.
    pub(crate) from: SignedDuration,
    /// When it is over, since the world began.
    pub(crate) until: SignedDuration,
}

impl AwsOutage {
    /// Whether it concerns a request that is sent so long after the world began.
    pub(crate) fn concerns(&self, sent: &Sent, passed: SignedDuration) -> bool {
        let is_read = sent.method == Method::GET || sent.method == Method::HEAD;
        let is_image = sent.key().is_some_and(|key| key.contains("/images/"));
        self.service == sent.service
            && (self.from..self.until).contains(&passed)
            && !(self.writes_only && is_read)
            && (is_image || !self.images_only)
    }
}
