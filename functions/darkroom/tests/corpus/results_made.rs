//! Result files that are too large to store.

use darkroom::{digest::hex, results::Limits};
use sha2::{Digest, Sha256};

use super::{
    bytes::{Make, Pieces, chain, repeated, text},
    memory::{alone, peak},
    results::{CHUNKS, bound, report},
};

/// The signature and header of a PNG of 2 x 2 pixels: 33 bytes, so that more base64 can follow.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAA";

/// Base64 of the first 30 bytes of that.
const START: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD9";

/// The report for an image that is too large.
const TOO_LARGE: &str =
    "failed IMAGE_TOO_LARGE final, \"the image has more bytes than are accepted\"";

/// The report for this image.
const SMALL: &str = "succeeded image/png 2x2 34 bytes sha256 ";

struct Case {
    name: &'static str,
    make: Make,
    expected: String,
}

fn case(
    name: &'static str,
    expected: impl Into<String>,
    make: impl Fn() -> Pieces + 'static,
) -> Case {
    Case {
        name,
        make: Box::new(make),
        expected: expected.into(),
    }
}

/// Returns a line with these parts.
fn line(key: &str, parts: Pieces) -> Pieces {
    let start = format!(r#"{{"key":"{key}","response":{{"candidates":[{{"content":{{"parts":["#);
    chain([text(start), parts, text("]}}]}}\n")])
}

/// Returns a line with a small image, without its newline.
fn small_line(key: &str) -> String {
    line(key, small())
        .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
        .collect::<String>()
        .trim_end()
        .to_owned()
}

fn image(data: Pieces) -> Pieces {
    chain([
        text(r#"{"inlineData":{"mimeType":"image/png","data":""#),
        data,
        text(r#""}}"#),
    ])
}

fn small() -> Pieces {
    image(text(PNG))
}

/// Returns an image of the given size: a header and zeros.
fn of_bytes(bytes: usize) -> Pieces {
    let zeros = bytes - 30;
    let end = ["", "AA", "AAA"][zeros % 3];
    image(chain([text(START), repeated("AAAA", zeros / 3), text(end)]))
}

fn digest_of(bytes: usize) -> String {
    let mut hash = Sha256::new();
    hash.update(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x02\x08\x02\0\0\0\xfd");
    let zeros = [0; 1 << 16];
    let mut left = bytes - 30;
    while left > 0 {
        let count = left.min(zeros.len());
        hash.update(&zeros[..count]);
        left -= count;
    }
    hex(&hash.finalize()[..8])
}

fn small_digest() -> String {
    hex(&Sha256::digest(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x02\x08\x02\0\0\0\xfd\xd4\x9as\0",
    )[..8])
}

/// Returns the reports of `count` lines of this size with the same outcome.
fn alike(count: usize, bytes: usize, outcome: &str) -> String {
    (0..count)
        .map(|number| format!("{}..{} {outcome}\n", number * bytes, (number + 1) * bytes))
        .collect()
}

fn cases() -> Vec<Case> {
    let Limits {
        image_bytes,
        line_bytes,
        skeleton_bytes,
        text_bytes,
        images,
    } = Limits::default();
    let small_image = format!("{SMALL}{}", small_digest());
    vec![
        case(
            "image-of-the-limit",
            format!("0..{{end}} \"k\" succeeded image/png 2x2 {image_bytes} bytes sha256 {}\n", digest_of(image_bytes)),
            move || line("k", of_bytes(image_bytes)),
        ),
        case("image-over-the-limit", format!("0..{{end}} \"k\" {TOO_LARGE}\n"), move || {
            line("k", of_bytes(image_bytes + 1))
        }),
        case(
            "images-over-the-limit-of-a-line",
            format!(
                "0..{{end}} \"k\" succeeded image/png 2x2 {image_bytes} bytes sha256 {}, \
                 warning: another image of the answer can't be used: the image has more bytes than are accepted\n",
                digest_of(image_bytes)
            ),
            move || line("k", chain([of_bytes(image_bytes), text(","), of_bytes(line_bytes - image_bytes + 1)])),
        ),
        case("base64-without-end", "0..{end} \"k\" unreadable TRUNCATED_LINE\n", || {
            chain([
                text(r#"{"key":"k","response":{"candidates":[{"content":{"parts":[{"inlineData":{"data":""#),
                repeated("AAAA", 1 << 25),
            ])
        }),
        case("base64-and-escaped-lines", format!("0..{{end}} \"k\" {small_image}\n"), || {
            line("k", image(chain([text(PNG), repeated("\\n", 16 << 20)])))
        }),
        case("line-without-end", "0..{end} no key unreadable LINE_TOO_LONG\n", || repeated("x", 64 << 20)),
        case("line-of-blanks", format!("67108865..{{end}} \"k\" {small_image}\n"), || {
            chain([repeated(" ", 64 << 20), text("\n"), line("k", small())])
        }),
        case("signature-of-megabytes", format!("0..{{end}} \"k\" {small_image}\n"), || {
            line("k", chain([text(r#"{"thoughtSignature":""#), repeated("c2ln", 8 << 20), text(r#""},"#), small()]))
        }),
        case("key-of-a-megabyte", format!("0..{{end}} no key {small_image}\n"), || line(&"k".repeat(1 << 20), small())),
        case(
            "key-of-the-limit",
            format!("0..{{end}} \"{}\"… of {text_bytes} bytes {small_image}\n", "k".repeat(60)),
            move || line(&"k".repeat(text_bytes), small()),
        ),
        case("name-read-again-and-again", "0..{end} no key unreadable NOT_JSON\n", || {
            chain([text("{\""), repeated("\\\\", 30_000), text("\""), repeated(":", 900_000), text("\n")])
        }),
        case("texts-over-the-limit-of-a-line", "0..{end} \"k\" unreadable LINE_TOO_LONG\n", move || {
            line("k", chain([repeated(r#"{"text":"x"},"#, skeleton_bytes / 13), small()]))
        }),
        case("ten-thousand-parts", format!("0..{{end}} \"k\" {small_image}\n"), || {
            line("k", chain([repeated(r#"{"text":"x"},"#, 10_000), small()]))
        }),
        case(
            "images-over-the-count",
            format!(
                "0..{{end}} \"k\" {small_image}{}, warning: another image of the answer can't be used: \
                 the reply holds more images than are accepted\n",
                format!(", before it {}", &small_image["succeeded ".len()..]).repeat(images - 1)
            ),
            move || line("k", chain([repeated(&format!(r#"{{"inlineData":{{"data":"{PNG}"}}}},"#), images), small()])),
        ),
        case(
            "ten-thousand-images",
            "0..{end} \"k\" failed TOO_MANY_IMAGES final, \"the reply holds more images than are accepted\"\n",
            || line("k", chain([repeated(r#"{"inlineData":{"data":"AAAA"}},"#, 10_000), small()])),
        ),
        case("deep-arrays-next-to-the-answer", format!("0..{{end}} \"k\" {small_image}\n"), || {
            let deep = chain([text(r#"{"x":"#), repeated("[", 100_000), repeated("]", 100_000), text("},")]);
            line("k", chain([deep, small()]))
        }),
        case("deep-arrays-instead-of-parts", "0..{end} \"k\" unreadable NOT_A_REPLY\n", || {
            line("k", chain([repeated("[", 100_000), repeated("]", 100_000)]))
        }),
        case("deep-objects-without-end", "0..{end} no key unreadable TRUNCATED_LINE\n", || {
            repeated(r#"{"a":"#, 100_000)
        }),
        case(
            "deep-images",
            "0..{end} \"k\" failed NOT_AN_IMAGE retryable, \"the bytes are neither PNG, JPEG nor WebP\"\n",
            || {
                let deep = chain([repeated(r#"{"inlineData":"#, 50_000), text("{}"), repeated("}", 50_000)]);
                line("k", deep)
            },
        ),
        case(
            "more-lines-than-were-asked-for",
            alike(40, 32, "\"k\" failed INTERNAL retryable, \"Gemini reported INTERNAL and gave no message.\"")
                + "and 99960 more: failed INTERNAL\n",
            || repeated("{\"key\":\"k\",\"error\":{\"code\":13}}\n", 100_000),
        ),
        case(
            "lines-of-nothing",
            alike(40, 2, "no key unreadable NOT_A_REPLY") + "and 999960 more: unreadable NOT_A_REPLY\n",
            || repeated("1\n", 1_000_000),
        ),
        case(
            "array-on-one-line",
            format!("0..161 \"k\" {small_image}\n")
                + &(0..39)
                    .map(|number| format!("{}..{} \"k\" {small_image}\n", 161 + number * 160, 321 + number * 160))
                    .collect::<String>()
                + "and 99960 more: succeeded\n",
            || chain([text("["), repeated(&format!("{},", small_line("k")), 100_000), text("]")]),
        ),
        case(
            "element-over-the-limit-of-a-line",
            format!("0..{{long}} \"k\" unreadable LINE_TOO_LONG\n{{long}}..{{end}} \"next\" {small_image}\n")
                .replace("{long}", &(66 + 3 * skeleton_bytes).to_string()),
            move || {
                let long = chain([
                    text(r#"[{"key":"k","response":{"candidates":[{"content":{"parts":["#),
                    repeated("{},", skeleton_bytes),
                    text("]}}]}},"),
                ]);
                chain([long, text(small_line("next")), text("]")])
            },
        ),
        case("brackets-without-end", "no lines\n", || repeated("[", 64 << 20)),
        case("objects-in-arrays-without-end", "0..{end} no key unreadable LINE_TOO_LONG\n", || {
            repeated(r#"{"a":["#, 8 << 20)
        }),
        case("pretty-printed-without-end", alike(1, skeleton_bytes + 2, "no key unreadable LINE_TOO_LONG"), || {
            chain([text("{"), repeated("\n", 64 << 20)])
        }),
        case(
            "url-without-end",
            "0..{end} \"k\" failed INVALID_BASE64 retryable, \"the image isn't valid base64\"\n",
            || line("k", image(chain([text("data:image/png;x="), repeated("AAAA", 16 << 20)]))),
        ),
        case("url-of-the-image", format!("0..{{end}} \"k\" {small_image}\n"), || {
            line("k", image(chain([text("data:image/png;x="), repeated("AAAA", 1 << 20), text(";base64,"), text(PNG)])))
        }),
        case(
            "image-of-megabytes-as-text",
            "0..{end} \"k\" failed IMAGE_AS_TEXT final, \"Gemini wrote the image as base64 into a text instead of send\"… of 197 bytes\n",
            || {
                line(
                    "k",
                    chain([
                        text(r#"{"text":"data:image\/png;base64,"#),
                        text(PNG),
                        repeated("AAAA", 16 << 20),
                        text(r#""}"#),
                    ]),
                )
            },
        ),
        case(
            "words-of-megabytes",
            "0..{end} \"k\" no_image NO_IMAGE retryable, \"words and words and words and words and words and words and \"… of 931 bytes\n",
            || line("k", chain([text(r#"{"text":""#), repeated(r"words and\n", 4 << 20), text(r#""}"#)])),
        ),
        case("blank-lines", "no lines\n", || repeated("\r\n", 8 << 20)),
    ]
}

#[test]
fn every_generated_result_file_has_its_outcome_in_flat_memory() {
    for Case {
        name,
        make,
        expected,
    } in cases()
    {
        alone(|| {
            let size: usize = make().map(|piece| piece.len()).sum();
            for chunk in CHUNKS {
                let (found, peak) = peak(|| report(make(), chunk));
                assert_eq!(
                    found,
                    expected.replace("{end}", &size.to_string()),
                    "{name} in chunks of {chunk}"
                );
                assert!(
                    peak <= bound(),
                    "{name} in chunks of {chunk}: {peak} bytes, {} allowed",
                    bound()
                );
            }
        });
    }
}
