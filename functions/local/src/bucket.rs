//! The stand-in for S3: buckets as folders, objects as files that a person can browse, put there and take away.
//!
//! `s3s` speaks the protocol; what an object is, when it is there, and which conditions hold is decided here:
//! - A write is committed by one rename. Killed at any moment, the old object or the new one is there, whole, with what
//!   is known of it. A body that fails its checksum or its `Content-MD5` never becomes an object.
//! - Conditional writes are atomic: of any number of `If-None-Match: *` at once, one succeeds.
//! - A key that can't be a path is set aside under `.darkroom/`, and is listed and read like any other.
//! - A file that a person puts into a bucket's folder is an object, without a notification.
//! - A notification follows the commit. A kill between the two loses it.
//!
//! There are no versions. An object's last change is dated by the [`Clock`]; a file put there by hand, by the file system.
//! A file system that ignores case takes two keys that differ in case alone for one.

mod attributes;
mod checksum;
mod condition;
mod configuration;
mod files;
mod incoming;
mod list;
mod listing;
mod multipart;
mod notification;
mod object;
mod place;
mod service;
mod store;
mod upload;
mod walk;

use std::{fmt, fs, io, path::PathBuf, sync::Arc};

use clients::{
    clock::Clock,
    transport::{Body, BoxFuture, Transport, TransportError, empty},
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use s3s::{
    S3Error, S3Result,
    auth::SimpleAuth,
    config::{S3Config, StaticConfigProvider},
    service::{S3Service, S3ServiceBuilder},
};

pub use self::{
    configuration::NotificationRule,
    notification::{NotificationSink, to_queues},
};
use self::{notification::Notifications, service::Service, store::Store};
use crate::wire::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};

/// All buckets under one folder.
pub struct Buckets {
    root: PathBuf,
    service: S3Service,
}

impl Buckets {
    /// The buckets in `root`: every folder in it is one. New objects that a rule names are told to `sink`; `rules` hold
    /// for those buckets that nobody has given another notification configuration.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(
        root: impl Into<PathBuf>,
        clock: Clock,
        rules: Vec<NotificationRule>,
        sink: NotificationSink,
    ) -> io::Result<Self> {
        let root = root.into();
        let store = Store::open(root.clone(), clock)?;
        let notifications = Notifications::open(store.places.notifications(), rules, sink).map_err(io::Error::other)?;
        let mut builder = S3ServiceBuilder::new(Service::new(store, notifications));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        let mut config = S3Config::default();
        // Simulated time is far from the time of signing.
        config.presigned_url_max_skew_time_secs = u32::MAX;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Ok(Self { root, service: builder.build() })
    }

    /// Makes a bucket, unless there is one of that name.
    ///
    /// # Errors
    /// What the file system says; `InvalidInput` for a name that no bucket can have.
    pub fn create(&self, bucket: &str) -> io::Result<()> {
        if !s3s::path::check_bucket_name(bucket) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{bucket:?} can't be a bucket's name")));
        }
        fs::create_dir_all(self.root.join(bucket))
    }
}

impl Transport for Buckets {
    fn send(&self, request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let is_head = request.method() == Method::HEAD;
            let answer = self.service.call(request.map(s3s::Body::http_body)).await;
            let answer = answer.map_err(|error| TransportError::Interrupted(error.into()))?;
            // HTTP allows no body here, and where there is no connection, nothing else takes it away.
            let bodiless = is_head || answer.status() == StatusCode::NOT_MODIFIED;
            Ok(answer.map(|body| if bodiless { empty() } else { body.boxed() }))
        })
    }
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Does what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> S3Result<T> + Send + 'static) -> S3Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)?
}

fn disk_error(error: io::Error) -> S3Error {
    S3Error::internal_error(error)
}
