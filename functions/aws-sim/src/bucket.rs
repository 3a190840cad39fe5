//! The stand-in for S3. Buckets are folders, and objects are files that a user can browse, add and
//! remove by hand.
//!
//! `s3s` implements the protocol. This module decides what an object is, when it exists, and which
//! conditions hold:
//! - A write is committed by one rename. If the process is killed at any moment, either the old
//!   object or the new one exists, complete with its attributes. On a durable [`Disk`], an object
//!   that was written under a condition also survives a power failure, together with everything
//!   that was written before it. A body that fails its checksum or its `Content-MD5` never becomes
//!   an object.
//! - Conditional writes are atomic: of any number of simultaneous writes with `If-None-Match: *`,
//!   one succeeds.
//! - An object whose key is not a valid path is stored under `.darkroom/`, and is listed and read
//!   like any other.
//! - A file that a user puts into a bucket's folder is an object. It causes no notification.
//! - A notification is sent after the commit. If the process is killed between the two, the
//!   notification is lost.
//!
//! There are no versions. The [`Clock`] dates an object's last change; the file system dates a file
//! that was added by hand. On a file system that ignores case, two keys that differ only in case
//! are the same object.

mod access;
mod attributes;
mod body;
mod checksum;
mod completed_uploads;
mod condition;
mod configuration;
mod files;

mod list_objects;
mod list_uploads;

mod multipart;
mod notification;
mod object;
mod page;
mod paths;
mod region;
mod selection;
mod service;
mod store;
mod unsynced;
mod upload;
mod walk;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

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

use self::{
    access::Access, notification::Notifications, paths::Paths, service::Service, store::Store,
};
pub use self::{
    configuration::NotificationRule,
    notification::{NotificationSink, to_queues},
};
use disk::Disk;

use crate::credentials::Credentials;

/// An S3 service over all buckets in one folder. Implements [`Transport`].
pub struct Buckets {
    root: PathBuf,
    service: S3Service,
}

impl Buckets {
    /// Opens the buckets in `root`: each folder in it is a bucket. `sink` receives a notification
    /// for each new object that matches a rule. `rules` apply to the buckets that have no stored
    /// notification configuration. Requests must be signed with `credentials`.
    ///
    /// # Errors
    /// Returns the file system's error.
    pub fn open(
        root: impl Into<PathBuf>,
        clock: Clock,
        rules: Vec<NotificationRule>,
        sink: NotificationSink,
        credentials: &Credentials,
    ) -> io::Result<Self> {
        Self::open_on(Disk::fast(), root, clock, rules, sink, credentials)
    }

    /// Opens the buckets like [`Buckets::open`], with the durability of `disk`.
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
        let folder = store.paths.notifications();
        let notifications =
            Notifications::open(disk, folder, rules, sink).map_err(io::Error::other)?;
        // `s3s` verifies the signatures with the folder's only key.
        let mut builder = S3ServiceBuilder::new(Service::new(store, notifications));
        builder.set_auth(SimpleAuth::from_single(
            credentials.access_key_id(),
            credentials.secret_access_key(),
        ));
        builder.set_access(Access);
        builder.set_host(VirtualHosts);
        let mut config = S3Config::default();
        // Simulated time may be years away from the time of signing.
        config.presigned_url_max_skew_time_secs = u32::MAX;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        Ok(Self {
            root,
            service: builder.build(),
        })
    }

    /// Creates a bucket, unless a bucket of that name exists.
    ///
    /// # Errors
    /// Returns the file system's error, or `InvalidInput` if S3 does not allow `bucket` as a name.
    pub fn create(&self, bucket: &str) -> io::Result<()> {
        if !s3s::path::check_bucket_name(bucket) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("invalid bucket name {bucket:?}"),
            ));
        }
        fs::create_dir_all(self.root.join(bucket))
    }
}

/// Returns the file that holds the content of an object in the buckets of `root`. Another process
/// may be using them: an object is always a whole file, which a write replaces by a rename. Returns
/// `None` if the object does not exist. A key never names a file outside of the bucket.
///
/// # Errors
/// Returns the file system's error.
pub fn object_file(root: &Path, bucket: &str, key: &str) -> io::Result<Option<PathBuf>> {
    let found = files::find(&Paths::new(root.to_owned()), bucket, key)?;
    Ok(found.map(|file| file.path))
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
            // HTTP does not allow a body in these responses. In process, no connection exists that would
            // drop it.
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

/// Reads a bucket's name from the `Host` header, `<bucket>.localhost`, for clients that do not
/// support path style.
struct VirtualHosts;

impl S3Host for VirtualHosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        Ok(match name.strip_suffix(".localhost") {
            Some(bucket) => VirtualHost::new("localhost").with_bucket(bucket.to_ascii_lowercase()),
            None => VirtualHost::new(host),
        })
    }
}

/// Runs blocking work on a thread that may block.
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
