//! An object's attributes: its metadata and checksums, in a separate file from its content.
//!
//! The file's name consists of the key's hash and the inode of the content, and the file records
//! the content's size and time of change. It is written before the content is renamed into place.
//! So a reader finds either the old object with its attributes or the new one with its own,
//! whenever the process is killed. If the file is missing or does not match, because the content
//! was added or changed by hand, the ETag is computed from the content, and the other attributes
//! get S3's defaults.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io::{self, Read, Seek},
    os::unix::fs::MetadataExt,
    path::Path,
    time::SystemTime,
};

use darkroom::digest::hex;
use disk::Disk;
use jiff::Timestamp;
use s3s::crypto::{Checksum as _, Md5};
use serde::{Deserialize, Serialize};

use super::checksum::Checksums;

/// The size of one read or write, in bytes.
pub(super) const BUFFER: usize = 256 * 1024;

/// An object's attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attributes {
    /// The key, for a user who reads the file.
    pub(super) key: String,
    /// The state of the content that these attributes describe.
    #[serde(rename = "of")]
    pub(super) file: FileState,
    /// The ETag without quotes: the MD5 in hexadecimal, or for a multipart upload the MD5 of the
    /// parts' MD5s, `-` and the number of parts.
    pub(super) etag: String,
    /// When the object was written, in whole seconds as in S3.
    pub(super) last_modified: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) checksums: Checksums,
    /// The sizes of the uploaded parts in order, in bytes; empty for an object that was uploaded in
    /// one piece.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<u64>,
    #[serde(flatten)]
    pub(super) description: Description,
}

/// Identifies one state of a file: a change to the file changes at least one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileState {
    pub(super) inode: u64,
    pub(super) size: u64,
    changed_seconds: i64,
    changed_nanoseconds: i64,
}

/// The description that the uploader gave an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Description {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    /// The `x-amz-meta-*` headers, without that prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
}

impl FileState {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            changed_seconds: metadata.mtime(),
            changed_nanoseconds: metadata.mtime_nsec(),
        }
    }
}

impl Attributes {
    /// Reads the attributes stored for the file in this state, or returns none if there are none or
    /// they describe another state.
    pub(super) fn read(path: &Path, state: FileState) -> Option<Self> {
        let json = fs::read(path).ok()?;
        serde_json::from_slice(&json)
            .ok()
            .filter(|stored: &Self| stored.file == state)
    }

    /// Writes the attributes to `path`. Creates the folder if it is missing.
    pub(super) fn write(&self, disk: &Disk, path: &Path) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        match disk.write(path, &json) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(path))?;
                disk.write(path, &json)
            }
            written => written,
        }
    }

    /// Computes the attributes of a file that has none stored. Reads the whole file.
    pub(super) fn from_content(
        key: &str,
        file: &mut File,
        metadata: &Metadata,
    ) -> io::Result<Self> {
        Ok(Self {
            key: key.to_owned(),
            file: FileState::of(metadata),
            etag: hex(&md5_of(file)?),
            last_modified: metadata.modified().map(whole_seconds)?,
            checksums: Checksums::new(),
            parts: Vec::new(),
            description: Description::default(),
        })
    }

    /// Returns the time of the last change in the type of `s3s`.
    pub(super) fn last_modified(&self) -> s3s::dto::Timestamp {
        SystemTime::from(self.last_modified).into()
    }

    /// Whether the ETag is the MD5 of the whole content.
    pub(super) fn has_md5_etag(&self) -> bool {
        !self.etag.contains('-')
    }
}

/// Returns a `Content-Encoding` without `aws-chunked`. That value describes the transfer rather
/// than the object, so S3 does not store it
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>, read 2026-11).
pub(super) fn strip_aws_chunked(sent: Option<String>) -> Option<String> {
    let sent = sent?;
    let describes_the_object =
        |encoding: &&str| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("aws-chunked");
    let kept: Vec<&str> = sent
        .split(',')
        .map(str::trim)
        .filter(describes_the_object)
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// Returns the MD5 of the whole file, and leaves the file at its beginning.
pub(super) fn md5_of(file: &mut File) -> io::Result<[u8; 16]> {
    let mut md5 = Md5::new();
    file.rewind()?;
    read_chunks(file, |chunk| md5.update(chunk))?;
    file.rewind()?;
    Ok(md5.finalize())
}

/// Reads to the end, and passes each buffer to `take`.
pub(super) fn read_chunks(reader: &mut impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => take(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn whole_seconds(time: SystemTime) -> Timestamp {
    let time = Timestamp::try_from(time).unwrap_or_default();
    Timestamp::from_second(time.as_second()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_chunked_is_removed_from_the_content_encoding() {
        let kept = |sent: &str| strip_aws_chunked(Some(sent.to_owned()));
        for (sent, expected) in [
            ("aws-chunked", None),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip, aws-chunked", Some("gzip")),
            ("AWS-Chunked , gzip,br", Some("gzip,br")),
            ("aws-chunked,", None),
            ("gzip", Some("gzip")),
            ("x-aws-chunked", Some("x-aws-chunked")),
            ("", None),
        ] {
            assert_eq!(kept(sent).as_deref(), expected, "{sent:?}");
        }
        assert_eq!(strip_aws_chunked(None), None);
    }

    #[test]
    fn attributes_of_another_file_state_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let (body, kept) = (
            folder.path().join("body"),
            folder.path().join("new folder/kept"),
        );
        fs::write(&body, b"one").unwrap();
        let mut file = File::open(&body).unwrap();
        let metadata = file.metadata().unwrap();
        let mut attributes = Attributes::from_content("key", &mut file, &metadata).unwrap();
        attributes
            .description
            .metadata
            .insert("colour".to_owned(), "red".to_owned());
        attributes.write(&Disk::fast(), &kept).unwrap();
        assert_eq!(attributes.etag, "f97c5d29941bfb1b2fdab0874906ab82");
        assert_eq!(
            Attributes::read(&kept, FileState::of(&metadata)),
            Some(attributes)
        );

        fs::write(&body, b"other").unwrap();
        assert_eq!(
            Attributes::read(&kept, FileState::of(&fs::metadata(&body).unwrap())),
            None
        );
        fs::write(&kept, b"{\"torn").unwrap();
        assert_eq!(Attributes::read(&kept, FileState::of(&metadata)), None);
    }
}
