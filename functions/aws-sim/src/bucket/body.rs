//! Writes a request's body to a temporary file and hashes it on the way.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use disk::Disk;
use futures_util::StreamExt;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Md5},
    dto::StreamingBlob,
};

use super::{
    attributes::BUFFER,
    blocking,
    checksum::{Checksums, finalize},
    disk_error,
};

/// A temporary file, which is removed on drop unless it was renamed.
#[derive(Debug)]
pub(super) struct TemporaryFile(PathBuf);

/// A complete body that is not an object yet.
#[derive(Debug)]
pub(super) struct ReceivedBody {
    pub(super) temporary: TemporaryFile,
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
    pub(super) checksums: Checksums,
}

/// A body that is being received.
struct BodyWriter {
    temporary: TemporaryFile,
    file: File,
    size: u64,
    md5: Md5,
    hasher: ChecksumHasher,
}

/// Receives a body into a new file at `path`. Memory use is bounded by one buffer, regardless of
/// the body's size.
///
/// # Errors
/// `IncompleteBody` if the body is cut off or the signature of a chunk is wrong; `InternalError` if
/// the file can't be written.
pub(super) async fn receive(
    path: PathBuf,
    hasher: ChecksumHasher,
    mut body: StreamingBlob,
) -> S3Result<ReceivedBody> {
    let (mut chunks, mut ended) = next_chunks(&mut body).await?;
    let mut writer = blocking(move || {
        let mut writer = BodyWriter::create(path, hasher).map_err(disk_error)?;
        writer.write_chunks(&chunks).map_err(disk_error)?;
        Ok(writer)
    })
    .await?;
    while !ended {
        (chunks, ended) = next_chunks(&mut body).await?;
        writer = blocking(move || {
            writer
                .write_chunks(&chunks)
                .map(|()| writer)
                .map_err(disk_error)
        })
        .await?;
    }
    Ok(writer.finish())
}

/// Copies the rest of `source` into a new file at `path`, hashed like a received body.
pub(super) fn copy_body(
    path: PathBuf,
    hasher: ChecksumHasher,
    source: impl Read,
) -> io::Result<ReceivedBody> {
    let mut writer = BodyWriter::create(path, hasher)?;
    io::copy(&mut BufReader::with_capacity(BUFFER, source), &mut writer)?;
    Ok(writer.finish())
}

/// Collects chunks until they fill a buffer, so that each switch to a blocking thread is worth its
/// cost. Returns them with whether the body has ended.
async fn next_chunks(body: &mut StreamingBlob) -> S3Result<(Vec<Bytes>, bool)> {
    let (mut chunks, mut size) = (Vec::new(), 0);
    while size < BUFFER {
        let Some(chunk) = body.next().await else {
            return Ok((chunks, true));
        };
        let chunk =
            chunk.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
        size += chunk.len();
        chunks.push(chunk);
    }
    Ok((chunks, false))
}

impl BodyWriter {
    fn create(path: PathBuf, hasher: ChecksumHasher) -> io::Result<Self> {
        let (temporary, file) = TemporaryFile::create(path)?;
        Ok(Self {
            temporary,
            file,
            size: 0,
            md5: Md5::new(),
            hasher,
        })
    }

    fn write_chunks(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        chunks.iter().try_for_each(|chunk| self.write_all(chunk))
    }

    fn finish(self) -> ReceivedBody {
        let Self {
            temporary,
            file,
            size,
            md5,
            hasher,
        } = self;
        ReceivedBody {
            temporary,
            file,
            size,
            md5: md5.finalize(),
            checksums: finalize(hasher),
        }
    }
}

impl Write for BodyWriter {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let written = self.file.write(chunk)?;
        self.md5.update(&chunk[..written]);
        self.hasher.update(&chunk[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl TemporaryFile {
    /// Creates a new, empty file.
    pub(super) fn create(path: PathBuf) -> io::Result<(Self, File)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok((Self(path), file))
    }

    /// Synchronizes the content, before the file is renamed.
    pub(super) fn sync(&self, disk: &Disk, file: &File) -> io::Result<()> {
        disk.sync_file(&self.0, file)
    }

    /// Renames the file, and replaces any file at `to`. Creates the folder if it is missing.
    pub(super) fn rename(&self, disk: &Disk, to: &Path) -> io::Result<()> {
        match disk.rename(&self.0, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(to.parent().unwrap_or(to))?;
                disk.rename(&self.0, to)
            }
            renamed => renamed,
        }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // After a rename there is nothing to remove. A file that is left over is removed at the
        // next start.
        let _ = fs::remove_file(&self.0);
    }
}
