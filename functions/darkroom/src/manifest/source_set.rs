//! Opening a manifest: the job that it starts, its sidecar and its header, from one read.
//!
//! `plan` and `darkroom check` open a manifest by this routine, so that both find the same job.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
};

use jiff::civil::Date;
use sha2::{Digest, Sha256};

use super::{Context, Copies, Header, Limits, ReadError, Sidecar, StoredTemplate, read};
use crate::{
    batch_bounds::BatchBounds,
    job::JobSettings,
    models::Catalog,
    names::{JobId, ObjectUri},
    plan::{content_id, job_id},
};

/// How much of a manifest is kept in memory to be read a second time, in bytes as they are stored.
const REPLAY_BYTES: usize = 8 << 20;

/// Where a manifest and its sidecar are read from: a bucket, or a folder on this machine.
pub trait SourceSet {
    /// Why a source could not be read.
    type Error: From<ReadError>;

    /// Opens the manifest at its first byte. Every call reads the same version of it.
    ///
    /// # Errors
    /// The manifest is missing, has been replaced by another version, or can't be read.
    fn manifest(&self) -> Result<impl Read, Self::Error>;

    /// Reads a small text by its key: the job document, or a stored template. `None` if there is no
    /// such object.
    ///
    /// # Errors
    /// The object can't be read.
    fn text(&self, key: &str) -> Result<Option<String>, Self::Error>;

    /// Lists the keys of all objects below [`TEMPLATES`](super::TEMPLATES).
    ///
    /// # Errors
    /// The templates can't be listed.
    fn template_keys(&self) -> Result<Vec<String>, Self::Error>;
}

/// A manifest's hash, sidecar and header: what decides its job, before any item is checked.
#[derive(Clone, Debug)]
pub struct OpenedManifest {
    /// The SHA-256 of the bytes as they are stored, compressed or not.
    pub sha256: [u8; 32],
    /// How many bytes these are.
    pub size_bytes: u64,
    /// The metadata, the job document, and the stored templates that the manifest uses.
    pub sidecar: Sidecar,
    /// What holds for all items.
    pub header: Header,
}

impl OpenedManifest {
    /// Opens the manifest that has this address, this metadata, and these defaults of its folder
    /// ([`crate::folders::Folder::defaults`]).
    ///
    /// The manifest is opened once. Only a manifest whose header takes more than 8 MiB (in practice
    /// a large JSON envelope) is opened a second time, and only if there are stored templates.
    ///
    /// # Errors
    /// [`SourceSet::Error`] if a source can't be read. No content of a manifest is an error.
    pub fn open<S: SourceSet>(
        sources: &S,
        uri: &ObjectUri,
        metadata: BTreeMap<String, String>,
        folder_defaults: Option<String>,
    ) -> Result<Self, S::Error> {
        // Templates that the manifest does not use are not part of the job, so their texts are not
        // read yet: a template may change without changing the job of every manifest in its reach.
        let templates = Sidecar::template_names(&uri.key, &sources.template_keys()?)
            .into_iter()
            .map(|(name, key)| (name, StoredTemplate { key, text: None }))
            .collect();
        let mut sidecar = Sidecar {
            metadata,
            job: sources.text(&Sidecar::job_key(&uri.key))?,
            templates,
            folder_defaults,
        };

        // The job must not depend on what a deployment allows, so everything is allowed here.
        let (settings, catalog, copies) =
            (JobSettings::default(), Catalog::built_in(), Copies::new());
        let context = Context {
            bucket: &uri.bucket,
            catalog: &catalog,
            default_model: &settings.default_model,
            on: Date::MIN,
            allow_retired_models: true,
            sidecar: &sidecar,
            allowed_models: None,
            allow_unknown_models: true,
            copies: Some(&copies),
            bounds: BatchBounds::none(),
            limits: Limits::default(),
            lanes: None,
        };

        // The header comes first, because an envelope may give its defaults after its items.
        let mut replay = Replay::new(Hashed::new(sources.manifest()?));
        let header = Header::read(&mut replay, &context)?;

        // Only the items show which templates are used. They are read from the same stream if the
        // header's bytes could be kept.
        let (start, mut rest) = replay.into_parts();
        let used = match start {
            _ if sidecar.templates.is_empty() => BTreeSet::new(),
            Some(start) => {
                let again = io::Cursor::new(start).chain(&mut rest);
                read(again, &header, &context, |_| Ok(()))?.templates
            }
            None => {
                // The first stream ends before the second begins, so that it does not time out.
                drain(&mut rest)?;
                read(sources.manifest()?, &header, &context, |_| Ok(()))?.templates
            }
        };
        drain(&mut rest)?;

        sidecar.templates.retain(|name, _| used.contains(name));
        for template in sidecar.templates.values_mut() {
            template.text = Some(sources.text(&template.key)?.unwrap_or_default());
        }
        Ok(Self {
            sha256: rest.hash.finalize().into(),
            size_bytes: rest.bytes,
            sidecar,
            header,
        })
    }

    /// Returns the id of the job that dropping the manifest under this address starts.
    pub fn job_id(&self, uri: &ObjectUri, settings: &JobSettings) -> JobId {
        let ObjectUri { bucket, key } = uri;
        job_id(bucket, key, &self.sha256, settings, &self.sidecar)
    }

    /// Returns the id of what the job buys, which is the same under every key.
    pub fn content_id(&self, settings: &JobSettings) -> String {
        content_id(&self.sha256, settings, &self.sidecar)
    }
}

/// Reads a source to its end.
fn drain(source: &mut impl Read) -> Result<(), ReadError> {
    io::copy(source, &mut io::sink())
        .map(drop)
        .map_err(ReadError::Source)
}

/// A source that is hashed and counted while it is read.
struct Hashed<R> {
    source: R,
    hash: Sha256,
    bytes: u64,
}

impl<R> Hashed<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            hash: Sha256::new(),
            bytes: 0,
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hash.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// A source whose bytes are kept while it is read, up to [`REPLAY_BYTES`].
struct Replay<R> {
    source: R,
    /// All bytes so far. `None` once there were too many.
    start: Option<Vec<u8>>,
}

impl<R> Replay<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            start: Some(Vec::new()),
        }
    }

    /// Returns the bytes that were read, if all of them were kept, and the source with the rest.
    fn into_parts(self) -> (Option<Vec<u8>>, R) {
        (self.start, self.source)
    }
}

impl<R: Read> Read for Replay<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.start = self.start.take().and_then(|mut start| {
            start.extend_from_slice(&buffer[..count]);
            (start.len() <= REPLAY_BYTES).then_some(start)
        });
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A manifest in memory with stored templates, and how often it was opened.
    struct Memory {
        manifest: Vec<u8>,
        templates: BTreeMap<&'static str, &'static str>,
        opens: Cell<u32>,
    }

    impl SourceSet for Memory {
        type Error = ReadError;

        fn manifest(&self) -> Result<impl Read, ReadError> {
            self.opens.set(self.opens.get() + 1);
            Ok(&*self.manifest)
        }

        fn text(&self, key: &str) -> Result<Option<String>, ReadError> {
            Ok(self.templates.get(key).map(|text| (*text).to_owned()))
        }

        fn template_keys(&self) -> Result<Vec<String>, ReadError> {
            Ok(self.templates.keys().map(|key| (*key).to_owned()).collect())
        }
    }

    /// Opens a manifest with the stored templates `white` and `dark`, and returns how often it was
    /// opened.
    fn opened(manifest: &[u8]) -> (OpenedManifest, u32) {
        let sources = Memory {
            manifest: manifest.to_vec(),
            templates: [
                ("templates/white.txt", "{sku}"),
                ("templates/dark.txt", "{sku}"),
            ]
            .into(),
            opens: Cell::new(0),
        };
        let uri = ObjectUri {
            bucket: "studio".to_owned(),
            key: "inbox/skus".to_owned(),
        };
        let opened = OpenedManifest::open(&sources, &uri, BTreeMap::new(), None).unwrap();
        (opened, sources.opens.get())
    }

    #[test]
    fn a_manifest_of_any_form_is_opened_once() {
        let envelope = br#"{"items": [{"vars": {"sku": 1}}], "defaults": {"template": "white"}}"#;
        for manifest in [
            &b"template,sku\nwhite,1\n"[..],
            b"{\"template\": \"white\", \"vars\": {\"sku\": 1}}\n",
            br#"[{"template": "white", "vars": {"sku": 1}}]"#,
            envelope,
        ] {
            let (opened, opens) = opened(manifest);
            assert_eq!(opens, 1, "{}", String::from_utf8_lossy(manifest));
            let used: Vec<&String> = opened.sidecar.templates.keys().collect();
            assert_eq!(used, ["white"]);
            assert_eq!(opened.size_bytes, manifest.len() as u64);
            assert_eq!(opened.sha256, <[u8; 32]>::from(Sha256::digest(manifest)));
        }
    }

    #[test]
    fn a_header_too_large_to_keep_takes_a_second_open() {
        let filler = " ".repeat(REPLAY_BYTES);
        let envelope = format!(
            r#"{{"items": [{{"vars": {{"sku": 1}}}}],{filler}"defaults": {{"template": "white"}}}}"#
        );
        let (opened, opens) = opened(envelope.as_bytes());
        assert_eq!(opens, 2);
        assert!(opened.sidecar.templates.contains_key("white"));
        assert_eq!(opened.size_bytes, envelope.len() as u64);
        let digest: [u8; 32] = Sha256::digest(&envelope).into();
        assert_eq!(opened.sha256, digest);
    }

    #[test]
    fn bytes_after_the_last_item_are_part_of_the_hash() {
        for manifest in [&b""[..], b"\n\n", b"[]  trailing", b"\x1f\x8bdamaged"] {
            let (opened, _) = opened(manifest);
            assert_eq!(opened.sha256, <[u8; 32]>::from(Sha256::digest(manifest)));
        }
    }
}
