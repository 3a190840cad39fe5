//! The request keys of a manifest. Each may be used once.

use std::collections::{HashMap, hash_map::Entry};

use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::paths::variant_suffix;
use crate::manifest::diagnostics::{ItemDiagnostics, quote};

/// The longest key, in characters. Gemini documents no limit.
const MAX_KEY_CHARACTERS: usize = 256;

/// The keys so far, each with its line. A key takes 16 bytes, whatever its length.
#[derive(Debug, Default)]
pub(crate) struct RequestKeys {
    lines: HashMap<[u8; 16], u64>,
}

impl RequestKeys {
    /// Returns the keys of an item's images and records them. The first that can't be used is
    /// reported.
    pub(crate) fn of_item(
        &mut self,
        item: &str,
        count: u32,
        line: u64,
        diagnostics: &mut ItemDiagnostics,
    ) -> Vec<String> {
        // This check comes before the key is repeated for each image.
        if item.len() > 4 * MAX_KEY_CHARACTERS {
            diagnostics.error("bad_key", too_long(item));
            return Vec::new();
        }
        let variants = || (1..=count).map(|variant| item.to_owned() + &variant_suffix(variant));

        // A single image has the key of its item. Several images get numbered keys.
        let keys: Vec<String> = if count == 1 {
            vec![item.to_owned()]
        } else {
            variants().collect()
        };
        // The key of an item is taken even if none of its images has exactly this key.
        let own = (count != 1).then_some(item);
        let all = own.into_iter().chain(keys.iter().map(String::as_str));
        let bad: Vec<_> = all
            .filter_map(|key| self.remember(key, line).err())
            .collect();
        if let Some((code, message)) = bad.into_iter().next() {
            diagnostics.error(code, message);
        }
        keys
    }

    /// Records a key. Keys that look the same are equal (Unicode NFC).
    fn remember(&mut self, key: &str, line: u64) -> Result<(), (&'static str, String)> {
        if !(1..=MAX_KEY_CHARACTERS).contains(&key.chars().count()) {
            return Err(("bad_key", too_long(key)));
        }
        if key.chars().any(char::is_control) {
            return Err((
                "bad_key",
                format!("key {} contains a control character: remove it", quote(key)),
            ));
        }

        // A hash of 16 bytes is enough to tell a million keys apart.
        let digest = Sha256::digest(key.nfc().collect::<String>());
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        match self.lines.entry(short) {
            Entry::Occupied(first) => {
                let (key, first) = (quote(key), first.get());
                let message = format!(
                    "key {key} on line {line} is already used on line {first}: give each image a \
                     different key"
                );
                Err(("duplicate_key", message))
            }
            Entry::Vacant(free) => {
                free.insert(line);
                Ok(())
            }
        }
    }
}

fn too_long(key: &str) -> String {
    let most = MAX_KEY_CHARACTERS;
    format!(
        "key {} must have 1 to {most} characters, not {}",
        quote(key),
        key.chars().count()
    )
}
