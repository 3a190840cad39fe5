//! How a responses file is divided into lines, wherever its bytes are cut.

use std::sync::Arc;

use super::super::{
    BadLine, BadLineReason, Limits, Line, Outcome, Pool, Status,
    testing::{
        Content, Summary, base64, image_line, image_part, images, parts_line, png, read, read_bad,
        scan, scan_in_chunks,
    },
};

const SMALL: Limits = Limits {
    skeleton_bytes: 300,
    text_bytes: 100,
    image_bytes: 60,
    images: 3,
    line_bytes: 100,
};

/// Scans one line with small limits, in chunks of every size, which must all give the same content.
/// Returns that content.
fn scan_small(line: &str) -> Result<Content, BadLine> {
    let file = format!("{line}\n{}\n", image_line("next", &png(1, 1, b"")));
    let whole = scan_in_chunks(file.as_bytes(), file.len(), SMALL, &Pool::new(0));
    let summaries: Vec<Summary> = whole.iter().map(Summary::from).collect();
    for size in 1..40 {
        let lines = scan_in_chunks(file.as_bytes(), size, SMALL, &Pool::new(0));
        assert_eq!(
            lines.iter().map(Summary::from).collect::<Vec<_>>(),
            summaries,
            "chunks of {size}"
        );
    }
    let [line, next] = summaries.try_into().unwrap();
    assert_eq!(
        next.content.unwrap().status,
        Status::Succeeded,
        "the scan continues with the next line"
    );
    line.content
}

fn code(content: Result<Content, BadLine>) -> String {
    content.unwrap().code.unwrap()
}

fn bad(reason: BadLineReason, key: Option<&str>) -> Result<Content, BadLine> {
    Err(BadLine {
        reason,
        key: key.map(crate::names::RequestKey::new),
    })
}

#[test]
fn lines_have_their_positions() {
    let (one, two) = (
        image_line("one", &png(1, 1, b"1")),
        image_line("two", &png(1, 1, b"2")),
    );
    let file = format!("{one}\n\r\n  \n{two}");
    let lines = scan(&file);
    let ends: Vec<(u64, u64)> = lines.iter().map(|line| (line.start, line.end)).collect();
    let first = one.len() as u64 + 1;
    assert_eq!(ends, [(0, first), (first + 5, file.len() as u64)]);
    assert_eq!(lines[1].key().unwrap().as_str(), "two");
}

#[test]
fn a_file_without_lines_has_none() {
    for file in ["", "\n", "\n\n\r\n \t\n", "   "] {
        assert!(scan(file).is_empty(), "{file:?}");
    }
}

#[test]
fn the_last_line_needs_no_newline_if_its_json_is_whole() {
    let line = image_line("k", &png(1, 1, b""));
    assert_eq!(read(&line).outcome.status(), Status::Succeeded);
    for cut in 1..line.len() {
        let (reason, key) = read_bad(&line[..cut]);
        assert_eq!(reason, BadLineReason::Truncated, "cut at {cut}");
        assert_eq!(
            key.is_some(),
            cut > r#"{"key":"k""#.len() - 1,
            "cut at {cut}"
        );
    }
}

#[test]
fn a_newline_ends_a_line_at_any_position() {
    let next = image_line("k", &png(1, 1, b""));
    for broken in [
        r#"{"key":"k1","text":"a"#,
        r#"{"key":"k1","inlineData":{"data":"AAA"#,
        r#"{"key":"k1","inlineData":{"data":"AA\"#,
        r#"{"key":"k1","a":"\"#,
        r#"{"key":"k1","#,
    ] {
        let lines = scan(format!("{broken}\n{next}\n"));
        assert_eq!(lines.len(), 2, "{broken}");
        let line = lines[0].content.as_ref().unwrap_err();
        assert_eq!(
            (line.reason, line.key.as_ref().unwrap().as_str()),
            (BadLineReason::NotJson, "k1"),
            "{broken}"
        );
        assert!(lines[1].content.is_ok(), "{broken}");
    }
}

/// Returns the key of each line, or `-`, and whether the line could be read. Chunks of every size
/// must give the same.
fn outline(file: &str) -> Vec<(String, bool)> {
    let outline = |size| -> Vec<(String, bool)> {
        let lines = scan_in_chunks(file.as_bytes(), size, Limits::default(), &Pool::new(0));
        let key = |line: &Line| line.key().map_or("-".to_owned(), ToString::to_string);
        lines
            .iter()
            .map(|line| (key(line), line.content.is_ok()))
            .collect()
    };
    let whole = outline(usize::MAX);
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(outline(size), whole, "in chunks of {size}: {file}");
    }
    whole
}

fn read_keys(file: &str) -> Vec<String> {
    outline(file)
        .into_iter()
        .filter(|(_, is_read)| *is_read)
        .map(|(key, _)| key)
        .collect()
}

#[test]
fn the_elements_of_an_array_are_lines() {
    let [a, b, c] = ["a", "b", "c"].map(|key| image_line(key, &png(1, 1, b"")));
    for file in [
        format!("[{a},{b},{c}]"),
        format!("[{a}, {b} ,{c} ]\n"),
        format!("[\n{a},\n{b},\n{c}\n]\n"),
        format!("[\n{a}\n,{b}\n,{c}]"),
        format!("[{a}\n{b}\n{c}"),
        format!("\u{feff}[\r\n{a},\r\n\r\n{b}\r\n,\r\n{c}\r\n]\r\n"),
        format!("[[{a}],[{b},{c}]]"),
        format!("[,{a},,{b},{c},]"),
        format!("{a},\n{b},\n{c}"),
    ] {
        assert_eq!(
            outline(&file),
            ["a", "b", "c"].map(|key| (key.to_owned(), true)),
            "{file}"
        );
    }
    for empty in ["[]", " [ ] \n", "[\n]\n", "[[],[]]"] {
        assert!(scan(empty).is_empty(), "{empty}");
    }
}

#[test]
fn a_line_of_an_array_ends_with_what_ends_its_element() {
    let line = image_line("k", &png(1, 1, b""));
    let length = line.len() as u64;
    let file = format!("[\n  {line} ,{line}\n,\n{line}]");
    let spans: Vec<(u64, u64)> = scan(&file)
        .iter()
        .map(|line| (line.start, line.end))
        .collect();
    let first = 2 + 2 + length + 2;
    let second = first + length + 1;
    assert_eq!(
        spans,
        [(2, first), (first, second), (second + 2, file.len() as u64)]
    );
}

#[test]
fn an_object_may_be_pretty_printed() {
    let bytes = png(1, 1, b"x");
    let pretty = |key: &str, indent: &str| {
        let value: serde_json::Value = serde_json::from_str(&image_line(key, &bytes)).unwrap();
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        serde::Serialize::serialize(
            &value,
            &mut serde_json::Serializer::with_formatter(&mut text, formatter),
        )
        .unwrap();
        String::from_utf8(text).unwrap()
    };
    for indent in ["", " ", "  ", "\t"] {
        let [a, b] = ["a", "b"].map(|key| pretty(key, indent));
        let next = image_line("c", &bytes);
        for file in [
            format!("[\n{indent}{a},\n{indent}{b},\n{next}\n]\n"),
            format!("[{a}, {b}, {next}]"),
            format!("{a}\n{b}\n{next}\n"),
            format!("{a}{b}\n\n{next}"),
            format!("[\n{a},\n{b},\n{next}\n]\n").replace('\n', " \r\n"),
        ] {
            assert_eq!(
                outline(&file),
                ["a", "b", "c"].map(|key| (key.to_owned(), true)),
                "{file}"
            );
            for line in scan(&file) {
                assert_eq!(
                    images(&line.content.unwrap().outcome),
                    std::slice::from_ref(&bytes)
                );
            }
        }
    }
}

#[test]
fn a_broken_element_does_not_absorb_the_next_one() {
    let [a, b, c] = ["a", "b", "c"].map(|key| image_line(key, &png(1, 1, b"")));
    let value: serde_json::Value = serde_json::from_str(&b).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    let without_end = |text: &str| text[..text.trim_end().len() - 1].trim_end().to_owned();
    for broken in [
        without_end(&b),
        without_end(&without_end(&b)),
        without_end(&pretty),
        b.replacen("]}", "]", 1),
        b.replacen("]}", "}", 1),
        pretty.replacen(']', "", 1),
        b.replacen("\"parts\":", "\"parts\"", 1),
        "{".to_owned(),
        "null".to_owned(),
        "\"text\"".to_owned(),
        "junk".to_owned(),
        "}]}".to_owned(),
    ] {
        for file in [
            format!("[{a},{broken},{c}]"),
            format!("[\n{a},\n{broken},\n{c}\n]"),
            format!("{a}\n{broken}\n{c}\n"),
        ] {
            assert_eq!(read_keys(&file), ["a", "c"], "{file}");
        }
    }
    // A value that isn't an object may precede one, too.
    assert_eq!(read_keys(&format!("data: {a}\n\ndata: {c}\n")), ["a", "c"]);
    assert_eq!(read_keys(&format!("\x1e{a}\n\x1e{c}\n")), ["a", "c"]);
}

#[test]
fn a_newline_in_a_text_ends_a_line_in_every_form() {
    let next = image_line("next", &png(1, 1, b""));
    for broken in [
        "{\n  \"key\": \"k1\",\n  \"text\": \"a",
        "{\n  \"key\": \"k1\",\n  \"inlineData\": {\n    \"data\": \"AAA",
    ] {
        let found = outline(&format!("{broken}\n{next}\n"));
        assert_eq!(
            found,
            [("k1".to_owned(), false), ("next".to_owned(), true)],
            "{broken}"
        );
    }
}

#[test]
fn an_element_over_the_skeleton_limit_is_recorded_and_the_next_is_read() {
    let next = image_line("next", &png(1, 1, b""));
    let long = format!(
        r#"{{"key":"k","a":[{}],"inlineData":{{"data":"AAAA","b":"]}}"}}}}"#,
        r#"{"data":"0123"},"#.repeat(40)
    );
    for file in [
        format!("[{long},{next}]"),
        format!("[\n{long},\n{next}\n]\n"),
        format!("{long}{next}"),
    ] {
        for size in [1, 7, usize::MAX] {
            let lines = scan_in_chunks(file.as_bytes(), size, SMALL, &Pool::new(0));
            let [long, next] = &lines[..] else {
                panic!("{lines:?}")
            };
            assert_eq!(
                long.content.as_ref().unwrap_err().reason,
                BadLineReason::LineTooLong
            );
            assert_eq!(
                next.content.as_ref().unwrap().outcome.status(),
                Status::Succeeded
            );
        }
    }
    let pretty = format!("{{\n\"a\": [{}\n{next}\n", "\n{},".repeat(200));
    let lines = scan_in_chunks(pretty.as_bytes(), 7, SMALL, &Pool::new(0));
    let last = lines.last().unwrap().content.as_ref().unwrap();
    assert_eq!(
        last.outcome.status(),
        Status::Succeeded,
        "a pretty-printed line that is too long ends at a newline"
    );
}

#[test]
fn arrays_may_be_nested_to_any_depth() {
    let bytes = png(1, 1, b"x");
    for depth in [62, 63, 64, 65, 200] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let parts = [
            format!(r#"{{"x":{deep}}}"#),
            image_part(&bytes),
            image_part(&bytes),
        ];
        let answer = read(parts_line("k", &[&parts[0], &parts[1], &parts[2]]));
        assert_eq!(images(&answer.outcome).len(), 2, "{depth}");
    }
}

#[test]
fn spaces_and_escapes_change_nothing() {
    let bytes = png(1, 1, &[0xfb; 31]);
    let line = image_line("k", &bytes);
    for written in [
        line.replace(':', "\t: \r")
            .replace(',', "\t,\r")
            .replace('{', "{ "),
        line.replace('/', r"\/"),
        line.replace("=", r"\u003d"),
        line.replace("\"data\"", r#""d\u0061t\u0061""#)
            .replace("inlineData", r"inline\u0044ata"),
        line.replace('+', "-").replace('/', "_").replace('=', ""),
    ] {
        assert_ne!(written, line);
        assert_eq!(
            images(&read(&written).outcome),
            std::slice::from_ref(&bytes),
            "{written}"
        );
    }
}

#[test]
fn a_member_data_outside_of_inline_data_is_an_ordinary_text() {
    let bytes = png(1, 1, b"");
    let line = image_line("k", &bytes);
    // If any of these counted as an image, the limit would exclude the actual image.
    let limits = Limits {
        images: 1,
        ..Limits::default()
    };
    for other in [
        r#""metadata":{"data":"hello, world"},"#,
        r#""data":"not base64!","#,
        r#""inlineData":"data","#,
        r#""inlineData":{"data":{"data":"not base64!"},"x":{"data":"?"}},"#,
        r#""inlineData":[{"data":"not base64!"}],"#,
        r#""x":["inlineData",{"data":"?"}],"#,
        r#""x":{"inlineData":{}},"y":{"z":{"data":"not base64!"}},"#,
        r#""inlineData":{"data":["not base64!"]},"#,
        r#""x":"\"inlineData\":{\"data\":\"","#,
        r#""x":"}}}]]]","#,
    ] {
        let written = format!("{{{other}{}", &line[1..]);
        let lines = scan_in_chunks(written.as_bytes(), usize::MAX, limits, &Pool::new(0));
        let answer = lines[0].content.as_ref().unwrap();
        assert_eq!(
            images(&answer.outcome),
            std::slice::from_ref(&bytes),
            "{written}"
        );
    }
}

#[test]
fn an_image_outside_of_the_reply_is_dropped() {
    let bytes = png(1, 1, b"");
    let line = image_line("k", &bytes);
    for data in ["AAAA", "not base64!", &base64(&png(2, 2, b""))] {
        let written = format!(
            r#"{{"x":{{"inlineData":{{"data":"{data}"}}}},{}"#,
            &line[1..]
        );
        assert_eq!(
            images(&read(&written).outcome),
            std::slice::from_ref(&bytes),
            "{written}"
        );
    }
}

#[test]
fn an_image_of_another_line_is_never_used() {
    let line = parts_line(
        "k",
        &[r#"{"inlineData":{"x":{"inlineData":{}},"data":"0"}}"#],
    );
    let file = format!("{}\n{line}\n", image_line("first", &png(1, 1, b"")));
    let lines = scan(file);
    assert!(!matches!(
        lines[1].content.as_ref().unwrap().outcome,
        Outcome::Succeeded { .. }
    ));
}

#[test]
fn a_line_over_the_skeleton_limit_is_recorded_with_its_key() {
    for filler in [
        r#"{"text":"0123456789"},"#.repeat(20),
        format!("1{}", " ".repeat(400)),
        "[".repeat(400),
    ] {
        let line = |first: &str, last: &str| {
            format!("{{{first}\"response\":{{\"candidates\":[{filler}]}}{last}}}")
        };
        assert_eq!(
            scan_small(&line(r#""key":"k","#, "")),
            bad(BadLineReason::LineTooLong, Some("k"))
        );
        assert_eq!(
            scan_small(&line("", r#","key":"k""#)),
            bad(BadLineReason::LineTooLong, None)
        );
    }
}

#[test]
fn a_long_text_is_omitted_at_any_length() {
    let bytes = png(1, 1, b"");
    for size in [100, 101, 1000, 10_000] {
        for text in ["x".repeat(size), r#"\""#.repeat(size / 2)] {
            let part = format!(r#"{{"thoughtSignature":"{text}"}}"#);
            let line = parts_line("k", &[&part, &image_part(&bytes)]);
            assert_eq!(
                scan_small(&line).unwrap().images,
                std::slice::from_ref(&bytes),
                "{size}"
            );
        }
    }
}

#[test]
fn a_text_above_the_limit_is_omitted() {
    for (size, kept) in [(100, true), (101, false)] {
        let line = format!(
            r#"{{"key":"k","error":{{"message":"{}"}}}}"#,
            "x".repeat(size)
        );
        let lines = scan_in_chunks(line.as_bytes(), 7, SMALL, &Pool::new(0));
        let message = &lines[0]
            .content
            .as_ref()
            .unwrap()
            .outcome
            .reason()
            .unwrap()
            .message;
        assert_eq!(message.len() == size, kept, "{message}");
    }
}

#[test]
fn an_image_over_a_limit_is_a_flaw_of_that_image_alone() {
    let image = |size: usize| image_part(&png(1, 1, &vec![7; size - 24]));
    assert_eq!(
        scan_small(&parts_line("k", &[&image(60)])).unwrap().status,
        Status::Succeeded
    );
    assert_eq!(
        code(scan_small(&parts_line("k", &[&image(61)]))),
        "IMAGE_TOO_LARGE"
    );
    assert_eq!(
        code(scan_small(&parts_line("k", &[&image(5000)]))),
        "IMAGE_TOO_LARGE"
    );
    assert_eq!(
        scan_small(&parts_line("k", &[&image(50), &image(50)]))
            .unwrap()
            .images
            .len(),
        2
    );
    assert_eq!(
        scan_small(&parts_line("k", &[&image(50), &image(51)]))
            .unwrap()
            .images
            .len(),
        1
    );
    assert_eq!(
        scan_small(&parts_line("k", &[image(24).as_str(); 3]))
            .unwrap()
            .images
            .len(),
        3
    );
    assert_eq!(
        scan_small(&parts_line("k", &[image(24).as_str(); 4]))
            .unwrap()
            .images
            .len(),
        3
    );
}

#[test]
fn many_images_take_no_more_memory_than_the_limits() {
    let pool = Pool::new(0);
    let limits = Limits {
        image_bytes: 1 << 20,
        line_bytes: 2 << 20,
        ..Limits::default()
    };
    let part = image_part(&png(1, 1, &vec![0; 700_000]));
    let line = parts_line("k", &[part.as_str(); 20]);
    let lines = scan_in_chunks(line.as_bytes(), 65_536, limits, &pool);
    assert_eq!(images(&lines[0].content.as_ref().unwrap().outcome).len(), 2);
    assert!(pool.peak_bytes() <= 3 << 20, "{}", pool.peak_bytes());
    drop(lines);
    assert_eq!(pool.held_bytes(), 0);
}

#[test]
fn buffers_of_returned_images_are_reused() {
    let pool = Pool::new(1 << 20);
    let file = format!("{}\n", image_line("k", &png(1, 1, &[0; 100_000]))).repeat(50);
    let mut count = 0;
    let mut scanner = super::Scanner::new(Limits::default(), Arc::clone(&pool), 0);
    scanner.feed(file.as_bytes(), |line| {
        count += usize::from(line.content.is_ok())
    });
    assert_eq!(count, 50);
    assert!(pool.peak_bytes() <= 1 << 18, "{}", pool.peak_bytes());
}

#[test]
fn invalid_json_is_a_bad_line() {
    for (line, key) in [
        ("not json", None),
        ("\0\0\0\0", None),
        ("}", None),
        (":::", None),
        ("\"data\":\"x", None),
    ] {
        let lines = scan(format!("{line}\n"));
        let found = lines[0].content.as_ref().unwrap_err();
        assert_eq!(
            (found.reason, found.key.as_ref().map(|key| key.as_str())),
            (BadLineReason::NotJson, key),
            "{line:?}"
        );
    }
}

#[test]
fn a_byte_order_mark_does_not_lose_a_line() {
    let bytes = png(1, 1, b"");
    let file = format!(
        "\u{feff}{}\n\u{feff}\n\u{feff} {}",
        image_line("a", &bytes),
        image_line("b", &bytes)
    );
    for size in [1, 2, 3, usize::MAX] {
        let lines = scan_in_chunks(file.as_bytes(), size, Limits::default(), &Pool::new(0));
        let keys: Vec<&str> = lines
            .iter()
            .filter_map(|line| Some(line.key()?.as_str()))
            .collect();
        assert_eq!(keys, ["a", "b"]);
        assert!(
            lines
                .iter()
                .all(|line| images(&line.content.as_ref().unwrap().outcome) == [bytes.clone()])
        );
        assert_eq!(lines[0].start, 0);
    }
}

#[test]
fn an_object_after_an_object_is_a_separate_line() {
    let bytes = png(1, 1, b"");
    let (one, two) = (image_line("one", &bytes), image_line("two", &bytes));
    for between in ["", " ", "\r", " \t\r "] {
        let file = format!("{one}{between}{two}\n");
        let second = (one.len() + between.len()) as u64;
        for size in [1, 7, usize::MAX] {
            let lines = scan_in_chunks(file.as_bytes(), size, Limits::default(), &Pool::new(0));
            let keys: Vec<&str> = lines
                .iter()
                .filter_map(|line| Some(line.key()?.as_str()))
                .collect();
            assert_eq!(
                (keys, lines[0].end, lines[1].start),
                (vec!["one", "two"], second, second),
                "{between:?}"
            );
            assert!(lines.iter().all(|line| line.content.is_ok()));
        }
    }
    for junk in ["}", "null", "\"text\"", ":", "x"] {
        assert_eq!(outline(&format!("{one}{junk}\n{two}")).len(), 3);
        assert_eq!(
            read_keys(&format!("{one} {junk}\n{two}")),
            ["one", "two"],
            "what follows an object spoils nothing"
        );
    }
    for bad in ["[{}{}", "{}:{}", "{},{}", "}{}", "{\"a\":{}{}}"] {
        assert!(scan(bad).iter().all(|line| line.content.is_err()), "{bad}");
    }
    let lines = scan_in_chunks(
        format!("{}{one}", " ".repeat(400) + "{}").as_bytes(),
        7,
        SMALL,
        &Pool::new(0),
    );
    assert_eq!(
        lines
            .iter()
            .map(|line| line.content.is_ok())
            .collect::<Vec<_>>(),
        [false, true],
        "blanks cost nothing"
    );
}

#[test]
fn an_image_within_the_data_of_another_is_ignored() {
    let bytes = png(1, 1, b"");
    let inner = image_part(&png(2, 2, b""));
    let part = format!(
        r#"{{"inlineData":{{"x":{inner},"data":"{}"}}}}"#,
        base64(&bytes)
    );
    assert_eq!(images(&read(parts_line("k", &[&part])).outcome), [bytes]);
}

#[test]
fn deep_nesting_never_crashes() {
    let bytes = png(1, 1, b"");
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let skipped = format!(r#"{{"x":{open}{close},{}"#, &image_line("k", &bytes)[1..]);
    assert_eq!(images(&read(skipped).outcome), [bytes]);
    let refused = format!(r#"{{"key":"k","response":{{"candidates":{open}{close}}}}}"#);
    assert_eq!(
        read_bad(refused),
        (BadLineReason::NotAReply, Some("k".into()))
    );
    let objects = format!(
        "{}1{}",
        r#"{"response":"#.repeat(50_000),
        "}".repeat(50_000)
    );
    assert_eq!(read(objects).outcome.status(), Status::NoImage);
}

#[test]
fn an_image_in_a_line_without_a_key_is_kept() {
    let line = image_line("k", &png(1, 1, b"")).replace(r#""key":"k","#, "");
    let answer = read(line);
    assert_eq!(
        (answer.key, answer.outcome.status()),
        (None, Status::Succeeded)
    );
}

#[test]
fn decodes_base64_of_any_length_in_any_chunks() {
    for size in 0..8 {
        let bytes = png(1, 1, &b"abcdefgh"[..size]);
        let line = image_line("k", &bytes);
        assert!(line.contains(&base64(&bytes)));
        assert_eq!(scan_small(&line).unwrap().images, [bytes]);
    }
}
