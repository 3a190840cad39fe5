//! The names of an upload's metadata: how they are written, which ones tools add automatically, and
//! what an unknown one may mean.

use crate::{manifest::diagnostics::quote, models::nearest};

/// Metadata that tools add automatically. It does not concern the job.
const TOOLS: [&str; 47] = [
    // rclone, s3fs-fuse, goofys, geesefs, Cyberduck, Mountain Duck: the times, the owner and the
    // kind of the file.
    "mtime",
    "atime",
    "ctime",
    "btime",
    "touch",
    "touched",
    "uid",
    "gid",
    "rdev",
    "xattr",
    "symlink-target",
    "--symlink-target",
    "owner",
    "group",
    "permissions",
    "last-modified",
    "etag",
    "cache-control",
    // s3cmd and s4cmd.
    "s3cmd-attrs",
    "privilege",
    // MinIO's mc.
    "mc-attrs",
    "mm-source-mtime",
    "mm-source-etag",
    // S3 Browser.
    "s3b-last-modified",
    // AWS DataSync, Storage Gateway, and FSx.
    "file-owner",
    "file-group",
    "file-permissions",
    "file-acl",
    "file-atime",
    "file-mtime",
    "file-ctime",
    "file-btime",
    "user-agent",
    "user-agent-id",
    // Uppy and tus, which upload from browsers.
    "type",
    "filetype",
    "relativepath",
    // Checksums: rclone, S3 Browser, s4cmd, jets3t.
    "md5chksum",
    "md5",
    "md5-hash",
    "sha1",
    "sha256",
    "crc32",
    "crc32c",
    "crc64nvme",
    "src-last-modified-millis",
    "large-file-sha1",
];

/// The prefixes of such names: gsutil, HTTP's own headers, jets3t, Hadoop's S3A, CloudBerry, and
/// the encryption of SDKs.
const TOOL_BEGINNINGS: [&str; 11] = [
    "goog-reserved-",
    "content-",
    "jets3t-",
    "x-hadoop-",
    "cb-",
    "x-amz-key",
    "x-amz-iv",
    "x-amz-matdesc",
    "x-amz-wrap-alg",
    "x-amz-cek-alg",
    "x-amz-unencrypted-content-",
];

/// Words in an unknown name, and what to write instead. The first match applies, so that `max-size`
/// is about the size and `max-usd` about money.
const MEANINGS: [(&[&str], &str); 17] = [
    (
        &[
            "dry",
            "dryrun",
            "estimate",
            "estimation",
            "test",
            "testing",
            "simulate",
            "simulation",
            "preview",
            "check",
            "validate",
            "quote",
            "noop",
        ],
        "mode=dry_run, which buys nothing",
    ),
    (
        &[
            "budget", "usd", "maxusd", "dollar", "dollars", "money", "cost", "costs", "price",
            "spend", "spending",
        ],
        "budget-usd",
    ),
    (&["ratio", "aspect", "orientation", "shape"], "aspect-ratio"),
    (
        &[
            "size",
            "resolution",
            "dimension",
            "dimensions",
            "pixels",
            "px",
            "width",
            "height",
            "quality",
        ],
        "image-size",
    ),
    (
        &[
            "n",
            "count",
            "number",
            "num",
            "images",
            "variants",
            "variations",
            "copies",
            "quantity",
            "qty",
            "samples",
        ],
        "a column n in the manifest, or n among the defaults of its job document",
    ),
    (&["limit", "cap", "max", "maximum"], "budget-usd"),
    (&["system", "instructions", "persona"], "system"),
    (&["template", "templates", "preset"], "template"),
    (&["model", "engine"], "model"),
    (
        &["prompt", "prompts", "text", "caption", "description"],
        "prompt",
    ),
    (
        &[
            "output",
            "out",
            "path",
            "folder",
            "directory",
            "prefix",
            "filename",
            "destination",
        ],
        "output-path",
    ),
    (&["key", "id", "sku"], "key"),
    (
        &[
            "run", "rerun", "again", "repeat", "force", "version", "revision",
        ],
        "run",
    ),
    (&["lane", "priority", "tier", "batch", "speed"], "lane"),
    (
        &["deadline", "timeout", "due", "hours", "minutes"],
        "within, such as within=2h",
    ),
    (
        &["proofs", "hold", "approve", "approval"],
        "proof, such as proof=4",
    ),
    (&["name", "title", "label", "job"], "name"),
];

/// Prefixes that users put before a name.
const PREFIXES: [&str; 4] = ["x-amz-meta-", "darkroom-", "job-", "defaults-"];

/// The shortest word that is searched for within a longer word, or compared with a misspelled one,
/// in letters.
const MIN_WORD_LETTERS: usize = 4;

/// Normalizes a name: S3 stores it in lower case, and `_` equals `-`.
pub(crate) fn canonical(name: &str) -> String {
    name.trim().to_lowercase().replace('_', "-")
}

/// Whether a tool adds this automatically. `name` is normalized. A `mode` of digits alone holds a
/// file's permissions.
pub(crate) fn is_written_by_tools(name: &str, value: &str) -> bool {
    let is_mode =
        name == "mode" && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_mode
        || TOOLS.contains(&name)
        || TOOL_BEGINNINGS
            .iter()
            .any(|beginning| name.starts_with(beginning))
}

/// Returns the message for a name that is not among `known`: what to write instead by its meaning,
/// otherwise by its spelling, otherwise the list of all names.
pub(crate) fn unknown(name: &str, known: &[&'static str]) -> String {
    let canonical = canonical(name).replace('.', "-");
    let advice = without_prefix(&canonical, known)
        .or_else(|| meant(&canonical))
        .or_else(|| misspelt(&canonical, known))
        .or_else(|| contained(&canonical));
    match advice {
        Some(advice) => format!("there is no metadata {}: write {advice}", quote(name)),
        None => format!(
            "there is no metadata {}: remove it, or write one of {}",
            quote(name),
            known.join(", ")
        ),
    }
}

fn without_prefix(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let plain = PREFIXES
        .iter()
        .find_map(|before| name.strip_prefix(before))?;
    known.iter().find(|known| **known == plain).copied()
}

/// Finds the meaning of one of the words in a name.
fn meant(name: &str) -> Option<&'static str> {
    let has = |words: &[&str]| name.split('-').any(|word| words.contains(&word));
    MEANINGS
        .iter()
        .find(|(words, _)| has(words))
        .map(|(_, advice)| *advice)
}

/// Finds the meaning of a misspelled word, or a misspelled name.
fn misspelt(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let words = || MEANINGS.iter().flat_map(|(words, _)| words.iter()).copied();
    let near = |written: &str| {
        let candidates = known
            .iter()
            .copied()
            .chain(words())
            .filter(|word| word.len() >= MIN_WORD_LETTERS);
        let found = nearest(written, candidates).first().copied()?;
        known
            .iter()
            .find(|known| **known == found)
            .copied()
            .or_else(|| meant(found))
    };
    near(name).or_else(|| {
        name.split('-')
            .filter(|word| word.len() >= MIN_WORD_LETTERS)
            .find_map(near)
    })
}

/// Finds the meaning of a word that is joined to others.
fn contained(name: &str) -> Option<&'static str> {
    let has = |words: &[&str]| {
        words
            .iter()
            .any(|word| word.len() >= MIN_WORD_LETTERS && name.contains(word))
    };
    MEANINGS
        .iter()
        .find(|(words, _)| has(words))
        .map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_are_equal() {
        for name in ["budget-usd", "Budget-USD", "budget_usd", " BUDGET_usd "] {
            assert_eq!(canonical(name), "budget-usd");
        }
    }

    #[test]
    fn metadata_of_tools_is_distinguished_from_that_of_users() {
        for (name, value) in [
            ("mtime", "1700000000"),
            ("mode", "33188"),
            ("mode", "0100644"),
            ("goog-reserved-posix-mode", "644"),
            ("src-last-modified-millis", "1700000000000"),
            ("md5chksum", "kAFQmDzST7DWlj99KOF/cg=="),
            ("content-type", "text/csv"),
            ("file-permissions", "0644"),
        ] {
            assert!(is_written_by_tools(name, value), "{name}");
        }
        for (name, value) in [
            ("mode", "dry_run"),
            ("mode", ""),
            ("mode", "1x"),
            ("x-amz-meta-mode", "1"),
            ("foo", "1"),
        ] {
            assert!(!is_written_by_tools(name, value), "{name}={value}");
        }
    }

    #[test]
    fn an_unknown_name_is_matched_by_its_meaning_then_by_its_spelling() {
        let known = [
            "name",
            "run",
            "budget-usd",
            "mode",
            "model",
            "aspect-ratio",
            "image-size",
            "prompt",
            "system",
        ];
        for (names, advice) in [
            (
                &[
                    "dry-run",
                    "dry_run",
                    "dryrun",
                    "DryRun",
                    "estimate",
                    "test",
                    "preview",
                    "dryrunn",
                    "only-dryrun",
                ][..],
                "mode=dry_run",
            ),
            (
                &[
                    "budget",
                    "max-usd",
                    "max_cost",
                    "limit",
                    "max-budget",
                    "maxcost",
                    "bugdet",
                    "spend-limit",
                    "cap",
                ],
                "budget-usd",
            ),
            (
                &["size", "resolution", "max-size", "imagesize", "width"],
                "image-size",
            ),
            (
                &["ratio", "aspect", "aspectratio", "aspect-ration"],
                "aspect-ratio",
            ),
            (&["n", "count", "num-images"], "a column n"),
            (&["promt", "text", "prompt-text"], "prompt"),
            (&["system-prompt"], "system"),
            (&["x-amz-meta-mode", "job.mode", "job_mode"], "mode"),
            (&["rerun", "force"], "run"),
        ] {
            for name in names {
                let message = unknown(name, &known);
                assert!(message.contains(&format!(": write {advice}")), "{message}");
            }
        }
        let message = unknown("zzz", &known);
        assert_eq!(
            message,
            "there is no metadata \"zzz\": remove it, or write one of name, run, budget-usd, mode, model, aspect-ratio, \
             image-size, prompt, system"
        );
    }
}
