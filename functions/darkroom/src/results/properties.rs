//! Properties of the scan that hold for every result file, in any form and any chunks.

use std::sync::Arc;

use base64_simd::{STANDARD_NO_PAD, URL_SAFE};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select, subsequence},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Limits, Pool, Scanner,
    image::read_header,
    testing::{Summary, base64, jpeg, png, scan, scan_in_chunks},
};

proptest! {
    #[test]
    fn the_scan_finds_what_a_plain_parser_finds(file in result_file()) {
        let found: Vec<Summary> = scan(&file).iter().map(Summary::from).collect();
        let expected = plain_parse(&file);
        prop_assert_eq!(found.len(), expected.len());
        for (found, (start, end, expected)) in found.into_iter().zip(expected) {
            prop_assert_eq!((found.start, found.end), (start, end));
            let found = found.content.ok().map(|content| (content.key, content.images, content.thought_images));
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_array_is_read_as_the_elements_that_it_holds((file, expected) in array_file()) {
        let found: Vec<Summary> = scan(&file).iter().map(Summary::from).collect();
        let read = found.into_iter().filter_map(|line| line.content.ok());
        let read: Vec<_> = read.map(|content| Some((content.key, content.images, content.thought_images))).collect();
        prop_assert_eq!(read, expected, "{}", String::from_utf8_lossy(&file));
    }

    #[test]
    fn the_result_does_not_depend_on_the_chunks(file in any_file(), cuts in vec(any::<Index>(), 0..12), size in 1_usize..200) {
        let whole: Vec<Summary> = scan(&file).iter().map(Summary::from).collect();
        let pool = Pool::new(1 << 20);
        let even: Vec<Summary> = scan_in_chunks(&file, size, Limits::default(), &pool).iter().map(Summary::from).collect();
        prop_assert_eq!(&even, &whole);

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(file.len() + 1)).collect();
        cuts.sort_unstable();
        let mut uneven = Vec::new();
        let mut scanner = Scanner::new(Limits::default(), pool, 0);
        let mut from = 0;
        for to in cuts.into_iter().chain([file.len()]) {
            scanner.feed(&file[from..to], |line| uneven.push(Summary::from(&line)));
            from = to;
        }
        scanner.finish(|line| uneven.push(Summary::from(&line)));
        prop_assert_eq!(uneven, whole);
    }

    #[test]
    fn a_scan_resumed_at_a_lines_end_gives_the_lines_after_it(file in any_file()) {
        let whole: Vec<Summary> = scan(&file).iter().map(Summary::from).collect();
        prop_assert!(whole.iter().all(|line| line.start < line.end && line.end <= file.len() as u64));
        prop_assert!(whole.windows(2).all(|lines| lines[0].end <= lines[1].start));
        for (count, line) in whole.iter().enumerate() {
            let mut rest = Vec::new();
            let mut scanner = Scanner::new(Limits::default(), Pool::new(0), line.end);
            scanner.feed(&file[line.end as usize..], |line| rest.push(Summary::from(&line)));
            scanner.finish(|line| rest.push(Summary::from(&line)));
            prop_assert_eq!(&rest[..], &whole[count + 1..]);
        }
    }

    #[test]
    fn garbage_neither_panics_nor_takes_more_than_the_limits(pieces in vec(garbage(), 0..60), size in 1_usize..100) {
        let limits = Limits { skeleton_bytes: 200, text_bytes: 40, image_bytes: 64, images: 3, line_bytes: 100 };
        let file = pieces.concat();
        let pool = Pool::new(0);
        let mut summaries = Vec::new();
        let mut scanner = Scanner::new(limits, Arc::clone(&pool), 0);
        for chunk in file.chunks(size) {
            scanner.feed(chunk, |line| summaries.push(Summary::from(&line)));
        }
        scanner.finish(|line| summaries.push(Summary::from(&line)));
        let whole = scan_in_chunks(&file, usize::MAX, limits, &Pool::new(0));
        prop_assert_eq!(&summaries, &whole.iter().map(Summary::from).collect::<Vec<_>>());
        prop_assert!(summaries.iter().all(|line| line.start < line.end && line.end <= file.len() as u64));
        prop_assert!(pool.peak_bytes() <= 3 * limits.image_bytes, "{}", pool.peak_bytes());
    }
}

/// A file of lines: answers in any spelling, and some lines that are not answers. The last newline
/// may be missing.
fn result_file() -> impl Strategy<Value = Vec<u8>> {
    let broken = select(vec![
        "",
        "  ",
        "\r",
        "null",
        "17",
        "{}",
        "{\"key\":\"x\"}",
        "{\"key\":",
        "[]",
        "[ , ]",
        "\u{feff}",
        "\"data\":\"",
        "\\",
    ]);
    let line = prop_oneof![6 => answer_line(), 1 => broken.prop_map(str::to_owned)];
    (vec(line, 0..6), any::<bool>()).prop_map(|(lines, ended)| {
        let file = lines.join("\n");
        if ended { file + "\n" } else { file }.into_bytes()
    })
}

/// A file in any form that a result file may have, or in no valid form.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let pieces = vec(
        prop_oneof![3 => answer_line().prop_map(String::into_bytes), 2 => garbage()],
        0..12,
    );
    prop_oneof![
        result_file(),
        array_file().prop_map(|(file, _)| file),
        pieces.prop_map(|pieces| pieces.concat())
    ]
}

/// One JSON array of answers in one of several forms, and its elements. Some elements may be broken,
/// but only so that the beginning of the next one is unambiguous.
fn array_file() -> impl Strategy<Value = (Vec<u8>, Vec<Plain>)> {
    let blank = || select(vec!["", " ", "\n", "\r\n", "\n\n\t", "\n  "]);
    let broken = select(vec![
        "null",
        "17",
        "\"text\"",
        "{\"key\":\"x\"",
        "{\"key\":\"x\",\"response\":{}",
        "{}",
        "{",
        "true",
    ]);
    let element = prop_oneof![
        6 => (answer(), 0..5_usize).prop_map(|(answer, indent)| {
            let plain = plain_line(answer.to_string().as_bytes());
            (printed(&answer, indent), plain)
        }),
        1 => broken.prop_map(|text| (text.to_owned(), None)),
    ];
    (
        vec(
            (
                blank(),
                element,
                blank(),
                select(vec![",", ",", ",", ",,", ""]),
            ),
            0..6,
        ),
        blank(),
    )
        .prop_map(|(elements, end)| {
            let mut file = String::from("[");
            let mut expected = Vec::new();
            for (before, (text, plain), after, comma) in elements {
                // Without a comma, a text that isn't closed by a brace continues into the next one.
                let comma = if plain.is_some() { comma } else { "," };
                file.extend([before, &text, after, comma]);
                expected.extend(plain.map(Some));
            }
            file.push_str(end);
            file.push(']');
            (file.into_bytes(), expected)
        })
}

/// Prints a value: on one line for an indent of zero, or on several lines, where each level is
/// indented by `indent` minus one spaces.
fn printed(value: &Value, indent: usize) -> String {
    let Some(spaces) = indent.checked_sub(1) else {
        return value.to_string();
    };
    let indent = " ".repeat(spaces);
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut text = Vec::new();
    value
        .serialize(&mut serde_json::Serializer::with_formatter(
            &mut text, formatter,
        ))
        .unwrap();
    String::from_utf8(text).unwrap()
}

fn answer_line() -> impl Strategy<Value = String> {
    (answer(), any::<bool>(), any::<bool>()).prop_map(|(line, spaced, slashes)| {
        let text = if spaced {
            serde_json::to_string_pretty(&line)
                .unwrap()
                .replace('\n', " ")
        } else {
            line.to_string()
        };
        if slashes {
            text.replace('/', "\\/")
        } else {
            text
        }
    })
}

fn answer() -> impl Strategy<Value = Value> {
    let members = (
        select(vec![
            json!("k"),
            json!("SKU-1/\u{fc}"),
            json!("a\"b\\c"),
            json!("{\"inlineData\":{\"data\":\""),
            json!("\u{1f600}\n"),
            json!(17),
            json!(-1.5),
        ]),
        vec(part(), 0..5),
        select(vec!["STOP", "IMAGE_SAFETY", "NO_IMAGE"]),
    );
    let noise = subsequence(
        vec![
            (
                "metadata",
                json!({"data": "no base64", "inlineData": {"x": "data"}}),
            ),
            ("data", json!("AAAA")),
            (
                "modelStatus",
                json!({"a": [1, 2.5e3, null, true, {"inlineData": [{"data": "?"}]}]}),
            ),
        ],
        0..3,
    );
    (members, noise, any::<u64>(), any::<bool>()).prop_map(|((key, parts, finish), noise, order, is_wrapped)| {
        let response = json!({
            "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": finish}],
            "usageMetadata": {"promptTokenCount": 3},
            "responseId": "r",
        });
        let mut line = Map::new();
        match response {
            Value::Object(members) if !is_wrapped => line.extend(members),
            response => drop(line.insert("response".into(), response)),
        }
        line.insert("key".into(), key);
        line.extend(noise.into_iter().map(|(name, value)| (name.to_owned(), value)));
        shuffled(Value::Object(line), &mut order.clone())
    })
}

fn part() -> impl Strategy<Value = Value> {
    let bytes = vec(any::<u8>(), 0..300);
    let image = (bytes, any::<bool>()).prop_map(|(rest, is_png)| {
        if is_png {
            png(3, 4, &rest)
        } else {
            jpeg(3, 4, &rest)
        }
    });
    let spelled = prop_oneof![
        3 => Just(base64 as fn(&[u8]) -> String),
        1 => Just((|bytes| URL_SAFE.encode_to_string(bytes)) as fn(&[u8]) -> String),
        1 => Just((|bytes| STANDARD_NO_PAD.encode_to_string(bytes)) as fn(&[u8]) -> String),
        1 => Just((|bytes| base64(bytes).replace('A', " A\r\n")) as fn(&[u8]) -> String),
        1 => Just((|bytes| format!("data:image/png;base64,{}", base64(bytes))) as fn(&[u8]) -> String),
    ];
    let inline = (image, spelled, any::<bool>(), any::<bool>()).prop_map(
        |(image, spell, camel, thought)| {
            let name = if camel { "inlineData" } else { "inline_data" };
            json!({name: {"mimeType": "image/png", "data": spell(&image)}, "thought": thought})
        },
    );
    let damaged = select(vec![
        json!({"inlineData": {"data": "A"}}),
        json!({"inlineData": {"data": "PHN2Zz4="}}),
        json!({"inlineData": {}}),
    ]);
    let text = select(vec![
        json!({"text": "Here: \"}]\\"}),
        json!({"thoughtSignature": "c2ln"}),
        json!({"text": "\u{1f600}", "thought": true}),
    ]);
    prop_oneof![4 => inline, 1 => damaged, 2 => text]
}

/// Returns the value with the members of its objects in an order that depends on `seed`.
fn shuffled(value: Value, seed: &mut u64) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(u64, String, Value)> = members
                .into_iter()
                .map(|(name, value)| {
                    *seed = seed
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    (*seed >> 33, name, shuffled(value, seed))
                })
                .collect();
            members.sort_by_key(|(rank, ..)| *rank);
            members
                .into_iter()
                .map(|(_, name, value)| (name, value))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.into_iter().map(|item| shuffled(item, seed)).collect(),
        other => other,
    }
}

/// Fragments of JSON and of other text.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let bits = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\\"",
        "\\u00",
        "\n",
        " ",
        "\"key\":\"k\",",
        "\"inlineData\":{",
        "\"data\":\"",
        "AAAA",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB",
        "=",
        "-_",
        "\"}",
        "{\"response\":{\"candidates\":[{\"content\":{\"parts\":[",
        "]}}]}}\n",
        "{\"inlineData\":{\"data\":\"iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB\"}},",
        "{\"key\":\"k\",\"error\":{\"code\":13}}\n",
        "{\n  \"key\": \"k\",\n",
        "{\n",
        "data:image/png;base64,",
        "\"text\":\"",
        "\u{feff}",
    ];
    prop_oneof![4 => select(bits.to_vec()).prop_map(|bit| bit.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..80)]
}

type Plain = Option<(Option<String>, Vec<Vec<u8>>, usize)>;

/// Applies the same rules to whole lines and parsed values. Returns the start and end of each line,
/// and the key, images and thoughts of each answer.
fn plain_parse(file: &[u8]) -> Vec<(u64, u64, Plain)> {
    let mut start = 0;
    let mut lines = Vec::new();
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len() as u64;
        if !line
            .iter()
            .all(|byte| byte.is_ascii_whitespace() || b"[],\xef\xbb\xbf".contains(byte))
        {
            lines.push((start, end, plain_line(line)));
        }
        start = end;
    }
    lines
}

fn plain_line(line: &[u8]) -> Plain {
    let line: Value = serde_json::from_slice(line).ok()?;
    let response = line.get("response").unwrap_or(&line);
    let key = line["key"].as_number().map_or_else(
        || line["key"].as_str().map(str::to_owned),
        |key| Some(key.to_string()),
    );
    let parts = response["candidates"][0]["content"]["parts"].as_array()?;
    let inline = |part: &Value| part.get("inlineData").or(part.get("inline_data")).cloned();
    let (thoughts, parts): (Vec<_>, Vec<_>) = parts
        .iter()
        .partition(|part| part["thought"] == json!(true));
    let images = |parts: &[&Value]| -> Vec<Vec<u8>> {
        let images = parts
            .iter()
            .filter_map(|part| plain_base64(inline(part)?["data"].as_str()?));
        images.filter(|bytes| read_header(bytes).is_ok()).collect()
    };
    let (finals, drafts) = (images(&parts), images(&thoughts));
    let thoughts = thoughts.into_iter().filter_map(inline).count();
    let is_refused = response["candidates"][0]["finishReason"] == "IMAGE_SAFETY";
    match drafts.last() {
        Some(draft) if finals.is_empty() && !is_refused => {
            Some((key, vec![draft.clone()], thoughts - 1))
        }
        Some(_) | None => Some((key, finals, thoughts)),
    }
}

fn plain_base64(text: &str) -> Option<Vec<u8>> {
    let text = text
        .strip_prefix("data:")
        .and_then(|url| url.split_once(','))
        .map_or(text, |(_, text)| text);
    let standard: String = text
        .chars()
        .filter(|char| !char.is_whitespace())
        .map(|char| match char {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    STANDARD_NO_PAD
        .decode_to_vec(standard.trim_end_matches('='))
        .ok()
}
