//! Active multipart uploads. Each is a folder with a description and one file per part, until its
//! parts are assembled into one object.

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::SystemTime,
};

use darkroom::digest::hex;
use disk::Disk;
use jiff::Timestamp;
use s3s::{
    S3Result,
    crypto::{Checksum as _, Md5},
    s3_error,
};
use serde::{Deserialize, Serialize};

use super::{
    attributes::{Description, read_chunks},
    body::{ReceivedBody, TemporaryFile},
    checksum::{Algorithm, Checksums, finalize, hasher},
    disk_error,
    paths::is_absent,
    store::{NewObject, Store},
};
use crate::hexadecimal::from_hex;

/// The minimum size of every part but the last, in bytes: 5 MiB
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>, read 2026-11).
const MIN_PART_SIZE: u64 = 5 * 1024 * 1024;

/// The valid part numbers.
const PART_NUMBERS: RangeInclusive<i32> = 1..=10_000;

/// The file in an upload's folder that describes the upload.
const UPLOAD_FILE: &str = "upload.json";

/// The parameters of `CreateMultipartUpload`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) key: String,
    /// When the upload was created.
    #[serde(default)]
    pub(super) begun_at: Timestamp,
    pub(super) description: Description,
    pub(super) checksum: Option<ObjectChecksum>,
}

/// The checksum of the assembled object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ObjectChecksum {
    pub(super) algorithm: Algorithm,
    /// Whether it covers the whole content (`FULL_OBJECT`) rather than the parts' checksums
    /// (`COMPOSITE`).
    pub(super) whole: bool,
}

/// An active upload and its id.
#[derive(Clone, Debug)]
pub(super) struct ActiveUpload {
    pub(super) id: String,
    pub(super) upload: Upload,
}

/// A part as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) number: i32,
    pub(super) etag: String,
    pub(super) size: u64,
    pub(super) received_at: SystemTime,
}

/// A part as the caller names it in `CompleteMultipartUpload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedPart {
    pub(super) number: i32,
    pub(super) etag: String,
}

impl Upload {
    /// Creates an upload and returns its id.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub(super) fn create(&self, store: &Store, bucket: &str) -> S3Result<String> {
        store.check_bucket(bucket)?;
        let uploads = store.paths.uploads(bucket);
        fs::create_dir_all(&uploads).map_err(disk_error)?;
        let start = store.clock.now().as_microsecond();
        loop {
            let id = format!("{start:x}-{:x}", store.next_number());
            match fs::create_dir(uploads.join(&id)) {
                // The number restarts with the process, and the clock may stand still, so an id may
                // be taken.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(disk_error(error)),
                Ok(()) => {
                    let json = serde_json::to_vec(self)
                        .map_err(io::Error::from)
                        .map_err(disk_error)?;
                    fs::write(uploads.join(&id).join(UPLOAD_FILE), json).map_err(disk_error)?;
                    return Ok(id);
                }
            }
        }
    }

    /// Returns the upload with this id, and its folder.
    ///
    /// # Errors
    /// `NoSuchUpload`.
    pub(super) fn find(
        store: &Store,
        bucket: &str,
        key: &str,
        id: &str,
    ) -> S3Result<(Self, PathBuf)> {
        let no_such_upload = || s3_error!(NoSuchUpload);
        if !id
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        {
            return Err(no_such_upload());
        }
        let folder = store.paths.uploads(bucket).join(id);
        let json = fs::read(folder.join(UPLOAD_FILE)).map_err(|_| no_such_upload())?;
        let upload: Self = serde_json::from_slice(&json).map_err(|_| no_such_upload())?;
        if upload.key == key {
            Ok((upload, folder))
        } else {
            Err(no_such_upload())
        }
    }

    /// Returns all active uploads of a bucket, ordered by key and id.
    pub(super) fn all(store: &Store, bucket: &str) -> io::Result<Vec<ActiveUpload>> {
        let entries = match fs::read_dir(store.paths.uploads(bucket)) {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut active = Vec::new();
        for entry in entries {
            let entry = entry?;
            // The upload may have ended after its folder was listed.
            let Ok(json) = fs::read(entry.path().join(UPLOAD_FILE)) else {
                continue;
            };
            if let (Ok(id), Ok(upload)) = (
                entry.file_name().into_string(),
                serde_json::from_slice::<Self>(&json),
            ) {
                active.push(ActiveUpload { id, upload });
            }
        }
        active
            .sort_by(|one, other| (&one.upload.key, &one.id).cmp(&(&other.upload.key, &other.id)));
        Ok(active)
    }
}

/// # Errors
/// `InvalidArgument` for a number that no part can have.
pub(super) fn check_part_number(number: i32) -> S3Result {
    if PART_NUMBERS.contains(&number) {
        return Ok(());
    }
    Err(s3_error!(
        InvalidArgument,
        "Part number must be an integer between 1 and 10000, inclusive."
    ))
}

/// Stores a received part and returns its ETag. A part with the same number is replaced: the old
/// file stays until the upload ends, but the ETag identifies the one that counts.
///
/// # Errors
/// `NoSuchUpload`.
pub(super) fn store_part(
    disk: &Disk,
    folder: &Path,
    number: i32,
    content: &ReceivedBody,
) -> S3Result<String> {
    let etag = hex(&content.md5);
    if !folder.is_dir() {
        return Err(s3_error!(NoSuchUpload));
    }
    content
        .temporary
        .rename(disk, &part_path(folder, number, &etag))
        .map_err(disk_error)?;
    Ok(etag)
}

/// Returns the parts stored so far, by number. Of two with the same number, the later one counts.
pub(super) fn parts(folder: &Path) -> io::Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((number, etag)) = name.to_str().and_then(|name| name.split_once('-')) else {
            continue;
        };
        let (Ok(number), metadata) = (number.parse(), entry.metadata()?) else {
            continue;
        };
        parts.push(Part {
            number,
            etag: etag.to_owned(),
            size: metadata.len(),
            received_at: metadata.modified()?,
        });
    }
    parts.sort_by(|one, other| {
        (one.number, other.received_at).cmp(&(other.number, one.received_at))
    });
    parts.dedup_by_key(|part| part.number);
    Ok(parts)
}

/// Removes an upload and its parts.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if !is_absent(&error) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Assembles the named parts into one object.
///
/// # Errors
/// `MalformedXML` without parts; `InvalidPart`, `InvalidPartOrder`, `EntityTooSmall`.
pub(super) fn assemble(
    store: &Store,
    upload: &Upload,
    folder: &Path,
    named: &[NamedPart],
) -> S3Result<NewObject> {
    if named.is_empty() {
        return Err(s3_error!(
            MalformedXML,
            "You must specify at least one part"
        ));
    }
    if !named.is_sorted_by(|one, other| one.number < other.number) {
        return Err(s3_error!(InvalidPartOrder));
    }
    // The parts are copied one after the other, so that memory use does not grow with the object.
    let (temporary, mut file) =
        TemporaryFile::create(store.temporary_path()).map_err(disk_error)?;
    let mut etags = Md5::new();
    let mut checksum = upload.checksum.map(RunningChecksum::new);
    let mut sizes = Vec::with_capacity(named.len());
    for (index, part) in named.iter().enumerate() {
        let mut content = open_part(folder, part)?;
        let size = io::copy(&mut content, &mut file).map_err(disk_error)?;
        if size < MIN_PART_SIZE && index + 1 < named.len() {
            return Err(s3_error!(EntityTooSmall));
        }
        sizes.push(size);
        etags.update(&md5_of_hex(&part.etag).ok_or_else(|| s3_error!(InvalidPart))?);
        if let Some(checksum) = &mut checksum {
            content
                .rewind()
                .and_then(|()| checksum.update(&mut content))
                .map_err(disk_error)?;
        }
    }
    Ok(NewObject {
        temporary,
        file,
        etag: format!("{}-{}", hex(&etags.finalize()), named.len()),
        checksums: checksum
            .map(|checksum| checksum.finish(named.len()))
            .unwrap_or_default(),
        parts: sizes,
        description: upload.description.clone(),
    })
}

/// Computes an object's checksum part by part.
struct RunningChecksum {
    kind: ObjectChecksum,
    hasher: s3s::checksum::ChecksumHasher,
}

impl RunningChecksum {
    fn new(kind: ObjectChecksum) -> Self {
        Self {
            kind,
            hasher: hasher([kind.algorithm]),
        }
    }

    fn update(&mut self, part: &mut impl Read) -> io::Result<()> {
        if self.kind.whole {
            return read_chunks(part, |chunk| self.hasher.update(chunk));
        }
        let mut of_part = hasher([self.kind.algorithm]);
        read_chunks(part, |chunk| of_part.update(chunk))?;
        for sum in finalize(of_part).values() {
            self.hasher.update(
                &base64_simd::STANDARD
                    .decode_to_vec(sum)
                    .map_err(io::Error::other)?,
            );
        }
        Ok(())
    }

    fn finish(self, parts: usize) -> Checksums {
        let sums = finalize(self.hasher);
        if self.kind.whole {
            return sums;
        }
        sums.into_iter()
            .map(|(algorithm, sum)| (algorithm, format!("{sum}-{parts}")))
            .collect()
    }
}

fn open_part(folder: &Path, part: &NamedPart) -> S3Result<File> {
    if md5_of_hex(&part.etag).is_none() {
        return Err(s3_error!(InvalidPart));
    }
    match File::open(part_path(folder, part.number, &part.etag)) {
        Err(error) if is_absent(&error) => Err(s3_error!(InvalidPart)),
        opened => opened.map_err(disk_error),
    }
}

fn part_path(folder: &Path, number: i32, etag: &str) -> PathBuf {
    folder.join(format!("{number:05}-{etag}"))
}

/// Parses the 16 bytes of an MD5 in hexadecimal.
fn md5_of_hex(text: &str) -> Option<[u8; 16]> {
    from_hex(text)?.try_into().ok()
}
