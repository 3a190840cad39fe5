//! `darkroom try --keep`: appends the request of the last image to a manifest.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use anyhow::Context as _;
use darkroom::{
    manifest::{self, Diagnostic, OpenedManifest, PlannedImage, Reading, Severity, SourceSet},
    names::ObjectUri,
};
use disk::Disk;
use seam::clock::Clock;

use super::{
    super::{Exit, catalog, sidecar::FolderSources},
    pictures::Picture,
    record::{Record, Tries},
    rejected,
    request::{FriendlyLine, Planned, Planner, describe, native_line},
};
use crate::cloud::BUCKET;

/// Appends the request of the last image in the folder `out` to the manifest `into`.
pub(super) fn keep(out: &Path, key: &str, into: &Path) -> anyhow::Result<Exit> {
    let tries = Tries::in_folder(out);
    let record = tries.last()?;
    let planner = Planner::new(catalog::of_folder(out)?, Clock::system().now());
    let before = match fs::read(into) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", into.display())),
    };

    // The pictures of a conversation are in its request already.
    let folder = into.parent().unwrap_or(Path::new(""));
    let pictures = pictures_of(&record, tries.folder(), folder)?;
    let line = line_of(&record, key, &pictures)?;
    let Planned { image, .. } = match planner.read(&line)? {
        Ok(planned) => planned,
        Err(problems) => return Ok(rejected(&problems)),
    };

    // The manifest is read as `plan` will read it, because its defaults may change the request.
    let mut added = Vec::new();
    if before.last().is_some_and(|byte| *byte != b'\n') {
        added.push(b'\n');
    }
    added.extend_from_slice(line.as_bytes());
    added.push(b'\n');
    let sources = |bytes: Vec<u8>| ManifestBytes {
        folder: FolderSources::new(into),
        bytes,
    };
    let is_new = before.is_empty();
    let (earlier, _) = if is_new {
        (Reading::default(), None)
    } else {
        read(&planner, &sources(before.clone()), into)?
    };
    let (later, last) = read(&planner, &sources([before, added.clone()].concat()), into)?;
    let new = new_errors(&earlier.problems, &later.problems);
    let is_read = last.as_ref().is_some_and(|last| last.key.as_str() == key)
        || new
            .iter()
            .any(|problem| problem.key.as_deref() == Some(key));
    if !is_read {
        anyhow::bail!(
            "can't append to {}: expected a manifest in JSON Lines",
            into.display()
        );
    }
    if !new.is_empty() {
        return Ok(rejected(&new.into_iter().map(describe).collect::<Vec<_>>()));
    }
    let is_same = |last: &PlannedImage| {
        last.request.get() == image.request.get() && last.model == image.model
    };
    anyhow::ensure!(
        last.as_ref().is_some_and(is_same),
        "the defaults of {} change the request: keep it in another manifest",
        into.display()
    );

    // The pictures go first, so that the line never names a missing one.
    for picture in &pictures {
        picture.store(&Disk::durable(), folder)?;
    }
    append(into, &added).with_context(|| format!("can't write {}", into.display()))?;
    println!("Added {key} to {}.", into.display());
    println!(
        "In a batch, it costs about {}: darkroom run {}",
        image.estimate.batch_usd,
        into.display()
    );
    if let (None, Some(until)) = (&record.line, record.files_until) {
        println!("Its request refers to files that Gemini deletes at {until}: run it before then.");
    }
    Ok(Exit::Complete)
}

/// Returns the pictures of a request under keys that are free in the manifest's folder.
fn pictures_of(record: &Record, tries: &Path, folder: &Path) -> anyhow::Result<Vec<Picture>> {
    let keys = record.line.iter().flat_map(|line| &line.refs);
    keys.map(|key| {
        let mut picture = Picture::stored(key, tries)?;
        if !picture.fits(folder)? {
            picture.key = picture.hashed_key();
        }
        Ok(picture)
    })
    .collect()
}

/// Returns the manifest line of a request.
fn line_of(record: &Record, key: &str, pictures: &[Picture]) -> anyhow::Result<String> {
    Ok(match &record.line {
        Some(line) => {
            let keys = pictures.iter().map(|picture| picture.key.clone());
            let line = FriendlyLine {
                key: key.to_owned(),
                refs: keys.collect(),
                ..line.clone()
            };
            line.text()?
        }
        None => native_line(key, &record.model, record.request.get()),
    })
}

/// Reads a manifest. Returns also its last image.
fn read(
    planner: &Planner,
    sources: &ManifestBytes,
    path: &Path,
) -> anyhow::Result<(Reading, Option<PlannedImage>)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("the file name of {} is not valid", path.display()))?;
    let uri = ObjectUri {
        bucket: BUCKET.to_owned(),
        key: format!("inbox/{name}"),
    };
    let opened = OpenedManifest::open(sources, &uri, BTreeMap::new(), None)?;
    let mut last = None;
    let reading = manifest::read(
        sources.manifest()?,
        &opened.header,
        &planner.context(&opened.sidecar),
        |image| {
            last = Some(image);
            Ok(())
        },
    )?;
    Ok((reading, last))
}

/// Returns the errors that a manifest did not have before.
fn new_errors<'a>(before: &[Diagnostic], after: &'a [Diagnostic]) -> Vec<&'a Diagnostic> {
    let errors = after
        .iter()
        .filter(|problem| problem.severity == Severity::Error);
    errors.filter(|problem| !before.contains(problem)).collect()
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A manifest in memory, with what is next to its file.
struct ManifestBytes {
    folder: FolderSources,
    bytes: Vec<u8>,
}

impl SourceSet for ManifestBytes {
    type Error = anyhow::Error;

    fn manifest(&self) -> anyhow::Result<impl Read> {
        Ok(self.bytes.as_slice())
    }

    fn text(&self, key: &str) -> anyhow::Result<Option<String>> {
        self.folder.text(key)
    }

    fn template_keys(&self) -> anyhow::Result<Vec<String>> {
        self.folder.template_keys()
    }
}
