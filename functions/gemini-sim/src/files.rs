//! The Files API's store: what was uploaded, for two days.

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
    wire::{paging::Page, reply::Refused},
};

/// How long a file is kept. Source: ai.google.dev/gemini-api/docs/files, read 2026-11-21.
const LIFETIME: SignedDuration = SignedDuration::from_hours(48);

/// The most bytes of one file. Source: as above.
pub(crate) const LARGEST_FILE_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// The most bytes of all files. Source: as above.
const PROJECT_BYTES: u64 = 20 * 1024 * 1024 * 1024;

/// The longest file id. The ids of output files are longer, which is why they can only be
/// downloaded.
const LONGEST_ID: usize = 40;

/// An uploaded file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredFile {
    pub(crate) id: String,
    /// Counts up: the order of lists.
    pub(crate) number: u64,
    pub(crate) display_name: String,
    pub(crate) mime_type: String,
    pub(crate) size_bytes: u64,
    pub(crate) created: Timestamp,
    /// In hexadecimal digits.
    pub(crate) sha256: String,
    /// Width and height of an image.
    pub(crate) pixels: Option<(u32, u32)>,
}

/// All uploaded files: a document for each, and its bytes beside it.
#[derive(Debug)]
pub(crate) struct Files {
    documents: Documents<StoredFile>,
    contents: PathBuf,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    files: BTreeMap<String, StoredFile>,
    /// What uploads under way will need, by upload id, and until when that is theirs.
    reserved: BTreeMap<String, Reservation>,
}

#[derive(Clone, Copy, Debug)]
struct Reservation {
    size_bytes: u64,
    until: Timestamp,
}

impl Shelf {
    /// An upload that is never ended does not hold its room longer than a file would.
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

    /// The bytes of all files, and of all uploads but this one.
    fn used_bytes(&self, but: &str, now: Timestamp) -> u64 {
        let kept = self
            .files
            .values()
            .filter(|file| file.expires() > now)
            .map(|file| file.size_bytes);
        let others = self
            .reserved
            .iter()
            .filter(|(id, reservation)| *id != but && reservation.until > now);
        kept.chain(others.map(|(_, reservation)| reservation.size_bytes))
            .sum()
    }
}

impl Files {
    /// Opens the store below `folder`. Bytes whose document was never written are removed.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub(crate) fn open(folder: &Path) -> Result<Self, DocumentError> {
        let documents = Documents::open(folder.join("files"))?;
        let files: BTreeMap<_, _> = documents.load_all()?.into_iter().collect();
        let contents = folder.join("contents");
        keep_only(&contents, |id| files.contains_key(id))?;
        Ok(Self {
            documents,
            contents,
            shelf: Mutex::new(Shelf {
                files,
                ..Shelf::default()
            }),
        })
    }

    /// The file of this id, if it has not expired.
    ///
    /// # Errors
    /// 403 when there is none, 400 for an id too long to be one.
    pub(crate) fn find(&self, id: &str, now: Timestamp) -> Result<StoredFile, Refused> {
        if id.len() > LONGEST_ID {
            return Err(Refused::invalid(format!(
                "File ID {id} cannot be more than {LONGEST_ID} characters"
            )));
        }
        let shelf = self.lock();
        let file = shelf.files.get(id).filter(|file| file.expires() > now);
        file.cloned().ok_or_else(|| Refused::no_file(id))
    }

    /// Where a file's bytes are.
    pub(crate) fn content(&self, id: &str) -> PathBuf {
        self.contents.join(id)
    }

    /// What requests that refer to these files need to know of them. Files that are not there are
    /// left out.
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
                },
            ))
        });
        known.collect()
    }

    /// Checks that an upload of this id and size may become a file, and keeps the room for it.
    ///
    /// # Errors
    /// 400 for a wrong id or too many bytes, 409 for an id in use, 429 when the project's storage
    /// is full.
    pub(crate) fn admit(
        &self,
        upload_id: &str,
        id: Option<&str>,
        size_bytes: u64,
        now: Timestamp,
    ) -> Result<(), Refused> {
        if id.is_some_and(|id| !is_file_id(id)) {
            return Err(Refused::invalid(
                "* CreateFileRequest.file.name: an ID holds up to 40 lowercase letters, digits and dashes, and neither \
                 starts nor ends with a dash",
            ));
        }
        if size_bytes > LARGEST_FILE_BYTES {
            return Err(Refused::invalid(format!(
                "File size exceeds the limit of {LARGEST_FILE_BYTES} bytes"
            )));
        }
        let mut shelf = self.lock();
        if id
            .and_then(|id| shelf.files.get(id))
            .is_some_and(|file| file.expires() > now)
        {
            return Err(Refused::already_exists());
        }
        if shelf.used_bytes(upload_id, now) + size_bytes > PROJECT_BYTES {
            return Err(Refused::exhausted());
        }
        shelf.reserve(upload_id, size_bytes, now);
        Ok(())
    }

    /// Keeps the room for an upload that was admitted before.
    pub(crate) fn keep_room(&self, upload_id: &str, size_bytes: u64, started: Timestamp) {
        self.lock().reserve(upload_id, size_bytes, started);
    }

    /// Adds the file of an upload, whose bytes are at `path`, and drops what has expired.
    ///
    /// # Errors
    /// 500 when the state can't be written.
    pub(crate) fn add(
        &self,
        file: StoredFile,
        upload_id: &str,
        path: &Path,
    ) -> Result<(), Refused> {
        let mut shelf = self.lock();
        let expired = shelf
            .files
            .values()
            .filter(|other| other.expires() <= file.created);
        for id in expired.map(|other| other.id.clone()).collect::<Vec<_>>() {
            self.forget(&mut shelf.files, &id)?;
        }
        fs::rename(path, self.content(&file.id))?;
        self.documents.put(&file.id, &file)?;
        shelf.reserved.remove(upload_id);
        shelf.files.insert(file.id.clone(), file);
        Ok(())
    }

    /// Deletes a file.
    ///
    /// # Errors
    /// As [`Files::find`].
    pub(crate) fn delete(&self, id: &str, now: Timestamp) -> Result<(), Refused> {
        self.find(id, now)?;
        self.forget(&mut self.lock().files, id)
    }

    /// A page of the files that have not expired, newest first.
    pub(crate) fn list(&self, page: &Page, origin: &str, now: Timestamp) -> Value {
        let shelf = self.lock();
        let mut newest: Vec<&StoredFile> = shelf
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

    fn forget(&self, files: &mut BTreeMap<String, StoredFile>, id: &str) -> Result<(), Refused> {
        self.documents.remove(id)?;
        files.remove(id);
        match fs::remove_file(self.content(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoredFile {
    /// When it goes.
    pub(crate) fn expires(&self) -> Timestamp {
        after_lifetime(self.created)
    }

    /// The `File` resource.
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
    moment.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX)
}

/// Makes the folder if need be and removes the files in it that `wanted` doesn't know.
pub(crate) fn keep_only(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), DocumentError> {
    let remove_strangers = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(&wanted) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove_strangers().map_err(|source| DocumentError::Io {
        path: folder.to_owned(),
        source,
    })
}

fn is_file_id(id: &str) -> bool {
    let letters = id
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    letters && (1..=LONGEST_ID).contains(&id.len()) && !id.starts_with('-') && !id.ends_with('-')
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
