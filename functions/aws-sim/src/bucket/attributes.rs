//! What is known of an object beside its bytes, kept in a file of its own.
//!
//! The file is named by the key and by the inode of the bytes it describes, and says their size and
//! time of change. It is written before the bytes get their name: so the old object and its
//! attributes, or the new one and its, are found together whenever the process is killed. Where
//! there is no such file, or it doesn't fit (the bytes were put there or changed by hand), the ETag
//! is computed from the content, and the rest is what S3 assumes.

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

/// How many bytes are read or written at once.
pub(super) const BUFFER: usize = 256 * 1024;

/// What is known of an object beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attributes {
    /// For a person who looks into the file.
    pub(super) key: String,
    /// The bytes that this is about.
    pub(super) of: FileState,
    /// Without quotes: the MD5 in hex, or that of the parts' MD5s, `-` and their number.
    pub(super) etag: String,
    /// By the clock of the time, in whole seconds as S3 has it.
    pub(super) last_modified: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) checksums: Checksums,
    /// The sizes of the parts that it was uploaded in, in their order; none if it was uploaded in
    /// one piece.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<u64>,
    #[serde(flatten)]
    pub(super) description: Description,
}

/// What tells one state of a file from any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileState {
    pub(super) inode: u64,
    pub(super) size: u64,
    changed_seconds: i64,
    changed_nanoseconds: i64,
}

/// What the uploader says of an object.
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
    /// What was kept of the file in this state; none if nothing was, or of another state.
    pub(super) fn read(path: &Path, state: FileState) -> Option<Self> {
        let json = fs::read(path).ok()?;
        serde_json::from_slice(&json)
            .ok()
            .filter(|kept: &Self| kept.of == state)
    }

    /// Keeps this.
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

    /// What can be said of bytes of which nothing is known. Reads them all.
    pub(super) fn from_content(
        key: &str,
        file: &mut File,
        metadata: &Metadata,
    ) -> io::Result<Self> {
        Ok(Self {
            key: key.to_owned(),
            of: FileState::of(metadata),
            etag: hex(&md5_of(file)?),
            last_modified: metadata.modified().map(whole_seconds)?,
            checksums: Checksums::new(),
            parts: Vec::new(),
            description: Description::default(),
        })
    }

    /// The time of the last change as `s3s` wants it.
    pub(super) fn last_modified(&self) -> s3s::dto::Timestamp {
        SystemTime::from(self.last_modified).into()
    }

    /// Whether S3 computed the ETag from the whole content.
    pub(super) fn has_md5_etag(&self) -> bool {
        !self.etag.contains('-')
    }
}

/// The `Content-Encoding` that is kept of the one that was sent. `aws-chunked` says how the body
/// was transferred and not what it is, so S3 does not keep it
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html>, read 2026-11).
pub(super) fn kept_encoding(sent: Option<String>) -> Option<String> {
    let sent = sent?;
    let is_of_the_body =
        |encoding: &&str| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("aws-chunked");
    let kept: Vec<&str> = sent
        .split(',')
        .map(str::trim)
        .filter(is_of_the_body)
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// The MD5 of a file from its beginning; it is at its beginning again afterwards.
pub(super) fn md5_of(file: &mut File) -> io::Result<[u8; 16]> {
    let mut md5 = Md5::new();
    file.rewind()?;
    read_in_pieces(file, |piece| md5.update(piece))?;
    file.rewind()?;
    Ok(md5.finalize())
}

/// Reads to the end, piece by piece.
pub(super) fn read_in_pieces(
    reader: &mut impl Read,
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
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
    fn encoding_of_the_way_is_not_kept() {
        let kept = |sent: &str| kept_encoding(Some(sent.to_owned()));
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
        assert_eq!(kept_encoding(None), None);
    }

    #[test]
    fn attributes_of_another_state_are_not_believed() {
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
