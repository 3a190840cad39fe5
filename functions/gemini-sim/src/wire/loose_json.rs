//! JSON as the front end of Google's APIs parses it in request bodies, which is more than the
//! standard allows.
//!
//! Accepted in addition to standard JSON:
//! - strings and names in single quotes, as in the `curl` samples of Google's documentation;
//! - names without quotes, made of letters, digits, `_` and `$`, except `true`, `false` and `null`;
//! - a comma after the last member or the last value;
//! - line breaks and other control characters inside strings;
//! - `\v` in a string, and a backslash before any other character, which then represents itself.
//!
//! Comments, empty values (`[1,,2]`), leading zeros, `NaN` and `Infinity` are rejected, as is
//! anything after the end. Source: the parser that the front end uses and whose messages it
//! returns, github.com/protocolbuffers/protobuf,
//! `src/google/protobuf/util/internal/json_stream_parser.cc`, read 2026-11-26.

use serde_json::{Map, Value};

/// The maximum nesting depth.
const MAX_DEPTH: usize = 100;

const UNCLOSED_STRING: &str = "Closing quote expected in string.";
const BAD_NUMBER: &str = "Unable to parse number.";

/// A text that is not JSON. Unlike the real front end, the message does not quote the text, which
/// may be a user's prompt.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (line {line}, column {column})")]
pub(crate) struct Malformed {
    /// The problem, in the front end's wording.
    problem: &'static str,
    /// The line where the parser stopped, from 1.
    line: usize,
    /// The position in that line where the parser stopped, in characters, from 1.
    column: usize,
}

type Parsed<T> = Result<T, &'static str>;

/// Parses one JSON value with nothing after it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (before, _) = bytes.split_at(error.valid_up_to());
        malformed(
            "Encountered non UTF-8 code points.",
            &String::from_utf8_lossy(before),
        )
    })?;
    let mut parser = Parser {
        rest: text,
        depth: 0,
    };
    parser
        .whole()
        .map_err(|problem| malformed(problem, text.strip_suffix(parser.rest).unwrap_or(text)))
}

fn malformed(problem: &'static str, before: &str) -> Malformed {
    let line = before.rsplit('\n').next().unwrap_or_default();
    Malformed {
        problem,
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}

struct Parser<'a> {
    /// The text that is not parsed yet.
    rest: &'a str,
    /// The number of open objects and lists.
    depth: usize,
}

impl Parser<'_> {
    fn whole(&mut self) -> Parsed<Value> {
        let value = self.value()?;
        self.skip_blanks();
        if self.rest.is_empty() {
            Ok(value)
        } else {
            Err("Parsing terminated before end of input.")
        }
    }

    fn value(&mut self) -> Parsed<Value> {
        self.skip_blanks();
        match self.rest.bytes().next() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::list),
            Some(b'"' | b'\'') => self.string().map(Value::from),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.literal(),
            None => Err("Unexpected end of string. Expected a value."),
        }
    }

    /// Parses an object or a list, whose opening bracket comes next.
    fn nested(&mut self, read: fn(&mut Self) -> Parsed<Value>) -> Parsed<Value> {
        if self.depth == MAX_DEPTH {
            return Err("Message too deep. Max recursion depth reached.");
        }
        self.depth += 1;
        self.skip(1);
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Parsed<Value> {
        let mut members = Map::new();

        // The closing bracket may follow a comma.
        while !self.takes('}') {
            let name = self.name()?;
            if !self.takes(':') {
                return Err("Expected : between key:value pair.");
            }
            members.insert(name, self.value()?);
            if self.takes('}') {
                break;
            }
            if !self.takes(',') {
                return Err("Expected , or } after key:value pair.");
            }
        }
        Ok(members.into())
    }

    fn list(&mut self) -> Parsed<Value> {
        let mut values = Vec::new();
        while !self.takes(']') {
            values.push(self.value()?);
            if self.takes(']') {
                break;
            }
            if !self.takes(',') {
                return Err("Expected , or ] after array value.");
            }
        }
        Ok(values.into())
    }

    /// Parses the name of a member, with or without quotes.
    fn name(&mut self) -> Parsed<String> {
        self.skip_blanks();
        if self.rest.starts_with(['"', '\'']) {
            return self.string();
        }
        let is_inner = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$');
        let length = self
            .rest
            .find(|letter| !is_inner(letter))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(length);
        let is_name = !name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit());
        if !is_name || matches!(name, "true" | "false" | "null") {
            return Err("Expected an object key or }.");
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    /// Parses a string. The opening quote comes next and determines the closing one.
    fn string(&mut self) -> Parsed<String> {
        let quote = if self.rest.starts_with('"') {
            b'"'
        } else {
            b'\''
        };
        self.skip(1);
        let mut string = String::new();
        loop {
            let stop =
                memchr::memchr2(quote, b'\\', self.rest.as_bytes()).ok_or(UNCLOSED_STRING)?;
            let (plain, rest) = self.rest.split_at(stop);
            string.push_str(plain);
            let ended = !rest.starts_with('\\');
            self.rest = rest;
            self.skip(1);
            if ended {
                return Ok(string);
            }
            string.push(self.escaped()?);
        }
    }

    /// Parses what follows a backslash.
    fn escaped(&mut self) -> Parsed<char> {
        let mut letters = self.rest.chars();
        let letter = letters.next().ok_or(UNCLOSED_STRING)?;
        self.rest = letters.as_str();
        match letter {
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            'u' => self.code_point(),
            other => Ok(other),
        }
    }

    /// Parses the digits after `\u`, and the second half of a surrogate pair.
    fn code_point(&mut self) -> Parsed<char> {
        let first = self.code_unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or("Invalid unicode code point.");
        }
        self.rest = self
            .rest
            .strip_prefix("\\u")
            .ok_or("Missing low surrogate.")?;
        let second = self.code_unit()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err("Invalid low surrogate.");
        }
        char::from_u32(0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff))
            .ok_or("Invalid unicode code point.")
    }

    fn code_unit(&mut self) -> Parsed<u32> {
        let (digits, rest) = self.rest.split_at_checked(4).ok_or("Illegal hex string.")?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err("Invalid escape sequence.");
        }
        self.rest = rest;
        u32::from_str_radix(digits, 16).map_err(|_| "Invalid escape sequence.")
    }

    fn number(&mut self) -> Parsed<Value> {
        let is_inner = |letter: char| {
            letter.is_ascii_digit() || matches!(letter, '.' | 'e' | 'E' | '+' | '-' | 'x')
        };
        let length = self
            .rest
            .find(|letter| !is_inner(letter))
            .unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(length);
        let whole = if number.contains(['.', 'e', 'E']) {
            None
        } else {
            whole(number)?
        };
        let value = match whole {
            Some(whole) => whole,
            // A whole number of more than 64 bits becomes a floating-point number.
            None => fraction(number)?,
        };
        self.rest = rest;
        Ok(value)
    }

    fn literal(&mut self) -> Parsed<Value> {
        let literals = [
            ("true", Value::from(true)),
            ("false", Value::from(false)),
            ("null", Value::Null),
        ];
        let found = literals
            .into_iter()
            .find(|(name, _)| self.rest.starts_with(name));
        let (name, value) = found.ok_or("Unexpected token.")?;
        self.skip(name.len());
        Ok(value)
    }

    /// Consumes the character if it comes next, after white space.
    fn takes(&mut self, letter: char) -> bool {
        self.skip_blanks();
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_blanks(&mut self) {
        self.rest = self
            .rest
            .trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    }

    /// Skips this many bytes, which must end at a character boundary.
    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }
}

/// Parses a whole number; `None` if it has more than 64 bits.
fn whole(number: &str) -> Parsed<Option<Value>> {
    let digits = number.strip_prefix('-').unwrap_or(number);
    if digits.len() > 1 && digits.starts_with('0') {
        return Err("Octal/hex numbers are not valid JSON values.");
    }
    let unsigned = number.parse::<u64>().map(Value::from);
    Ok(unsigned
        .or_else(|_| number.parse::<i64>().map(Value::from))
        .ok())
}

fn fraction(number: &str) -> Parsed<Value> {
    let fraction: f64 = number.parse().map_err(|_| BAD_NUMBER)?;
    if fraction.is_finite() {
        Ok(fraction.into())
    } else {
        Err("Number exceeds the range of double.")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn message(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn googles_own_samples_are_accepted() {
        assert_eq!(
            read("{'file': {'display_name': 'TEXT'}}"),
            json!({"file": {"display_name": "TEXT"}})
        );
        let sample =
            "\n  {\"contents\":[\n    {\"parts\":[{'text': 'a fox',},],\"role\": 'user'}]}\n";
        assert_eq!(
            read(sample),
            json!({"contents": [{"parts": [{"text": "a fox"}], "role": "user"}]})
        );
    }

    #[test]
    fn either_quote_may_contain_the_other() {
        assert_eq!(
            read(r#"['say "hi"', "it's", 'it\'s', "\"" ]"#),
            json!([r#"say "hi""#, "it's", "it's", "\""])
        );
    }

    #[test]
    fn names_need_no_quotes() {
        assert_eq!(
            read("{a:1, _b2 : 2, $c:3, trueish: 4, nullable:5}"),
            json!({"a": 1, "_b2": 2, "$c": 3, "trueish": 4, "nullable": 5})
        );
        for wrong in [
            "{true:1}", "{null:1}", "{1a:1}", "{a-b:1}", "{,}", "{a:1,,}", "{ä:1}",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_trailing_comma_is_accepted() {
        assert_eq!(read("[1,{'a':[2,],},]"), json!([1, {"a": [2]}]));
        for wrong in [
            "[,]",
            "[1,,]",
            "[1,,2]",
            "[1 2]",
            "{'a':1 'b':2}",
            "{'a':1}}",
            "{'a':1},",
            "[1,]]",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn strings_accept_control_characters_and_any_escape() {
        assert_eq!(read("'a\nb\tc'"), "a\nb\tc");
        assert_eq!(
            read(r"'\b\f\n\r\t\v\/\\\q\ä'"),
            "\u{8}\u{c}\n\r\t\u{b}/\\qä"
        );
        assert_eq!(read(r"'\u00e4\uD83E\udd8a'"), "ä🦊");
        for wrong in [
            r"'\ud83e'",
            r"'\ud83ex'",
            r"'\ud83e\u0041'",
            r"'\udd8a'",
            r"'\u12g4'",
            r"'\u+123'",
            r"'\u12",
            "'\\",
            "'a",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_are_standard_json() {
        let numbers = read(
            "[0, -1, 18446744073709551615, -9223372036854775808, 1.5, -2e3, 1E+2, 36893488147419103232]",
        );
        assert_eq!(
            numbers,
            json!([
                0,
                -1,
                u64::MAX,
                i64::MIN,
                1.5,
                -2000.0,
                100.0,
                36_893_488_147_419_103_232.0
            ])
        );
        for wrong in [
            "01", "-01", "0x10", "1e", "-", "+1", ".5", "1e999", "NaN", "Infinity", "1-2",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn comments_and_other_words_are_rejected() {
        for wrong in [
            "",
            "  ",
            "/* a */ 1",
            "[1] // a",
            "undefined",
            "True",
            "'a' 'b'",
            "`a`",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(message(&nested(MAX_DEPTH + 1)).starts_with("Message too deep."));
        assert!(parse("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn errors_have_a_position_and_do_not_quote_the_text() {
        assert_eq!(
            message("{'a': 1,\n 'ä' 'a secret'}"),
            "Expected : between key:value pair. (line 2, column 6)"
        );
        assert_eq!(
            message("{'prompt': 'a secret"),
            "Closing quote expected in string. (line 1, column 13)"
        );
        let wrong = parse(b"'a\xff'").expect_err("no text");
        assert_eq!(
            wrong.to_string(),
            "Encountered non UTF-8 code points. (line 1, column 3)"
        );
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-1e300..1e300).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn standard_json_is_accepted(value in any_value()) {
            prop_assert_eq!(parse(value.to_string().as_bytes()), Ok(value.clone()));
            prop_assert_eq!(parse(format!("{value:#}").as_bytes()), Ok(value));
        }

        #[test]
        fn single_quotes_are_equivalent(text in any::<String>()) {
            let quoted = format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
            prop_assert_eq!(parse(quoted.as_bytes()), Ok(Value::from(text)));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
