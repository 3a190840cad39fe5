//! A body on its way to the disk: into a temporary file, hashed as it passes.

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
    checksum::{Checksums, computed},
    disk_error,
};

/// A temporary file, removed unless it got another name.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

/// A body that has arrived, not yet an object.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) temporary: Temporary,
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
    pub(super) checksums: Checksums,
}

/// A body that is arriving.
struct Incoming {
    temporary: Temporary,
    file: File,
    size: u64,
    md5: Md5,
    hasher: ChecksumHasher,
}

/// Receives a body into a new file at `path`. Takes no more memory than one buffer, whatever the
/// body's size.
///
/// # Errors
/// `IncompleteBody` when the body breaks off or its signature is wrong; `InternalError` when the
/// disk refuses.
pub(super) async fn receive(
    path: PathBuf,
    hasher: ChecksumHasher,
    mut body: StreamingBlob,
) -> S3Result<Content> {
    let (mut pieces, mut ended) = next_pieces(&mut body).await?;
    let mut incoming = blocking(move || {
        let mut incoming = Incoming::create(path, hasher).map_err(disk_error)?;
        incoming.write_pieces(&pieces).map_err(disk_error)?;
        Ok(incoming)
    })
    .await?;
    while !ended {
        (pieces, ended) = next_pieces(&mut body).await?;
        incoming = blocking(move || {
            incoming
                .write_pieces(&pieces)
                .map(|()| incoming)
                .map_err(disk_error)
        })
        .await?;
    }
    Ok(incoming.finish())
}

/// Copies what is left of `source` into a new file at `path`, hashed as it passes like a body.
pub(super) fn copy(
    path: PathBuf,
    hasher: ChecksumHasher,
    source: impl Read,
) -> io::Result<Content> {
    let mut incoming = Incoming::create(path, hasher)?;
    io::copy(&mut BufReader::with_capacity(BUFFER, source), &mut incoming)?;
    Ok(incoming.finish())
}

/// So many pieces that a trip to the disk is worth it, and whether they were the last.
async fn next_pieces(body: &mut StreamingBlob) -> S3Result<(Vec<Bytes>, bool)> {
    let (mut pieces, mut size) = (Vec::new(), 0);
    while size < BUFFER {
        let Some(piece) = body.next().await else {
            return Ok((pieces, true));
        };
        let piece =
            piece.map_err(|error| S3Error::with_source(S3ErrorCode::IncompleteBody, error))?;
        size += piece.len();
        pieces.push(piece);
    }
    Ok((pieces, false))
}

impl Incoming {
    fn create(path: PathBuf, hasher: ChecksumHasher) -> io::Result<Self> {
        let (temporary, file) = Temporary::create(path)?;
        Ok(Self {
            temporary,
            file,
            size: 0,
            md5: Md5::new(),
            hasher,
        })
    }

    fn write_pieces(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        pieces.iter().try_for_each(|piece| self.write_all(piece))
    }

    fn finish(self) -> Content {
        let Self {
            temporary,
            file,
            size,
            md5,
            hasher,
        } = self;
        Content {
            temporary,
            file,
            size,
            md5: md5.finalize(),
            checksums: computed(hasher),
        }
    }
}

impl Write for Incoming {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let written = self.file.write(piece)?;
        self.md5.update(&piece[..written]);
        self.hasher.update(&piece[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Temporary {
    /// A new, empty file.
    pub(super) fn create(path: PathBuf) -> io::Result<(Self, File)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok((Self(path), file))
    }

    /// Has the content reach the disk, before it has its name.
    pub(super) fn sync(&self, disk: &Disk, file: &File) -> io::Result<()> {
        disk.sync_file(&self.0, file)
    }

    /// Gives the file its name, in place of what has it. The folder is made when it is missing.
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

impl Drop for Temporary {
    fn drop(&mut self) {
        // Once it has another name there is nothing here, and what stays behind is removed at the
        // next start.
        let _ = fs::remove_file(&self.0);
    }
}
