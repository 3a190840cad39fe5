//! What a person says about a job at the terminal, while the chain may be running in another
//! process.
//!
//! The host alone may write to the bucket. So the command leaves a file,
//! `.darkroom/words/<job>.<word>`, and the host drops the word in the bucket as any S3 client
//! would: `control/<job>/<word>`.

use std::{fs, io, path::Path};

use anyhow::Context;
use darkroom::names::JobId;
use runtime::bucket::Bucket;

/// The folder of words, in the internal folder.
const FOLDER: &str = "words";

/// What a person can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Let the job's held shards continue.
    Approve,
    /// End the job with what it has.
    Cancel,
}

impl Word {
    /// As it is dropped below `control/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Cancel => "cancel",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Approve, Self::Cancel]
            .into_iter()
            .find(|word| word.name() == name)
    }
}

/// Leaves a word for the host of the folder `internal` is in.
///
/// # Errors
/// When the file can't be written.
pub fn leave(internal: &Path, job: &JobId, word: Word) -> anyhow::Result<()> {
    let folder = internal.join(FOLDER);
    fs::create_dir_all(&folder)
        .with_context(|| format!("can't make the folder {}", folder.display()))?;
    let path = folder.join(format!("{job}.{}", word.name()));
    fs::write(&path, "").with_context(|| format!("can't write {}", path.display()))
}

/// Drops the words that were left, in `bucket`.
///
/// # Errors
/// When a word can't be read or dropped; it is dropped the next time.
pub(crate) async fn drop_all(internal: &Path, bucket: &Bucket) -> anyhow::Result<()> {
    let entries = match fs::read_dir(internal.join(FOLDER)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let parsed = name.to_str().and_then(|name| name.rsplit_once('.'));
        if let Some((job, word)) = parsed.and_then(|(job, word)| Some((job, Word::named(word)?))) {
            bucket
                .put(&format!("control/{job}/{}", word.name()), "text/plain", "")
                .await?;
        }
        fs::remove_file(entry.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_its_name() {
        for word in [Word::Approve, Word::Cancel] {
            assert_eq!(Word::named(word.name()), Some(word));
        }
        assert_eq!(Word::named("Approve"), None);
    }
}
