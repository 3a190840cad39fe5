//! Derives image paths from request keys. Paths are safe, readable and unique.
//!
//! A path is the requested name (the key, or the item's `output.path`), made safe for S3, for file
//! systems and for URLs. No two paths are equal, even where case is ignored (Windows, macOS), and
//! no path is the directory of another. If two paths would collide, or if a long name was cut, a
//! short hash of the request key makes the path unique.

use std::collections::HashSet;

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use crate::{digest::hex, names::RequestKey};

/// The longest segment of a path without a hash, in bytes. File systems allow 255 bytes, including
/// the extension and a temporary suffix.
const MAX_SEGMENT_BYTES: usize = 120;

/// The longest path without a hash, in bytes. S3 allows 1,024 for a whole key, `jobs/<job>/images/`
/// included (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>, read
/// 2026-11).
const MAX_PATH_BYTES: usize = 600;

/// Extensions that a requested name may have. The actual extension is derived from the image's
/// bytes.
const IMAGE_EXTENSIONS: [&str; 4] = [".jpg", ".jpeg", ".png", ".webp"];

/// Device names that Windows rejects as file names, with any extension.
const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8",
    "com9", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// Assigns the image paths of one job, in manifest order.
///
/// The same keys in the same order get the same paths. It keeps 16 bytes per path.
#[derive(Debug, Default)]
pub struct ImagePaths {
    taken: HashSet<[u8; 16]>,
}

impl ImagePaths {
    /// Returns the path of `key`'s image below `images/`, without an extension. `wanted` is the
    /// requested name.
    pub fn assign(&mut self, wanted: &str, key: &RequestKey) -> String {
        let (path, whole) = safe_path(wanted);
        if whole && self.take(&path) {
            return path;
        }
        let digest = hex(&Sha256::digest(key.as_str()));
        // Eight digits suffice, except for keys that were chosen to collide.
        [8, 16, 64]
            .into_iter()
            .map(|digits| format!("{path}-{}", &digest[..digits]))
            .chain((2_u32..).map(|number| format!("{path}-{digest}-{number}")))
            .find(|candidate| self.take(candidate))
            .unwrap_or_else(|| unreachable!("the numbers do not end"))
    }

    /// Whether a path was free. It is taken from then on.
    fn take(&mut self, path: &str) -> bool {
        let digest = Sha256::digest(ignoring_case(path));
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        self.taken.insert(short)
    }
}

/// Returns the path of a further image in the same reply. It never equals the path of another key.
pub fn extra_path(path: &str, number: usize) -> String {
    format!("{path}.alt{number}")
}

/// Returns the safe form of a path, and whether the path is whole, which means that nothing was
/// cut.
fn safe_path(wanted: &str) -> (String, bool) {
    let normal: String = wanted.nfc().collect();
    let segments: Vec<&str> = normal
        .split('/')
        .filter(|segment| !matches!(*segment, "" | "." | ".."))
        .collect();
    let (file, directories) = segments.split_last().unwrap_or((&"image", &[]));

    let mut whole = true;
    let mut path = String::new();
    let safe = directories
        .iter()
        .map(|name| safe_directory(name))
        .chain([safe_file(file)]);
    for (segment, cut) in safe {
        whole &= !cut;
        if path.len() + segment.len() >= MAX_PATH_BYTES {
            whole = false;
            continue;
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&segment);
    }
    (path, whole)
}

/// Returns the safe form of a directory name. It never has the extension of an image, so that no
/// image is the directory of another.
fn safe_directory(name: &str) -> (String, bool) {
    let (mut segment, cut) = safe_segment(name);
    if let Some(extension) = image_extension(&segment) {
        segment.replace_range(
            segment.len() - extension.len()..segment.len() - extension.len() + 1,
            "_",
        );
    }
    (segment, cut)
}

/// Returns the safe form of a file name. It has no image extension, since the actual one is added
/// later, and no ending such as `.alt3`, which [`extra_path`] uses.
fn safe_file(name: &str) -> (String, bool) {
    let stem =
        image_extension(name).map_or(name, |extension| &name[..name.len() - extension.len()]);
    let (mut segment, cut) = safe_segment(stem);
    if let Some((before, number)) = segment.rsplit_once(".alt")
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        segment = format!("{before}-alt{number}");
    }
    (segment, cut)
}

fn image_extension(name: &str) -> Option<&'static str> {
    IMAGE_EXTENSIONS.into_iter().find(|extension| {
        name.len() > extension.len()
            && name.is_char_boundary(name.len() - extension.len())
            && name[name.len() - extension.len()..].eq_ignore_ascii_case(extension)
    })
}

/// Returns the safe form of a segment, and whether it was cut. Letters, digits, `_`, `-` and inner
/// dots stay. A run of any other characters becomes one `-`.
fn safe_segment(name: &str) -> (String, bool) {
    let mut segment = String::with_capacity(name.len());
    let mut cut = false;
    for letter in name.chars() {
        let letter = if letter.is_alphanumeric() || matches!(letter, '_' | '.') {
            letter
        } else {
            '-'
        };
        if letter == '-' && segment.ends_with('-') {
            continue;
        }
        if segment.len() + letter.len_utf8() > MAX_SEGMENT_BYTES {
            cut = true;
            break;
        }
        segment.push(letter);
    }

    // Leading and trailing dots and dashes are unsafe in shells and on Windows.
    let trimmed = segment
        .trim_start_matches(['-', '.'])
        .trim_end_matches(['-', '.']);
    let device = trimmed
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if trimmed.is_empty() {
        ("image".to_owned(), cut)
    } else if RESERVED.contains(&device.as_str()) {
        (format!("_{trimmed}"), cut)
    } else {
        (trimmed.to_owned(), cut)
    }
}

/// Returns a form that is equal for all paths that a case-insensitive file system could treat as
/// the same.
fn ignoring_case(path: &str) -> String {
    path.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfc()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn paths(keys: &[&str]) -> Vec<String> {
        let mut paths = ImagePaths::default();
        keys.iter()
            .map(|key| paths.assign(key, &RequestKey::new(*key)))
            .collect()
    }

    #[test]
    fn plain_keys_are_their_own_paths() {
        let keys = ["SKU-1001", "sku/1", "milo/w01-cafe", "日本/東京", "a_b.c"];
        assert_eq!(paths(&keys), keys);
    }

    #[test]
    fn a_path_is_whole_unless_some_of_it_is_cut() {
        let (long, name) = ("d".repeat(300), "n".repeat(40));
        assert!(
            !safe_path(&format!("{long}/image")).1,
            "a directory's end is gone"
        );
        let fits = format!("{name}/{name}");
        assert_eq!(safe_path(&fits), (fits.clone(), true));
        assert!(
            !safe_path(&vec![name; 30].join("/")).1,
            "some directories are gone"
        );
    }

    #[test]
    fn a_segment_of_the_maximum_length_is_whole() {
        for (name, whole) in [
            ("n".repeat(MAX_SEGMENT_BYTES), true),
            ("n".repeat(MAX_SEGMENT_BYTES + 1), false),
            ("é".repeat(MAX_SEGMENT_BYTES / 2), true),
            ("n".repeat(MAX_SEGMENT_BYTES - 1) + "é", false),
        ] {
            assert_eq!(safe_path(&name).1, whole, "{name}");
        }
    }

    #[test]
    fn hostile_keys_become_readable_safe_paths() {
        for (key, path) in [
            ("a b+c%20d&e=f", "a-b-c-20d-e-f"),
            ("-rf", "rf"),
            ("../up", "up"),
            ("/etc//passwd", "etc/passwd"),
            ("=cmd|' /C calc'!A0", "cmd/C-calc-A0"),
            ("photo.PNG", "photo"),
            (".jpg", "jpg"),
            ("x.jpg/y", "x_jpg/y"),
            ("x.png.jpg/y", "x.png_jpg/y"),
            ("nul.txt", "_nul.txt"),
            ("???", "image"),
            ("", "image"),
            ("a.alt1", "a-alt1"),
        ] {
            assert_eq!(paths(&[key]), [path], "{key}");
        }
    }

    #[test]
    fn a_key_whose_path_would_collide_gets_a_hash() {
        let found = paths(&["upper", "UPPER", "x.jpg", "x", "x/y"]);
        assert_eq!(found[0], "upper");
        assert!(found[1].starts_with("UPPER-"), "{}", found[1]);
        assert_eq!(found[2], "x");
        assert!(found[3].starts_with("x-"), "{}", found[3]);
        assert_eq!(found[4], "x/y");
    }

    #[test]
    fn a_long_key_is_cut_and_stays_unique() {
        let (one, two) = ("k".repeat(255) + "1", "k".repeat(255) + "2");
        let found = paths(&[&one, &two]);
        assert_ne!(found[0], found[1]);
        assert!(found.iter().all(|path| path.len() < 255));
    }

    /// Keys that are likely to collide: few letters, and all characters that matter.
    fn keys() -> impl Strategy<Value = Vec<String>> {
        let piece = prop::sample::select(vec![
            "a", "A", "b", "/", "..", ".", "-", " ", "ß", "SS", "é", "e\u{301}", ".jpg", ".PNG",
            ".alt1", "con", "\0", "%", "東", "İ", "ſ", "K",
        ]);
        prop::collection::vec(
            prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat()),
            1..40,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_two_keys_share_a_path_and_none_is_a_directory_of_another(keys in keys()) {
            let mut paths = ImagePaths::default();
            let mut files: HashMap<String, String> = HashMap::new();
            let mut directories: HashMap<String, String> = HashMap::new();
            let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
            for key in distinct {
                let path = paths.assign(key, &RequestKey::new(key));
                for file in [format!("{path}.jpg"), format!("{}.jpg", extra_path(&path, 1))] {
                    let folded = file.to_uppercase().to_lowercase();
                    prop_assert!(files.insert(folded, key.clone()).is_none(), "{key} collides at {file}");
                }
                for (end, _) in path.match_indices('/') {
                    directories.insert(path[..end].to_uppercase().to_lowercase(), key.clone());
                }
            }
            for directory in directories.keys() {
                prop_assert!(!files.contains_key(directory), "{directory} is a file and a directory");
            }
        }

        #[test]
        fn every_path_is_safe(key in any::<String>()) {
            let mut paths = ImagePaths::default();
            let path = paths.assign(&key, &RequestKey::new(&key));
            prop_assert!(path.len() < 700);
            for segment in path.split('/') {
                prop_assert!(!segment.is_empty() && !segment.starts_with(['.', '-']) && segment.len() < 200);
                prop_assert!(segment.chars().all(|letter| letter.is_alphanumeric() || "-_.".contains(letter)));
            }
        }
    }
}
