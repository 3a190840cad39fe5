//! Manifests that are too large to store.

use std::io::Write;

use darkroom::models::Catalog;
use flate2::{Compression, write::GzEncoder};

use super::{
    bytes::{Make, Pieces, chain, repeated, text},
    manifests::{bound, validation},
    memory::{alone, peak},
};

/// The sizes of the pieces in which a case is read.
const CHUNKS: [usize; 2] = [64 << 10, 7];

const FIRST: &str = "{\"key\":\"a\",\"prompt\":\"x\"}\n";

struct Case {
    name: &'static str,
    make: Make,
    /// The expected rows of `validation.csv`.
    expected: String,
}

fn case(name: &'static str, expected: &str, make: impl Fn() -> Pieces + 'static) -> Case {
    Case {
        name,
        make: Box::new(make),
        expected: expected.to_owned(),
    }
}

/// Returns 64 MiB of one byte as a member of a gzip file, which takes 64 KiB.
fn member(byte: u8) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let block = [byte; 64 << 10];
    (0..1 << 10).for_each(|_| encoder.write_all(&block).unwrap());
    encoder.finish().unwrap()
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns a compressed file with a short text and `count` times 64 MiB after it.
fn bomb(start: &str, byte: u8, count: usize) -> Pieces {
    let member = member(byte);
    chain([
        text(compressed(start.as_bytes())),
        Box::new((0..count).map(move |_| member.clone())),
    ])
}

/// Returns a manifest whose second line is an item with this member.
fn second(start: &str, piece: &str, count: usize, end: &str) -> Pieces {
    chain([
        text(FIRST),
        text(start),
        repeated(piece, count),
        text(end),
        text("\n{\"key\":\"c\",\"prompt\":\"x\"}\n"),
    ])
}

fn cases() -> Vec<Case> {
    vec![
        case(
            "bomb-of-blanks",
            "1,,error,manifest_too_large,the manifest is larger than 2147483648 bytes: split it",
            || bomb("", b' ', 33),
        ),
        case(
            "bomb-in-a-line",
            "2,,error,manifest_too_large,the manifest is larger than 2147483648 bytes: split it",
            || bomb(FIRST, b'x', 33),
        ),
        case(
            "bomb-in-a-cell",
            "2,,error,item_too_large,the item that begins here is larger than 4194304 bytes: check for a missing quote or bracket",
            || bomb("key,prompt\na,\"", b'x', 1),
        ),
        case(
            "bomb-in-an-array",
            "1,,error,item_too_large,the item that begins here is larger than 33554432 bytes: check for a missing quote or bracket",
            || bomb("[", b' ', 1),
        ),
        case(
            "cell-of-40-mebibytes",
            "3,,error,item_too_large,the item that begins here is larger than 4194304 bytes: check for a missing quote or bracket",
            || {
                chain([
                    text("key,prompt\na,x\nb,"),
                    repeated("x", 40 << 20),
                    text("\nc,x\n"),
                ])
            },
        ),
        case(
            "row-of-commas",
            "4,c,error,missing_prompt,there is no prompt: describe what the image should show",
            || {
                chain([
                    text("key,prompt\na,x\nb,x"),
                    repeated(",", 3 << 20),
                    text("\nc,\n"),
                ])
            },
        ),
        case(
            "header-of-commas",
            r#"1,,error,too_many_columns,"the header has 3145729 columns, and 16384 are allowed: check that the file is a table""#,
            || repeated(",", 3 << 20),
        ),
        case(
            "header-of-names",
            r#"1,,error,too_many_columns,"the header has 1048577 columns, and 16384 are allowed: check that the file is a table""#,
            || chain([repeated("a,", 1 << 20), text("b\n")]),
        ),
        case(
            "prompt-too-long",
            r#"2,b,error,prompt_too_long,"the prompt has 100001 characters, and 100000 are allowed: shorten it""#,
            || second(r#"{"key":"b","prompt":""#, "é", 100_001, r#""}"#),
        ),
        case(
            "line-too-long",
            "2,,error,item_too_large,the line is longer than 33554432 bytes: put pictures into the bucket and name them in refs",
            || second(r#"{"key":"b","prompt":""#, "x", 40 << 20, r#""}"#),
        ),
        case(
            "item-too-long",
            "3,,error,item_too_large,the item that begins here is larger than 33554432 bytes: check for a missing quote or bracket",
            || {
                chain([
                    text("[\n{\"key\":\"a\",\"prompt\":\"x\"},\n{\"key\":\"b\",\"prompt\":\""),
                    repeated("x", 40 << 20),
                    text("\"}]"),
                ])
            },
        ),
        case(
            "key-of-a-megabyte",
            &format!(
                r#"2,{},error,bad_key,"key ""{}""… must have 1 to 256 characters, not 1048576""#,
                "k".repeat(256),
                "k".repeat(60)
            ),
            || second(r#"{"n":16,"prompt":"x","key":""#, "k", 1 << 20, r#""}"#),
        ),
        case(
            "path-of-a-megabyte",
            &format!(
                r#"2,b,error,bad_path,"the path ""{}""… has more than 1024 bytes: shorten it""#,
                "{key}".repeat(12)
            ),
            || {
                second(
                    r#"{"key":"b","prompt":"x","output":{"path":""#,
                    "{key}",
                    1 << 18,
                    r#""}}"#,
                )
            },
        ),
        case(
            "unknown-field-of-a-megabyte",
            &format!(
                r#"2,b,error,unknown_field,"there is no field ""{}""…: remove it, or use one of key, id, custom_id, record_id, prompt, template, vars, metadata, n, count, model, aspect_ratio, image_size, refs, references, images, system, seed, temperature, thinking, thinking_level, lane, output, out""#,
                "k".repeat(60)
            ),
            || second(r#"{"key":"b","prompt":"x",""#, "k", 1 << 20, r#"":1}"#),
        ),
        case(
            "a-million-references",
            "2,,error,invalid_json,the item has more than 100000 values: split it into several items",
            || {
                second(
                    r#"{"key":"b","prompt":"x","refs":["refs/a.png""#,
                    r#","refs/a.png""#,
                    1 << 20,
                    "]}",
                )
            },
        ),
        case(
            "ten-thousand-unknown-fields",
            "51 rows, the last 1,a,error,more_errors,the item has more than these 50: fix them first",
            || {
                let fields: Vec<u8> = (0..10_000)
                    .flat_map(|number| format!(",\"a{number}\":0").into_bytes())
                    .collect();
                chain([
                    text(r#"{"key":"a","prompt":"x""#),
                    text(fields),
                    text("}\n"),
                ])
            },
        ),
        case("request-of-30-mebibytes", "", || {
            second(
                r#"{"key":"b","request":{"contents":[{"parts":[{"text":"x"},{"inlineData":{"data":""#,
                "AAAA",
                30 << 18,
                r#""}}]}]}}"#,
            )
        }),
        case(
            "deep-array",
            "2,,error,invalid_json,the item's JSON is nested more than 64 levels deep: reduce the nesting",
            || second(r#"{"key":"b","prompt":"#, "[", 100_000, ""),
        ),
        case(
            "deep-first-object",
            r#"1,,error,invalid_json,"invalid type: map, expected a list of items""#,
            || repeated(r#"{"items":"#, 100_000),
        ),
        case(
            "deep-section",
            "1,,error,invalid_json,in defaults: the item's JSON is nested more than 64 levels deep: reduce the nesting",
            || {
                chain([
                    text(r#"{"defaults":"#),
                    repeated("[", 100_000),
                    repeated("]", 100_000),
                    text(r#","items":[]}"#),
                ])
            },
        ),
        case(
            "sections-again-and-again",
            "10001 rows, the last 1,,error,more_errors,1038575 more errors are not listed: fix these first",
            || {
                chain([
                    text(r#"{"items":[{"key":"a","prompt":"x"}]"#),
                    repeated(r#","version":1"#, 1 << 20),
                    text("}"),
                ])
            },
        ),
        case(
            "items-as-a-long-text",
            &format!(
                r#"1,,error,invalid_json,"invalid type: string ""{}…""#,
                "x".repeat(178)
            ),
            || chain([text(r#"{"items":""#), repeated("x", 8 << 20), text(r#""}"#)]),
        ),
        case(
            "problems-without-end",
            "10001 rows, the last 5003,,error,lines_not_read,after 10001 errors the rest of the manifest was not read: 94999 lines were skipped; fix these errors first",
            || chain([text("key,prompt\n"), repeated("a,\n", 100_000)]),
        ),
        case(
            "blank-lines",
            "1,,error,empty,the manifest has no items: add some and drop it again",
            || repeated("\r\n", 8 << 20),
        ),
        case(
            "open-quote-in-a-long-table",
            "2,,error,item_too_large,the item that begins here is larger than 4194304 bytes: check for a missing quote or bracket",
            || chain([text("key,prompt\na,\"x\n"), repeated("b,a shoe\n", 1 << 20)]),
        ),
    ]
}

#[test]
fn every_generated_manifest_has_its_validation_in_flat_memory() {
    let catalog = Catalog::built_in();
    let mut wrong = Vec::new();
    for Case {
        name,
        make,
        expected,
    } in cases()
    {
        alone(|| {
            for chunk in CHUNKS {
                let (found, peak) = peak(|| validation(&make, chunk, &catalog));
                assert!(
                    peak <= bound(),
                    "{name} in pieces of {chunk}: {peak} bytes, {} allowed",
                    bound()
                );
                let rows: Vec<&str> = found.lines().skip(1).collect();
                let found = match &rows[..] {
                    // Of many rows, the last one holds their number.
                    [.., last] if rows.len() > 50 => {
                        format!("{} rows, the last {last}", rows.len())
                    }
                    rows => rows.join("\n"),
                };
                if found != expected {
                    wrong.push(format!(
                        "{name} in pieces of {chunk}: expected\n{expected}\nbut found\n{found}"
                    ));
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
