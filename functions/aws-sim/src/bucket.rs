//! The stand-in for S3: buckets as folders, objects as files that a person can browse, put there
//! and take away.
//!
//! `s3s` speaks the protocol; what an object is, when it is there, and which conditions hold is
//! decided here:
//! - A write is committed by one rename. Killed at any moment, the old object or the new one is
//!   there, whole, with what is known of it. On a durable [`Disk`] an object that was written under
//!   a condition also survives the end of the power, with all that was written before it. A body
//!   that fails its checksum or its `Content-MD5` never becomes an object.
//! - Conditional writes are atomic: of any number of `If-None-Match: *` at once, one succeeds.
//! - A key that can't be a path is set aside under `.darkroom/`, and is listed and read like any
//!   other.
//! - A file that a person puts into a bucket's folder is an object, without a notification.
//! - A notification follows the commit. A kill between the two loses it.
//!
//! There are no versions. An object's last change is dated by the [`Clock`]; a file put there by
//! hand, by the file system. A file system that ignores case takes two keys that differ in case
//! alone for one.

mod access;
mod attributes;
mod checksum;
mod completed;
mod condition;
mod configuration;
mod files;
mod incoming;
mod list;
mod list_uploads;
mod listing;
mod multipart;
mod notification;
mod object;
mod place;
mod region;
mod selection;
mod service;
mod store;
mod unsettled;
mod upload;
mod walk;

use std::{fmt, fs, io, path::PathBuf, sync::Arc};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use s3s::{
    S3Error, S3Result,
    auth::SimpleAuth,
    config::{S3Config, StaticConfigProvider},
    host::{S3Host, VirtualHost},
    service::{S3Service, S3ServiceBuilder},
};
use seam::{
    clock::Clock,
    transport::{Body, BoxFuture, Transport, TransportError, empty},
};

use self::{access::Access, notification::Notifications, service::Service, store::Store};
pub use self::{
    configuration::NotificationRule,
    notification::{NotificationSink, to_queues},
};
use disk::Disk;

use crate::credentials::Credentials;

/// All buckets under one folder.
pub struct Buckets {
    root: PathBuf,
    service: S3Service,
}

impl Buckets {
    /// The buckets in `root`: every folder in it is one. New objects that a rule names are told to
    /// `sink`; `rules` hold for the buckets that were given no other notification configuration.
    /// Requests must be signed with `credentials`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(
        root: impl Into<PathBuf>,
        clock: Clock,
        rules: Vec<NotificationRule>,
        sink: NotificationSink,
        credentials: &Credentials,
    ) -> io::Result<Self> {
        Self::open_on(Disk::fast(), root, clock, rules, sink, credentials)
    }

    /// As [`Buckets::open`], on this disk.
    ///
    /// # Errors
    /// As [`Buckets::open`].
    pub fn open_on(
        disk: Disk,
        root: impl Into<PathBuf>,
        clock: Clock,
        rules: Vec<NotificationRule>,
        sink: NotificationSink,
        credentials: &Credentials,
    ) -> io::Result<Self> {
        let root = root.into();
        let store = Store::open(disk.clone(), root.clone(), clock)?;
        let folder = store.places.notifications();
        let notifications =
            Notifications::open(disk, folder, rules, sink).map_err(io::Error::other)?;
        let mut builder = S3ServiceBuilder::new(Service::new(store, notifications));
        builder.set_auth(SimpleAuth::from_single(
            credentials.access_key_id(),
            credentials.secret_access_key(),
        ));
        builder.set_access(Access);
        builder.set_host(Hosts);
        let mut config = S3Config::default();
        // Simulated time is far from the time of signing.
        config.presigned_url_max_skew_time_secs = u32::MAX;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Ok(Self {
            root,
            service: builder.build(),
        })
    }

    /// Makes a bucket, unless there is one of that name.
    ///
    /// # Errors
    /// What the file system says; `InvalidInput` for a name that no bucket can have.
    pub fn create(&self, bucket: &str) -> io::Result<()> {
        if !s3s::path::check_bucket_name(bucket) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{bucket:?} can't be a bucket's name"),
            ));
        }
        fs::create_dir_all(self.root.join(bucket))
    }
}

impl Transport for Buckets {
    fn send(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let is_head = request.method() == Method::HEAD;
            let answer = match region::refuse(&request) {
                Some(refusal) => refusal,
                None => {
                    let answer = self.service.call(request.map(s3s::Body::http_body)).await;
                    answer
                        .map_err(|error| TransportError::Interrupted(error.into()))?
                        .map(BodyExt::boxed)
                }
            };
            // HTTP allows no body here, and where there is no connection, nothing else takes it
            // away.
            let bodiless = is_head || answer.status() == StatusCode::NOT_MODIFIED;
            Ok(answer.map(|body| if bodiless { empty() } else { body }))
        })
    }
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// How a bucket may be named by the `Host` header: `<bucket>.localhost`, as clients have it that
/// know no path style.
struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        Ok(match name.strip_suffix(".localhost") {
            Some(bucket) => VirtualHost::new("localhost").with_bucket(bucket.to_ascii_lowercase()),
            None => VirtualHost::new(host),
        })
    }
}

/// Does what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(S3Error::internal_error)?
}

fn disk_error(error: io::Error) -> S3Error {
    S3Error::internal_error(error)
}
