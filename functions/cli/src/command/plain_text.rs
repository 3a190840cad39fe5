//! Text from manifests, from Gemini and from file names, made harmless for a terminal.

use std::borrow::Cow;

/// Replaces a character that a terminal would obey instead of showing it.
const REPLACEMENT: char = '\u{fffd}';

/// Returns the text on one line and without characters that a terminal obeys: control characters,
/// which begin escape sequences, and marks that change the direction of the text.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|letter| match letter {
        '\n' | '\r' | '\t' => ' ',
        letter if is_obeyed(letter) => REPLACEMENT,
        letter => letter,
    });
    Cow::Owned(shown.collect())
}

/// Returns the JSON text with the same characters as escapes, except for line ends, which are
/// between values. In JSON, all others can only be within strings, so the value is unchanged.
pub(super) fn plain_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_obeyed(letter) && letter != '\n' {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(letter);
        }
    }
    text
}

fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn no_escape_sequence_reaches_a_terminal() {
        for (text, shown) in [
            ("a \u{1b}[2Jstone", "a \u{fffd}[2Jstone"),
            ("\u{9b}31m red\u{7f}", "\u{fffd}31m red\u{fffd}"),
            (
                "\u{1b}]8;;https://evil.example\u{7}x",
                "\u{fffd}]8;;https://evil.example\u{fffd}x",
            ),
            ("one\r\ntwo\tthree", "one  two three"),
            ("gpj.\u{202e}exe", "gpj.\u{fffd}exe"),
            (
                "日本 \u{1f468}\u{200d}\u{1f33e} é",
                "日本 \u{1f468}\u{200d}\u{1f33e} é",
            ),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = Value::from("a\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}\n\"b\\");
        let json = serde_json::to_string_pretty(&value).unwrap();
        let shown = plain_json(&json);
        assert!(!shown.chars().any(is_obeyed), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }
}
