//! The store of the Files API: uploaded files, kept for two days.

pub(crate) mod multipart;
pub(crate) mod uploads;
pub(crate) mod whole_upload;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use disk::documents::{DocumentError, Documents};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    generation::generate_request::{References, UploadedReference},
    wire::{paging::Page, reply::ApiError},
};

/// How long a file is kept. Source: ai.google.dev/gemini-api/docs/files, read 2026-11-21.
const FILE_LIFETIME: SignedDuration = SignedDuration::from_hours(48);

/// The maximum size of one file. Source: as above.
pub(crate) const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// The maximum size of all files. Source: as above.
const MAX_PROJECT_BYTES: u64 = 20 * 1024 * 1024 * 1024;

/// The maximum length of a file id. The ids of output files are longer, so those files can only be
/// downloaded.
const MAX_ID_LENGTH: usize = 40;

/// An uploaded file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredFile {
    pub(crate) id: String,
    /// The number of the call that started the upload; lists are ordered by it.
    pub(crate) number: u64,
    pub(crate) display_name: String,
    pub(crate) mime_type: String,
    pub(crate) size_bytes: u64,
    pub(crate) created: Timestamp,
    /// In hexadecimal digits.
    pub(crate) sha256: String,
    /// The width and height of an image.
    pub(crate) pixels: Option<(u32, u32)>,
}

/// All uploaded files: a document for each, with its content in a separate file.
#[derive(Debug)]
pub(crate) struct Files {
    documents: Documents<StoredFile>,
    contents: PathBuf,
    index: Mutex<FileIndex>,
}

#[derive(Debug, Default)]
struct FileIndex {
    files: BTreeMap<String, StoredFile>,
    /// The space that unfinished uploads need, by upload id.
    reserved: BTreeMap<String, Reservation>,
}

#[derive(Clone, Copy, Debug)]
struct Reservation {
    size_bytes: u64,
    until: Timestamp,
}

impl FileIndex {
    /// Reserves space for an upload. A reservation expires like a file, so that an abandoned upload
    /// does not hold it forever.
    fn reserve(&mut self, upload_id: &str, size_bytes: u64, started: Timestamp) {
        self.reserved
            .retain(|_, reservation| reservation.until > started);
        self.reserved.insert(
            upload_id.to_owned(),
            Reservation {
                size_bytes,
                until: after_lifetime(started),
            },
        );
    }

    /// Returns the size of all files and of all unfinished uploads except this one.
    fn used_bytes(&self, except: &str, now: Timestamp) -> u64 {
        let kept = self
            .files
            .values()
            .filter(|file| file.expires() > now)
            .map(|file| file.size_bytes);
        let others = self
            .reserved
            .iter()
            .filter(|(id, reservation)| *id != except && reservation.until > now);
        kept.chain(others.map(|(_, reservation)| reservation.size_bytes))
            .sum()
    }
}

impl Files {
    /// Opens the store below `folder`, and removes content whose document was never written.
    ///
    /// # Errors
    /// [`DocumentError`] when the folder can't be read or changed.
    pub(crate) fn open(folder: &Path) -> Result<Self, DocumentError> {
        let documents = Documents::open(folder.join("files"))?;
        let files: BTreeMap<_, _> = documents.load_all()?.into_iter().collect();
        let contents = folder.join("contents");
        remove_except(&contents, |id| files.contains_key(id))?;
        Ok(Self {
            documents,
            contents,
            index: Mutex::new(FileIndex {
                files,
                ..FileIndex::default()
            }),
        })
    }

    /// Returns the file with this id, if it has not expired.
    ///
    /// # Errors
    /// 403 when there is none, 400 for an id that is too long.
    pub(crate) fn find(&self, id: &str, now: Timestamp) -> Result<StoredFile, ApiError> {
        if id.len() > MAX_ID_LENGTH {
            return Err(ApiError::invalid(format!(
                "File ID {id} cannot be more than {MAX_ID_LENGTH} characters"
            )));
        }
        let index = self.lock();
        let file = index.files.get(id).filter(|file| file.expires() > now);
        file.cloned().ok_or_else(|| ApiError::no_file(id))
    }

    /// Returns the path of a file's content.
    pub(crate) fn content(&self, id: &str) -> PathBuf {
        self.contents.join(id)
    }

    /// Returns what requests need to know about the files they refer to. Missing files are left
    /// out.
    pub(crate) fn references<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
        now: Timestamp,
    ) -> References {
        let known = ids.filter_map(|id| {
            let file = self.find(id, now).ok()?;
            let label = if file.display_name.is_empty() {
                file.id
            } else {
                file.display_name
            };
            Some((
                id.to_owned(),
                UploadedReference {
                    label,
                    pixels: file.pixels,
                    sha256: file.sha256,
                },
            ))
        });
        known.collect()
    }

    /// Checks whether an upload of this id and size may become a file, and reserves space for it.
    ///
    /// # Errors
    /// 400 for an invalid id or a file that is too large, 409 for an id in use, 429 when the
    /// project's storage is full.
    pub(crate) fn admit(
        &self,
        upload_id: &str,
        id: Option<&str>,
        size_bytes: u64,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        // Limits of the request itself.
        if id.is_some_and(|id| !is_file_id(id)) {
            return Err(ApiError::invalid(
                "* CreateFileRequest.file.name: an ID holds up to 40 lowercase letters, digits and dashes, and neither \
                 starts nor ends with a dash",
            ));
        }
        if size_bytes > MAX_FILE_BYTES {
            return Err(ApiError::invalid(format!(
                "File size exceeds the limit of {MAX_FILE_BYTES} bytes"
            )));
        }
        let mut index = self.lock();
        if id
            .and_then(|id| index.files.get(id))
            .is_some_and(|file| file.expires() > now)
        {
            return Err(ApiError::already_exists());
        }
        if index.used_bytes(upload_id, now) + size_bytes > MAX_PROJECT_BYTES {
            return Err(ApiError::exhausted());
        }
        index.reserve(upload_id, size_bytes, now);
        Ok(())
    }

    /// Reserves the space of an upload that was admitted before.
    pub(crate) fn reserve(&self, upload_id: &str, size_bytes: u64, started: Timestamp) {
        self.lock().reserve(upload_id, size_bytes, started);
    }

    /// Adds the file of an upload with its content at `path`, and removes expired files.
    ///
    /// # Errors
    /// 500 when the state can't be written.
    pub(crate) fn add(
        &self,
        file: StoredFile,
        upload_id: &str,
        path: &Path,
    ) -> Result<(), ApiError> {
        // Limits that depend on other files and uploads. The lock is held until the space is
        // reserved.
        let mut index = self.lock();
        let expired = index
            .files
            .values()
            .filter(|other| other.expires() <= file.created);
        for id in expired.map(|other| other.id.clone()).collect::<Vec<_>>() {
            self.forget(&mut index.files, &id)?;
        }
        fs::rename(path, self.content(&file.id))?;
        self.documents.put(&file.id, &file)?;
        index.reserved.remove(upload_id);
        index.files.insert(file.id.clone(), file);
        Ok(())
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// As [`Files::find`].
    pub(crate) fn delete(&self, id: &str, now: Timestamp) -> Result<(), ApiError> {
        self.find(id, now)?;
        self.forget(&mut self.lock().files, id)
    }

    /// Returns a page of the files that have not expired, newest first.
    pub(crate) fn list(&self, page: &Page, origin: &str, now: Timestamp) -> Value {
        let index = self.lock();
        let mut newest: Vec<&StoredFile> = index
            .files
            .values()
            .filter(|file| file.expires() > now)
            .collect();
        newest.sort_by_key(|file| std::cmp::Reverse(file.number));
        page.of(
            "files",
            newest.into_iter().map(|file| (file.number, file)),
            |file| file.resource(origin),
        )
    }

    fn forget(&self, files: &mut BTreeMap<String, StoredFile>, id: &str) -> Result<(), ApiError> {
        self.documents.remove(id)?;
        files.remove(id);
        match fs::remove_file(self.content(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, FileIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoredFile {
    /// Returns when the file expires.
    pub(crate) fn expires(&self) -> Timestamp {
        after_lifetime(self.created)
    }

    /// Returns the `File` resource.
    pub(crate) fn resource(&self, origin: &str) -> Value {
        let mut resource = json!({"name": format!("files/{}", self.id)});
        if !self.display_name.is_empty() {
            resource["displayName"] = Value::from(self.display_name.as_str());
        }
        let created = self.created.to_string();
        let rest = json!({
            "mimeType": self.mime_type,
            "sizeBytes": self.size_bytes.to_string(),
            "createTime": created,
            "updateTime": created,
            "expirationTime": self.expires().to_string(),
            "sha256Hash": base64_simd::STANDARD.encode_to_string(&self.sha256),
            "uri": format!("{origin}/v1beta/files/{}", self.id),
            "state": "ACTIVE",
            "source": "UPLOADED",
        });
        if let (Value::Object(resource), Value::Object(rest)) = (&mut resource, rest) {
            resource.extend(rest);
        }
        resource
    }
}

fn after_lifetime(moment: Timestamp) -> Timestamp {
    moment
        .saturating_add(FILE_LIFETIME)
        .unwrap_or(Timestamp::MAX)
}

/// Creates the folder if it is missing, and removes the files in it that are not `wanted`.
pub(crate) fn remove_except(
    folder: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<(), DocumentError> {
    let remove_others = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(&wanted) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove_others().map_err(|source| DocumentError::Io {
        path: folder.to_owned(),
        source,
    })
}

fn is_file_id(id: &str) -> bool {
    let letters = id
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    letters && (1..=MAX_ID_LENGTH).contains(&id.len()) && !id.starts_with('-') && !id.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case_letters_digits_and_inner_dashes() {
        assert!(is_file_id("my-file-1"));
        for wrong in ["", "-a", "a-", "A", "a_b", "a/b", &"a".repeat(41)] {
            assert!(!is_file_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn resource_has_strings_for_numbers_and_the_hash_of_the_hex_digest() {
        let file = StoredFile {
            id: "a".to_owned(),
            number: 1,
            display_name: "in".to_owned(),
            mime_type: "application/jsonl".to_owned(),
            size_bytes: 609,
            created: Timestamp::UNIX_EPOCH,
            sha256: "00ff".to_owned(),
            pixels: None,
        };
        let resource = file.resource("http://host");
        assert_eq!(resource["sizeBytes"], "609");
        assert_eq!(resource["sha256Hash"], "MDBmZg==");
        assert_eq!(resource["expirationTime"], "1970-01-03T00:00:00Z");
        assert_eq!(resource["uri"], "http://host/v1beta/files/a");
    }
}
