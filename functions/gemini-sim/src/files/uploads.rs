//! The Files API's uploads, and its resumable protocol.
//!
//! A chunk counts only when all of it arrived: one that breaks off leaves the upload where it was,
//! and the caller sends it again.

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
    files::{Files, LARGEST_FILE_BYTES, StoredFile, keep_only},
    generation::generate_request::file_id,
    images::header::{ENOUGH_BYTES, dimensions},
    wire::{
        body::write_file,
        reply::{Refused, Unserved, json_response},
    },
};

/// Every chunk but the last is a multiple of this long.
const GRANULARITY_BYTES: u64 = 8 * 1024 * 1024;

/// The longest display name, in characters.
const LONGEST_DISPLAY_NAME: usize = 512;

/// An upload under way, or done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Upload {
    number: u64,
    started: Timestamp,
    pub(crate) file_id: String,
    display_name: String,
    mime_type: String,
    /// What the caller said, if it did.
    size_bytes: Option<u64>,
    pub(crate) received_bytes: u64,
    finished: bool,
}

/// All uploads: those under way, and those whose file is still kept.
#[derive(Debug)]
pub(crate) struct Uploads {
    documents: Documents<Upload>,
    parts: PathBuf,
    uploads: Mutex<HashMap<String, Arc<AsyncMutex<Upload>>>>,
}

/// Who asks, and when.
pub(crate) struct Caller {
    /// What URLs in answers start with.
    pub(crate) origin: String,
    /// `v1` or `v1beta`.
    pub(crate) version: &'static str,
    /// The number of the call, which no other call has.
    pub(crate) number: u64,
    /// The present moment.
    pub(crate) now: Timestamp,
}

impl Upload {
    /// An upload of which no byte arrived, with the file's description by the caller. `new_id` is
    /// what the file is called when the caller gives it no name.
    ///
    /// # Errors
    /// 400 for a description that no file can have.
    pub(crate) fn begun(
        caller: &Caller,
        file: &Value,
        mime_type: Option<&str>,
        size_bytes: Option<u64>,
        new_id: &str,
    ) -> Result<Self, Refused> {
        let display_name = file["displayName"].as_str().unwrap_or_default().to_owned();
        if display_name.chars().count() > LONGEST_DISPLAY_NAME {
            return Err(Refused::invalid(
                "* CreateFileRequest.file.display_name: at most 512 characters",
            ));
        }
        let name = file["name"].as_str().filter(|name| !name.is_empty());
        let wanted_id = name.map(file_id).transpose().map_err(Refused::invalid)?;
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
    /// Opens the uploads below `folder`. Those whose bytes are not all there any more are
    /// forgotten, and those whose file is gone.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub(crate) fn open(folder: &Path, files: &Files) -> Result<Self, DocumentError> {
        let documents: Documents<Upload> = Documents::open(folder.join("uploads"))?;
        let parts = folder.join("parts");
        let mut uploads = HashMap::new();
        for (id, upload) in documents.load_all()? {
            let complete = if upload.finished {
                files.content(&upload.file_id).exists()
            } else {
                fs::metadata(parts.join(&id)).map_or(0, |metadata| metadata.len())
                    >= upload.received_bytes
            };
            if complete {
                if !upload.finished {
                    files.keep_room(&id, upload.size_bytes.unwrap_or(0), upload.started);
                }
                uploads.insert(id, Arc::new(AsyncMutex::new(upload)));
            } else {
                documents.remove(&id)?;
            }
        }
        keep_only(&parts, |id| uploads.contains_key(id))?;
        Ok(Self {
            documents,
            parts,
            uploads: Mutex::new(uploads),
        })
    }

    /// Forgets the finished uploads of a file that is deleted.
    pub(crate) fn forget(&self, file_id: &str) {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.retain(|id, upload| {
            let is_of_file = upload
                .try_lock()
                .is_ok_and(|upload| upload.finished && upload.file_id == file_id);
            // What stays is forgotten at the next opening.
            !(is_of_file && self.documents.remove(id).is_ok())
        });
    }

    /// Starts a resumable upload. `new_id` is what the file is called when the caller gives it no
    /// name.
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
    ) -> Result<Response<Body>, Refused> {
        if text(headers, "x-goog-upload-command") != Some("start") {
            return Err(Refused::invalid(
                "A resumable upload must begin with the command start",
            ));
        }
        let mime_type = text(headers, "x-goog-upload-header-content-type");
        let size_bytes = number_in(headers, "x-goog-upload-header-content-length")?;
        let upload = Upload::begun(caller, &body["file"], mime_type, size_bytes, new_id)?;
        let upload_id = format!("upload-{new_id}");
        files.admit(
            &upload_id,
            Some(&upload.file_id),
            size_bytes.unwrap_or(0),
            caller.now,
        )?;
        self.documents.put(&upload_id, &upload)?;
        let url = format!(
            "{}/upload/{}/files?upload_id={upload_id}&upload_protocol=resumable",
            caller.origin, caller.version
        );
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.insert(upload_id, Arc::new(AsyncMutex::new(upload)));
        let mut response = active();
        let url =
            HeaderValue::from_str(&url).map_err(|_| Refused::invalid("Host is not a host name"))?;
        response
            .headers_mut()
            .insert("x-goog-upload-control-url", url.clone());
        response.headers_mut().insert("x-goog-upload-url", url);
        Ok(response)
    }

    /// Serves a request to an upload's URL: bytes, the end, or the question how many bytes arrived.
    ///
    /// # Errors
    /// 404 for an unknown upload, 400 for a chunk that does not follow the last one, or is no
    /// multiple of the granularity, or makes the file another size than was said.
    pub(crate) async fn proceed(
        &self,
        files: &Files,
        caller: &Caller,
        upload_id: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Unserved> {
        let upload = self
            .uploads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(upload_id)
            .cloned();
        let upload = upload.ok_or_else(Refused::not_found)?;
        let mut upload = upload.lock().await;
        if upload.finished {
            return Ok(last(&files.find(&upload.file_id, caller.now)?, caller));
        }
        let commands = text(headers, "x-goog-upload-command").unwrap_or_default();
        let commands: Vec<&str> = commands.split(',').map(str::trim).collect();
        let (with_bytes, with_end) = match commands.as_slice() {
            ["query"] => (false, false),
            ["upload"] => (true, false),
            ["upload", "finalize"] => (true, true),
            ["finalize"] => (false, true),
            _ => return Err(Refused::invalid("Unknown upload command").into()),
        };
        if with_bytes {
            self.receive(&mut upload, upload_id, headers, body, with_end)
                .await?;
        }
        if with_end {
            let file = self.finish(files, &mut upload, upload_id, caller).await?;
            return Ok(last(&file, caller));
        }
        let mut response = active();
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
        last: bool,
    ) -> Result<(), Unserved> {
        let offset = number_in(headers, "x-goog-upload-offset")?;
        if offset != Some(upload.received_bytes) {
            let told = format!(
                "Upload offset must be {}, the bytes received so far",
                upload.received_bytes
            );
            return Err(Refused::invalid(told).into());
        }
        let limit = upload.size_bytes.unwrap_or(LARGEST_FILE_BYTES);
        let length = write_file(body, &self.part(upload_id), upload.received_bytes, limit).await?;
        if !last && !(length - upload.received_bytes).is_multiple_of(GRANULARITY_BYTES) {
            let told =
                format!("All chunks but the last must be a multiple of {GRANULARITY_BYTES} bytes");
            return Err(Refused::invalid(told).into());
        }
        if last && upload.size_bytes.is_some_and(|said| said != length) {
            return Err(Refused::invalid("Upload has another size than its start said").into());
        }
        upload.received_bytes = length;
        Ok(self
            .documents
            .put(upload_id, upload)
            .map_err(Refused::from)?)
    }

    async fn finish(
        &self,
        files: &Files,
        upload: &mut Upload,
        upload_id: &str,
        caller: &Caller,
    ) -> Result<StoredFile, Unserved> {
        let file = self.store(files, upload, upload_id, caller).await?;
        upload.finished = true;
        self.documents
            .put(upload_id, upload)
            .map_err(Refused::from)?;
        Ok(file)
    }

    /// Makes a file of the bytes that arrived.
    ///
    /// # Errors
    /// 400, 409 or 429 when such a file can't be added.
    pub(crate) async fn store(
        &self,
        files: &Files,
        upload: &Upload,
        upload_id: &str,
        caller: &Caller,
    ) -> Result<StoredFile, Unserved> {
        files.admit(
            upload_id,
            Some(&upload.file_id),
            upload.received_bytes,
            caller.now,
        )?;
        let path = self.part(upload_id);
        let (content, length) = (path.clone(), upload.received_bytes);
        let (sha256, pixels) = tokio::task::spawn_blocking(move || examine(&content, length))
            .await
            .map_err(|_| Refused::internal())??;
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

    /// Where the bytes of an upload are that arrived.
    pub(crate) fn part(&self, upload_id: &str) -> PathBuf {
        self.parts.join(upload_id)
    }
}

/// The SHA-256 of a file's first `length` bytes in hexadecimal digits, and its pixels if it is an
/// image. What a chunk that did not count left behind them is cut off.
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
        .take(ENOUGH_BYTES as u64)
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
    let hex = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((hex, dimensions(&start)))
}

fn active() -> Response<Body> {
    let mut response = json_response(&json!({}));
    response
        .headers_mut()
        .insert("x-goog-upload-status", HeaderValue::from_static("active"));
    response
        .headers_mut()
        .insert("x-goog-upload-chunk-granularity", GRANULARITY_BYTES.into());
    response
}

/// The answer to the end of an upload.
pub(crate) fn last(file: &StoredFile, caller: &Caller) -> Response<Body> {
    let mut response = json_response(&json!({"file": file.resource(&caller.origin)}));
    response
        .headers_mut()
        .insert("x-goog-upload-status", HeaderValue::from_static("final"));
    response
}

/// A header, if it is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number_in(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Refused> {
    let number = text(headers, name).map(str::parse).transpose();
    number.map_err(|_| Refused::invalid(format!("Header {name} is not a number")))
}
