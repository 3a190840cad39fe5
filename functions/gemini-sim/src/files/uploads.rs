//! Uploads to the Files API, and the resumable protocol.
//!
//! A chunk counts only when it has arrived completely. After a chunk that breaks off, the upload is
//! unchanged and the caller sends the chunk again.

use std::{
    collections::HashMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use disk::documents::{DocumentError, Documents};
use http::{HeaderMap, HeaderValue, Response};
use jiff::Timestamp;
use seam::transport::Body;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    digest::hex,
    files::{Files, MAX_FILE_BYTES, StoredFile, remove_except},
    generation::generate_request::file_id,
    images::header::{MAX_HEADER_BYTES, dimensions},
    wire::{
        body::write_file,
        reply::{ApiError, ServeError, json_response},
    },
};

/// Every chunk except the last has a multiple of this size.
const GRANULARITY_BYTES: u64 = 8 * 1024 * 1024;

/// The maximum length of a display name, in characters.
const MAX_DISPLAY_NAME_CHARS: usize = 512;

/// An upload, unfinished or finished.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    number: u64,
    started: Timestamp,
    pub(crate) file_id: String,
    display_name: String,
    mime_type: String,
    /// The size that the caller announced, if any.
    size_bytes: Option<u64>,
    pub(crate) received_bytes: u64,
    finished: bool,
}

/// All uploads that are unfinished or whose file is still kept.
#[derive(Debug)]
pub(crate) struct Uploads {
    documents: Documents<Upload>,
    parts: PathBuf,
    uploads: Mutex<HashMap<String, Arc<AsyncMutex<Upload>>>>,
}

/// The caller of an API method, and when it called.
pub(crate) struct Caller {
    /// The start of URLs in answers.
    pub(crate) origin: String,
    /// `v1` or `v1beta`.
    pub(crate) version: &'static str,
    /// The number of the call, which is unique.
    pub(crate) number: u64,
    /// The time of the call.
    pub(crate) now: Timestamp,
}

impl Upload {
    /// Creates an upload without content from the caller's description of the file. `new_id`
    /// becomes the file's id if the caller does not name it.
    ///
    /// # Errors
    /// 400 for an invalid description.
    pub(crate) fn new(
        caller: &Caller,
        file: &Value,
        mime_type: Option<&str>,
        size_bytes: Option<u64>,
        new_id: &str,
    ) -> Result<Self, ApiError> {
        let display_name = file["displayName"].as_str().unwrap_or_default().to_owned();

        // The service limits the display name.
        if display_name.chars().count() > MAX_DISPLAY_NAME_CHARS {
            return Err(ApiError::invalid(
                "* CreateFileRequest.file.display_name: at most 512 characters",
            ));
        }
        let name = file["name"].as_str().filter(|name| !name.is_empty());
        let wanted_id = name.map(file_id).transpose().map_err(ApiError::invalid)?;

        // The type in the headers takes precedence over the description.
        Ok(Self {
            number: caller.number,
            started: caller.now,
            file_id: wanted_id.unwrap_or(new_id).to_owned(),
            display_name,
            mime_type: mime_type
                .or(file["mimeType"].as_str())
                .unwrap_or("application/octet-stream")
                .to_owned(),
            size_bytes,
            received_bytes: 0,
            finished: false,
        })
    }
}

impl Uploads {
    /// Opens the uploads below `folder`. Forgets those whose content is incomplete or whose file is
    /// gone.
    ///
    /// # Errors
    /// [`DocumentError`] when the folder can't be read or changed.
    pub(crate) fn open(folder: &Path, files: &Files) -> Result<Self, DocumentError> {
        let documents: Documents<Upload> = Documents::open(folder.join("uploads"))?;
        let parts = folder.join("parts");
        let mut uploads = HashMap::new();

        // An unfinished upload can be resumed only if all bytes that were acknowledged are still on
        // disk.
        for (id, upload) in documents.load_all()? {
            let complete = if upload.finished {
                files.content(&upload.file_id).exists()
            } else {
                fs::metadata(parts.join(&id)).map_or(0, |metadata| metadata.len())
                    >= upload.received_bytes
            };
            if complete {
                if !upload.finished {
                    files.reserve(&id, upload.size_bytes.unwrap_or(0), upload.started);
                }
                uploads.insert(id, Arc::new(AsyncMutex::new(upload)));
            } else {
                documents.remove(&id)?;
            }
        }
        remove_except(&parts, |id| uploads.contains_key(id))?;
        Ok(Self {
            documents,
            parts,
            uploads: Mutex::new(uploads),
        })
    }

    /// Forgets the finished uploads of a deleted file.
    pub(crate) fn forget(&self, file_id: &str) {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.retain(|id, upload| {
            let is_of_file = upload
                .try_lock()
                .is_ok_and(|upload| upload.finished && upload.file_id == file_id);
            // An upload that can't be removed now is forgotten when the folder is next opened.
            !(is_of_file && self.documents.remove(id).is_ok())
        });
    }

    /// Starts a resumable upload. `new_id` becomes the file's id if the caller does not name it.
    ///
    /// # Errors
    /// 400, 409 or 429 when such a file can't be added.
    pub(crate) fn start(
        &self,
        files: &Files,
        caller: &Caller,
        headers: &HeaderMap,
        body: &Value,
        new_id: &str,
    ) -> Result<Response<Body>, ApiError> {
        if text(headers, "x-goog-upload-command") != Some("start") {
            return Err(ApiError::invalid(
                "A resumable upload must begin with the command start",
            ));
        }

        // The headers announce the type and the size of the file.
        let mime_type = text(headers, "x-goog-upload-header-content-type");
        let size_bytes = number_in(headers, "x-goog-upload-header-content-length")?;
        let upload = Upload::new(caller, &body["file"], mime_type, size_bytes, new_id)?;
        let upload_id = format!("upload-{new_id}");
        files.admit(
            &upload_id,
            Some(&upload.file_id),
            size_bytes.unwrap_or(0),
            caller.now,
        )?;

        // The upload is stored before its URL is returned, so that it survives a restart.
        self.documents.put(&upload_id, &upload)?;
        let url = format!(
            "{}/upload/{}/files?upload_id={upload_id}&upload_protocol=resumable",
            caller.origin, caller.version
        );
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.insert(upload_id, Arc::new(AsyncMutex::new(upload)));

        // The URL is returned under both names that clients read.
        let mut response = active_response();
        let url = HeaderValue::from_str(&url)
            .map_err(|_| ApiError::invalid("Host is not a host name"))?;
        response
            .headers_mut()
            .insert("x-goog-upload-control-url", url.clone());
        response.headers_mut().insert("x-goog-upload-url", url);
        Ok(response)
    }

    /// Serves a request to an upload's URL: a chunk, the end, or a query of the number of received
    /// bytes.
    ///
    /// # Errors
    /// 404 for an unknown upload. 400 for a chunk that does not follow the previous one, that is
    /// not a multiple of the granularity, or that gives the file another size than announced.
    pub(crate) async fn continue_upload(
        &self,
        files: &Files,
        caller: &Caller,
        upload_id: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, ServeError> {
        // The lock of the upload is held for the whole request, so that its chunks do not overlap.
        let upload = self
            .uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(upload_id)
            .cloned();
        let upload = upload.ok_or_else(ApiError::not_found)?;
        let mut upload = upload.lock().await;

        // The answer to the final chunk may have been lost, so the caller gets it again.
        if upload.finished {
            return Ok(final_response(
                &files.find(&upload.file_id, caller.now)?,
                caller,
            ));
        }

        // A command may combine a chunk with the end of the upload.
        let commands = text(headers, "x-goog-upload-command").unwrap_or_default();
        let commands: Vec<&str> = commands.split(',').map(str::trim).collect();
        let (with_bytes, with_end) = match commands.as_slice() {
            ["query"] => (false, false),
            ["upload"] => (true, false),
            ["upload", "finalize"] => (true, true),
            ["finalize"] => (false, true),
            _ => return Err(ApiError::invalid("Unknown upload command").into()),
        };
        if with_bytes {
            self.receive(&mut upload, upload_id, headers, body, with_end)
                .await?;
        }
        if with_end {
            let file = self.finish(files, &mut upload, upload_id, caller).await?;
            return Ok(final_response(&file, caller));
        }
        let mut response = active_response();
        response
            .headers_mut()
            .insert("x-goog-upload-size-received", upload.received_bytes.into());
        Ok(response)
    }

    async fn receive(
        &self,
        upload: &mut Upload,
        upload_id: &str,
        headers: &HeaderMap,
        body: Body,
        is_last: bool,
    ) -> Result<(), ServeError> {
        // A chunk must start where the previous one ended.
        let offset = number_in(headers, "x-goog-upload-offset")?;
        if offset != Some(upload.received_bytes) {
            let message = format!(
                "Upload offset must be {}, the bytes received so far",
                upload.received_bytes
            );
            return Err(ApiError::invalid(message).into());
        }
        let limit = upload.size_bytes.unwrap_or(MAX_FILE_BYTES);
        let length = write_file(body, &self.part(upload_id), upload.received_bytes, limit).await?;

        // Only the final chunk may have any length, and the total must be as announced.
        if !is_last && !(length - upload.received_bytes).is_multiple_of(GRANULARITY_BYTES) {
            let message =
                format!("All chunks but the last must be a multiple of {GRANULARITY_BYTES} bytes");
            return Err(ApiError::invalid(message).into());
        }
        if is_last
            && upload
                .size_bytes
                .is_some_and(|announced| announced != length)
        {
            return Err(ApiError::invalid(
                "Upload size differs from the size announced at its start",
            )
            .into());
        }

        // The chunk counts from here on.
        upload.received_bytes = length;
        Ok(self
            .documents
            .put(upload_id, upload)
            .map_err(ApiError::from)?)
    }

    async fn finish(
        &self,
        files: &Files,
        upload: &mut Upload,
        upload_id: &str,
        caller: &Caller,
    ) -> Result<StoredFile, ServeError> {
        let file = self.store(files, upload, upload_id, caller).await?;
        upload.finished = true;
        self.documents
            .put(upload_id, upload)
            .map_err(ApiError::from)?;
        Ok(file)
    }

    /// Turns the received bytes into a file.
    ///
    /// # Errors
    /// 400, 409 or 429 when such a file can't be added.
    pub(crate) async fn store(
        &self,
        files: &Files,
        upload: &Upload,
        upload_id: &str,
        caller: &Caller,
    ) -> Result<StoredFile, ServeError> {
        // The size was unknown at the start if the caller did not announce it.
        files.admit(
            upload_id,
            Some(&upload.file_id),
            upload.received_bytes,
            caller.now,
        )?;

        // Hashing a large file takes a while, so it runs on a blocking thread.
        let path = self.part(upload_id);
        let (content, length) = (path.clone(), upload.received_bytes);
        let (sha256, pixels) = tokio::task::spawn_blocking(move || examine(&content, length))
            .await
            .map_err(|_| ApiError::internal())??;
        let file = StoredFile {
            id: upload.file_id.clone(),
            number: upload.number,
            display_name: upload.display_name.clone(),
            mime_type: upload.mime_type.clone(),
            size_bytes: upload.received_bytes,
            created: caller.now,
            sha256,
            pixels,
        };
        files.add(file.clone(), upload_id, &path)?;
        Ok(file)
    }

    /// Returns the path of an upload's received bytes.
    pub(crate) fn part(&self, upload_id: &str) -> PathBuf {
        self.parts.join(upload_id)
    }
}

/// Returns the SHA-256 of a file's first `length` bytes in hexadecimal digits, and its dimensions
/// if it is an image. Cuts off what an incomplete chunk left after them.
fn examine(path: &Path, length: u64) -> std::io::Result<(String, Option<(u32, u32)>)> {
    let mut file = fs::File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)?;
    file.set_len(length)?;
    let mut start = Vec::new();
    file.by_ref()
        .take(MAX_HEADER_BYTES as u64)
        .read_to_end(&mut start)?;
    let mut hash = Sha256::new_with_prefix(&start);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
    }
    Ok((hex(&hash.finalize()), dimensions(&start)))
}

fn active_response() -> Response<Body> {
    let mut response = json_response(&json!({}));
    response
        .headers_mut()
        .insert("x-goog-upload-status", HeaderValue::from_static("active"));
    response
        .headers_mut()
        .insert("x-goog-upload-chunk-granularity", GRANULARITY_BYTES.into());
    response
}

/// Returns the answer to the end of an upload.
pub(crate) fn final_response(file: &StoredFile, caller: &Caller) -> Response<Body> {
    let mut response = json_response(&json!({"file": file.resource(&caller.origin)}));
    response
        .headers_mut()
        .insert("x-goog-upload-status", HeaderValue::from_static("final"));
    response
}

/// Returns a header, if it is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number_in(headers: &HeaderMap, name: &str) -> Result<Option<u64>, ApiError> {
    let number = text(headers, name).map(str::parse).transpose();
    number.map_err(|_| ApiError::invalid(format!("Header {name} is not a number")))
}
