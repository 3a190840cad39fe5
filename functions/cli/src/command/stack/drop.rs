//! Dropping a manifest into the bucket.

use runtime::bucket::Conditional;

use super::Stack;
use crate::controls;

/// What happens to a manifest that is dropped.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::command) enum DropOutcome {
    /// It has this key, now or as soon as the host of the folder runs.
    Dropped(String),
    /// The same manifest was dropped before and has this key.
    DroppedBefore(String),
}

impl Stack {
    /// Drops a manifest into `inbox/`. A manifest of another content with the same name is never
    /// replaced: the new one then gets a number. In a folder, the drop takes effect as soon as a
    /// host runs there.
    pub(in crate::command) async fn drop(
        &self,
        name: &str,
        manifest: &[u8],
    ) -> anyhow::Result<DropOutcome> {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, "jsonl"));
        for number in 1..100_u32 {
            let name = match number {
                1 => format!("{stem}.{extension}"),
                number => format!("{stem}-{number}.{extension}"),
            };
            let key = format!("inbox/{name}");
            let stored = match self {
                Self::Folder(folder) => match folder.pending(&name)? {
                    Some(pending) => Some(pending),
                    None => self.read(&key).await?.map(|object| object.bytes),
                },
                Self::Bucket(bucket) => bucket.read(&key).await?.map(|object| object.bytes),
            };
            match stored {
                Some(stored) if stored == manifest => return Ok(DropOutcome::DroppedBefore(key)),
                Some(_) => {}
                None if self.create(&name, &key, manifest).await? => {
                    return Ok(DropOutcome::Dropped(key));
                }
                None => {}
            }
        }
        anyhow::bail!("too many manifests in inbox/ are named {stem}: rename the manifest")
    }

    /// Creates the manifest. Returns false if another one was created under its key in the
    /// meantime.
    async fn create(&self, name: &str, key: &str, manifest: &[u8]) -> anyhow::Result<bool> {
        match self {
            Self::Folder(folder) => {
                controls::request_drop(&folder.internal()?, name, manifest).map(|()| true)
            }
            Self::Bucket(bucket) => {
                let bytes = manifest.to_vec();
                let created = bucket.create(key, "application/x-ndjson", bytes).await?;
                Ok(matches!(created, Conditional::Written(_)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drop_never_replaces_another_manifest() {
        let out = tempfile::tempdir().unwrap();
        let inbox = out.path().join("darkroom/inbox");
        std::fs::create_dir_all(&inbox).unwrap();
        std::fs::write(inbox.join("picks.jsonl"), "one").unwrap();
        let stack = Stack::folder(out.path());
        let drop = async |text: &[u8]| stack.drop("picks.jsonl", text).await.unwrap();
        assert_eq!(
            drop(b"one").await,
            DropOutcome::DroppedBefore("inbox/picks.jsonl".to_owned())
        );
        assert_eq!(
            drop(b"two").await,
            DropOutcome::Dropped("inbox/picks-2.jsonl".to_owned())
        );
        assert_eq!(
            drop(b"two").await,
            DropOutcome::DroppedBefore("inbox/picks-2.jsonl".to_owned())
        );
        assert_eq!(
            drop(b"three").await,
            DropOutcome::Dropped("inbox/picks-3.jsonl".to_owned())
        );
    }
}
