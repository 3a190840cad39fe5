//! Rules: what is refused, and the message for it.

use proptest::prelude::*;

use super::*;

#[test]
fn every_problem_is_listed_with_its_line_and_what_to_do() {
    let table = "key,prompt,model,aspect_ratio,image_size,n,refs,seed,temperature\n\
                 a,,,,,,,,\n\
                 b,x,nano-bananna-2,,,,,,\n\
                 c,x,,16:10,1k,,,,\n\
                 d,x,,,,0,/a.jpg|https://example.com/b.jpg,,\n\
                 e,x,,,,two,,4294967296,3\n\
                 f,x,gemini-3.1-flash-image,,,,,,\n\
                 g,x,,,,,,,,surplus\n";
    insta::assert_snapshot!(problems(table).join("\n"), @r#"
    2 missing_prompt there is no prompt: describe what the image should show
    3 unknown_model there is no image model "nano-bananna-2": did you mean nano-banana-2, nano-banana, nano-banana-pro
    4 bad_aspect_ratio gemini-nano-banana-2.1 doesn't accept aspect_ratio "16:10": use 1:1, 1:4, 4:1, 1:8, 8:1, 2:3, 3:2, 3:4, 4:3, 4:5, 5:4, 9:16, 16:9, 21:9
    4 bad_image_size gemini-nano-banana-2.1 doesn't accept image_size "1k": did you mean 1K? It accepts 1K, 2K, 4K
    5 bad_value n must be from 1 to 16, not 0
    5 bad_reference reference "/a.jpg" is a file system path: write the key as S3 shows it, such as refs/a.jpg
    5 unsupported_reference reference "https://example.com/b.jpg" is a web address, and fetching those is not enabled: put the picture into the bucket and write its key, or allow web addresses (AllowHttpsReferences, or --allow-https-references)
    6 bad_value n must be a whole number such as 2, not "two"
    6 bad_value seed must be a whole number from -2147483648 to 2147483647, not "4294967296"
    6 bad_value temperature must be from 0 to 2, not 3
    7 retired_model model gemini-3.1-flash-image was shut down on 2026-10-29 (according to reports, not to Google): use gemini-nano-banana-2.1, or set allow_retired_models to use it anyway
    8 wrong_cells the row has 10 cells and the header 9: put texts that contain a comma, a quote or a line break in quotes
    "#);
}

#[test]
fn duplicate_key_names_both_lines() {
    let table = "key,prompt,n\na,one,\nb,two,2\na,three,\nb.v02,four,\n";
    insta::assert_snapshot!(problems(table).join("\n"), @r#"
    4 duplicate_key key "a" on line 4 is already used on line 2: give each image a different key
    5 duplicate_key key "b.v02" on line 5 is already used on line 3: give each image a different key
    "#);
}

#[test]
fn the_key_of_an_item_is_taken_by_its_images() {
    for table in [
        "key,prompt,n\na,one,2\na,two,\n",
        "key,prompt,n\na,one,\na,two,2\n",
    ] {
        assert_eq!(codes(table), [(3, "duplicate_key".to_owned())]);
    }
}

#[test]
fn keys_that_look_the_same_are_equal() {
    let table = "key,prompt\ncafe\u{301},one\ncaf\u{e9},two\n";
    assert_eq!(codes(table), [(3, "duplicate_key".to_owned())]);
}

#[test]
fn a_duplicate_key_is_reported_even_if_the_first_item_is_invalid() {
    assert_eq!(
        codes("key,prompt\na,\na,two\n"),
        [
            (2, "missing_prompt".to_owned()),
            (3, "duplicate_key".to_owned())
        ]
    );
}

#[test]
fn keys_are_bounded() {
    let long = "k".repeat(257);
    let lines = format!(
        "{{\"key\":\"\",\"prompt\":\"x\"}}\n{{\"key\":\"{long}\",\"prompt\":\"x\"}}\n{{\"key\":\"a\\u0000\",\"prompt\":\"x\"}}\n\
         {{\"key\":\"{}\",\"prompt\":\"x\",\"n\":2}}\n{{\"key\":\"{}\",\"prompt\":\"x\"}}\n",
        &long[..253],
        &long[..256],
    );
    let lines: Vec<u64> = codes(&lines)
        .into_iter()
        .filter(|(_, code)| code == "bad_key")
        .map(|(line, _)| line)
        .collect();
    assert_eq!(lines, [1, 2, 3, 4]);
}

#[test]
fn no_field_is_ignored_silently() {
    for (item, code) in [
        (r#"{"key":"a","promt":"x"}"#, "unknown_field"),
        (
            r#"{"key":"a","prompt":"x","depends_on":["b"]}"#,
            "unsupported_field",
        ),
        (r#"{"key":"a","prompt":"x","lane":"fast"}"#, "bad_value"),
        (
            r#"{"key":"a","prompt":"x","output":{"format":"png"}}"#,
            "unknown_field",
        ),
        (
            r#"{"key":"a","prompt":"x","output":{"path":"{scene}"}}"#,
            "bad_path",
        ),
        (r#"{"key":"a","id":"a","prompt":"x"}"#, "duplicate_member"),
        (
            r#"{"key":"a","prompt":"x","prompt":"y"}"#,
            "duplicate_member",
        ),
        (
            r#"{"key":"a","prompt":"x","refs":[{"uri":"refs/a.png","role":"style"}]}"#,
            "unsupported_field",
        ),
        (
            r#"{"key":"a","prompt":"x","refs":["refs/a.tiff"]}"#,
            "bad_reference",
        ),
        (r#"{"key":[7],"prompt":"x"}"#, "bad_value"),
        (r#"{"key":"a","prompt":"x","image_size":512}"#, "bad_value"),
        (r#"{"key":"a","prompt":"x","n":17}"#, "bad_value"),
        (
            r#"{"custom_id":"a","method":"POST","url":"/v1","body":{}}"#,
            "unsupported_url",
        ),
        (r#"["a"]"#, "not_an_item"),
        (r#"{"key":"a","prompt":"x"} {}"#, "invalid_json"),
        (r#"{"key":"a","request":{"contents":[]}}"#, "bad_request"),
        (
            r#"{"key":"a","request":{"contents":[{"parts":[{"text":"x"}]}],"serviceTier":"flex"}}"#,
            "bad_request",
        ),
        (
            r#"{"key":"a","n":2,"request":{"contents":[{"parts":[{"text":"x"}]}]}}"#,
            "misplaced_field",
        ),
        (
            r#"{"key":"a","request":{"config":{},"contents":[{"parts":[{"text":"x"}]}]}}"#,
            "unknown_request_field",
        ),
        (
            r#"{"key":"a","request":{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"imageConfig":{"imageSize":"1k"}}}}"#,
            "bad_image_size",
        ),
        (
            r#"{"key":"a","request":{"contents":[{"parts":[{"text":"x","fileData":{"fileUri":"../x.png"}}]}]}}"#,
            "bad_reference",
        ),
        (
            r#"{"key":"a","request":{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{},"generation_config":{}}}"#,
            "duplicate_member",
        ),
    ] {
        // The item is on the second line, so that it is not read as the start of a document.
        let lines = format!("{{\"key\":\"first\",\"prompt\":\"x\"}}\n{item}\n");
        let found = codes(&lines);
        assert!(found.contains(&(2, code.to_owned())), "{item}: {found:?}");
    }
}

#[test]
fn columns_are_checked_once() {
    let found = problems("key,prompt,depends_on,aspect_ration,id\na,x,red,1:1,b\nc,y,blue,1:1,d\n");
    assert_eq!(found.len(), 1, "{found:?}");
    for message in [
        "column 3: \"depends_on\" is not supported yet",
        "did you mean aspect_ratio?",
        "\"key\" and \"id\" are the same",
    ] {
        assert!(found[0].contains(message), "{}", found[0]);
    }
}

#[test]
fn a_column_without_a_name_must_be_empty() {
    assert_eq!(keys(&images("key,prompt,\na,x,\n")), ["a"]);
    assert_eq!(
        codes("key,prompt,\na,x,y\n"),
        [(2, "unknown_field".to_owned())]
    );
    assert_eq!(
        codes("key,prompt\na,x,y\n"),
        [(2, "wrong_cells".to_owned())]
    );
}

#[test]
fn an_open_quote_is_reported_where_it_opens() {
    let table = "key,prompt\na,one\nb,\"two\nc,three\nd,four\n";
    assert_eq!(codes(table), [(3, "open_quote".to_owned())]);
    assert_eq!(codes("key,prompt\na,\"one"), [(2, "open_quote".to_owned())]);
}

#[test]
fn text_that_is_not_utf_8_is_reported_with_its_line() {
    let (images, reading) = read_all(b"key,prompt\na,one\nb,caf\xe9\nc,three\n", &context());
    assert_eq!(
        (
            keys(&images),
            reading.problems[0].line,
            reading.problems[0].code.as_str()
        ),
        (vec!["a", "c"], 3, "not_utf8")
    );
    let (images, reading) = read_all(
        b"{\"key\":\"a\",\"prompt\":\"\xff\"}\n{\"key\":\"b\",\"prompt\":\"x\"}\n",
        &context(),
    );
    assert_eq!(
        (keys(&images), reading.problems[0].code.as_str()),
        (vec!["b"], "not_utf8")
    );
    // UTF-16 is recognized by its byte order mark.
    let (_, reading) = read_all(b"k\0e\0y\0", &context());
    assert_eq!(reading.problems[0].code, "not_utf8");
}

#[test]
fn a_header_that_cannot_be_read_is_never_ignored() {
    for (from, to) in [
        (&b"\"system\":\"x\""[..], &b"\"system\":\"\xdd\""[..]),
        (b"spring", b"spr\xddng"),
        (b"\"n\":1", b"\"n\":\"\\ud800\""),
    ] {
        let envelope =
            br#"{"job":{"name":"spring"},"items":[{"key":"a","prompt":"x"}],"defaults":{"system":"x","n":1}}"#;
        let at = envelope
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        let broken = [&envelope[..at], to, &envelope[at + from.len()..]].concat();
        let (_, reading) = read_all(&broken, &context());
        assert!(reading.errors > 0, "{}", String::from_utf8_lossy(&broken));
    }
}

#[test]
fn an_empty_manifest_is_refused() {
    for manifest in [
        "",
        "\n \r\n",
        "key,prompt\n",
        "[]",
        "{\"items\":[]}",
        "\u{feff}",
    ] {
        let found = codes(manifest);
        assert_eq!(found.len(), 1, "{manifest:?} {found:?}");
        assert_eq!(found[0].1, "empty", "{manifest:?}");
    }
    assert_eq!(codes("{\"version\":1}")[0].1, "no_items");
}

#[test]
fn unknown_members_of_an_envelope_are_reported() {
    for (envelope, code) in [
        (
            r#"{"version":2,"items":[{"key":"a","prompt":"x"}]}"#,
            "unsupported_version",
        ),
        (
            r#"{"matrix":{},"items":[{"key":"a","prompt":"x"}]}"#,
            "empty_matrix",
        ),
        (
            r#"{"model":"nano-banana-2","items":[{"key":"a","prompt":"x"}]}"#,
            "unknown_field",
        ),
        (
            r#"{"job":{"deadline":"2026-11-22"},"items":[{"key":"a","prompt":"x"}]}"#,
            "unsupported_field",
        ),
        (
            r#"{"job":{"run":{}},"items":[{"key":"a","prompt":"x"}]}"#,
            "bad_value",
        ),
        (
            r#"{"defaults":{"key":"b"},"items":[{"key":"a","prompt":"x"}]}"#,
            "bad_value",
        ),
        (
            r#"{"defaults":{"n":2,"n":3},"items":[{"key":"a","prompt":"x"}]}"#,
            "duplicate_member",
        ),
        (
            r#"{"items":[{"key":"a","prompt":"x"}],"items":[]}"#,
            "duplicate_member",
        ),
        (r#"{"items":{"key":"a","prompt":"x"}}"#, "invalid_json"),
        (r#"{"items":[{"key":"a","prompt":"x"}]"#, "invalid_json"),
        (r#"{"items":[{"key":"a","prompt":"x"}]} x"#, "invalid_json"),
        (
            r#"{"items":[{"key":"a","prompt":"x","prompt":"y"}]}"#,
            "duplicate_member",
        ),
        (
            r#"{"job":{"budget_usd":0.01},"items":[{"key":"a","prompt":"x"}]}"#,
            "over_budget",
        ),
    ] {
        let found = codes(envelope);
        assert!(
            found.iter().any(|(_, found)| found == code),
            "{envelope}: {found:?}"
        );
    }
}

#[test]
fn defaults_without_effect_on_native_lines_are_reported_once() {
    let envelope = r#"{"defaults":{"aspect_ratio":"4:5"},"items":[
        {"key":"a","request":{"contents":[{"parts":[{"text":"x"}]}]}},
        {"key":"b","request":{"contents":[{"parts":[{"text":"x"}]}]}}]}"#;
    assert_eq!(codes(envelope), [(2, "defaults_unused".to_owned())]);
}

#[test]
fn the_number_of_references_is_bounded_by_the_model() {
    let refs = |count| {
        (0..count)
            .map(|number| format!("refs/{number}.png"))
            .collect::<Vec<_>>()
            .join("|")
    };
    assert!(codes(&format!("key,prompt,refs\na,x,{}\n", refs(14))).is_empty());
    assert_eq!(
        codes(&format!("key,prompt,refs\na,x,{}\n", refs(15))),
        [(2, "too_many_references".to_owned())]
    );
}

#[test]
fn a_control_that_the_model_does_not_accept_is_reported_once() {
    let friendly = r#"{"key":"KEY","prompt":"a stone","seed":NUMBER,"temperature":0.5}"#;
    let native = r#"{"key":"KEY","request":{"contents":[{"parts":[{"text":"a stone"}]}],"generationConfig":{"seed":NUMBER,"top_p":0.5,"topK":3}}}"#;
    let lines: Vec<String> = (0..20)
        .map(|number| {
            let line = if number % 2 == 0 { friendly } else { native };
            line.replace("KEY", &format!("k{number}"))
                .replace("NUMBER", &number.to_string())
        })
        .collect();
    let warned = |line: u64, control: &str| {
        format!(
            "{line} unsupported_control gemini-nano-banana-2.1 doesn't accept {control}: Gemini may ignore it or refuse the \
             request; remove it"
        )
    };
    let found = problems(&lines.join("\n"));
    assert_eq!(
        found,
        [
            warned(1, "seed"),
            warned(1, "temperature"),
            warned(2, "topP"),
            warned(2, "topK")
        ]
    );
    // Models without declared controls accept all of them, and `null` sets nothing.
    assert_eq!(
        problems(
            &friendly
                .replace("NUMBER", "1")
                .replace("{\"key\"", "{\"model\":\"nano-banana-pro\",\"key\"")
        ),
        [""; 0]
    );
    assert_eq!(
        problems(
            &native
                .replace("NUMBER", "null")
                .replace(",\"top_p\":0.5,\"topK\":3", "")
        ),
        [""; 0]
    );
}

#[test]
fn a_size_in_lower_case_gets_a_hint() {
    let found = problems("key,prompt,image_size\na,x,1k\n");
    insta::assert_snapshot!(found[0], @r#"2 bad_image_size gemini-nano-banana-2.1 doesn't accept image_size "1k": did you mean 1K? It accepts 1K, 2K, 4K"#);
}

#[test]
fn an_item_with_many_errors_lists_some_and_reports_that() {
    let members: Vec<String> = (0..1_000)
        .map(|number| format!("\"a{number}\":0"))
        .collect();
    let found = codes(&format!(
        "{{\"key\":\"a\",\"prompt\":\"x\",{}}}",
        members.join(",")
    ));
    assert_eq!(found.len(), 51);
    assert_eq!(found[50].1, "more_errors");
}

#[test]
fn an_item_with_too_many_values_is_refused() {
    let item = |count| {
        format!(
            "[{{\"key\":\"a\",\"prompt\":\"x\",\"refs\":[{}]}}]",
            vec!["0"; count].join(",")
        )
    };
    assert_eq!(codes(&item(100_000)), [(1, "invalid_json".to_owned())]);
    assert_eq!(codes(&item(1_000)), [(1, "bad_value".to_owned())]);
}

#[test]
fn a_member_with_a_name_of_serde_json_is_refused() {
    let mark = r#"{"$serde_json::private::RawValue":"no JSON"}"#;
    let native = format!(
        r#"{{"key":"a","request":{{"contents":[{{"parts":[{{"text":"x"}}]}}],"x":{mark}}}}}"#
    );
    assert_eq!(codes(&native), [(1, "invalid_json".to_owned())]);
}

#[test]
fn a_duplicate_section_is_refused_wherever_it_is() {
    for envelope in [
        r#"{"version":1,"version":2,"items":[{"key":"a","prompt":"x"}]}"#,
        r#"{"defaults":{},"items":[{"key":"a","prompt":"x"}],"defaults":{"model":"nano-banana-pro"}}"#,
        "{\"manifest\":{},\"manifest\":{}}\n{\"key\":\"a\",\"prompt\":\"x\"}",
    ] {
        assert_eq!(
            codes(envelope),
            [(1, "duplicate_member".to_owned())],
            "{envelope}"
        );
    }
}

#[test]
fn names_and_paths_are_bounded() {
    let job = format!(
        r#"{{"job":{{"name":"{}"}},"items":[{{"key":"a","prompt":"x"}}]}}"#,
        "n".repeat(257)
    );
    assert_eq!(codes(&job), [(1, "bad_value".to_owned())]);
    let path = format!("key,prompt,output.path\na,x,{}\n", "{key}".repeat(205));
    assert_eq!(codes(&path), [(2, "bad_path".to_owned())]);
    let key = format!("key,prompt,n\n{},x,16\n", "k".repeat(1 << 20));
    assert_eq!(codes(&key), [(2, "bad_key".to_owned())]);
}

#[test]
fn a_parsers_message_quotes_no_long_text() {
    let found = problems(&format!("{{\"items\":\"{}\"}}", "x".repeat(1 << 20)));
    assert!(found[0].len() < 300, "{}", found[0].len());
}

#[test]
fn columns_and_rows_of_a_table_are_bounded() {
    let empty = format!(
        "key,prompt{}\na,x{}\n",
        ",".repeat(16_382),
        ",".repeat(16_382)
    );
    assert_eq!(keys(&images(&empty)), ["a"]);
    assert_eq!(
        codes(&",".repeat(16_384)),
        [(1, "too_many_columns".to_owned())]
    );
    assert_eq!(
        codes(&format!("key,prompt\na,{}\n", "x".repeat(5 << 20))),
        [(2, "item_too_large".to_owned())]
    );
    assert_eq!(
        codes("k\0e\0y\0,\0p\0\n\0"),
        [(1, "not_utf8".to_owned())],
        "UTF-16"
    );
}

#[test]
fn lines_after_one_that_is_too_long_are_read() {
    let context = Context {
        limits: Limits {
            item_bytes: 100,
            ..Limits::default()
        },
        ..context()
    };
    let lines = format!(
        "{{\"key\":\"a\",\"prompt\":\"{}\"}}\n{{\"key\":\"b\",\"prompt\":\"x\"}}\n",
        "x".repeat(200)
    );
    let (images, reading) = read_all(lines.as_bytes(), &context);
    assert_eq!(
        (keys(&images), reading.problems[0].code.as_str()),
        (vec!["b"], "item_too_large")
    );
    for document in [
        format!("[{}]", lines.replace("}\n{", "},{")),
        format!("{{\"items\":[{}]}}", lines.trim().replace("}\n{", "},{")),
    ] {
        let (_, reading) = read_all(document.as_bytes(), &context);
        assert_eq!(
            (reading.errors, reading.problems[0].code.as_str()),
            (1, "item_too_large"),
            "{document}"
        );
    }
}

#[test]
fn a_retired_model_is_accepted_if_allowed_and_reported_once() {
    let context = Context {
        allow_retired_models: true,
        default_model: "gemini-3.1-flash-image",
        ..context()
    };
    let (images, reading) = read_all(b"key,prompt\na,x\nb,y\n", &context);
    assert_eq!((images.len(), reading.errors, reading.warnings), (2, 0, 1));
}

#[test]
fn an_unknown_full_id_is_priced_like_the_most_expensive_model_if_allowed() {
    let manifest =
        b"key,prompt,model\na,x,gemini-4-image\nb,y,gemini-4-image\nc,z,gemini-3-pro-image\n";
    assert_eq!(read_all(manifest, &context()).1.errors, 2);
    let (images, reading) = read_all(
        manifest,
        &Context {
            allow_unknown_models: true,
            ..context()
        },
    );
    let models: Vec<&str> = images.iter().map(|image| image.model.as_str()).collect();
    assert_eq!(
        models,
        ["gemini-4-image", "gemini-4-image", "gemini-3-pro-image"]
    );
    assert_eq!(images[0].estimate, images[2].estimate);
    assert_eq!(
        (
            reading.errors,
            reading.warnings,
            reading.problems[0].code.as_str()
        ),
        (0, 1, "unknown_model")
    );
    for (id, code) in [
        ("dall-e-3", "unknown_model"),
        ("gemini-3-pro-image-preview", "withdrawn_model"),
    ] {
        let manifest = format!("key,prompt,model\na,x,{id}\n");
        let (_, reading) = read_all(
            manifest.as_bytes(),
            &Context {
                allow_unknown_models: true,
                ..context()
            },
        );
        assert_eq!(
            (reading.errors, reading.problems[0].code.as_str()),
            (1, code)
        );
    }
}

#[test]
fn a_failing_source_or_sink_is_not_an_error_of_the_manifest() {
    let manifest = b"key,prompt\na,x\n";
    let header = Header::read(&manifest[..], &context()).unwrap();
    let sink = read(&manifest[..], &header, &context(), |_| {
        Err(io::ErrorKind::StorageFull.into())
    });
    assert!(
        matches!(sink, Err(ReadError::Sink(error)) if error.kind() == io::ErrorKind::StorageFull)
    );

    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
    let (table, array) = (
        &b"key,prompt\na,x\n"[..],
        &b"[{\"key\":\"a\",\"prompt\":\"x\"},"[..],
    );
    for (start, format) in [
        (table, Format::Table),
        (table, Format::Lines),
        (array, Format::Array),
    ] {
        let source = io::Read::chain(start, Broken);
        let header = Header {
            format,
            ..header.clone()
        };
        let source = read(source, &header, &context(), |_| Ok(()));
        assert!(
            matches!(source, Err(ReadError::Source(error)) if error.kind() == io::ErrorKind::TimedOut),
            "{format:?}"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (images, reading) = read_all(&bytes, &context());
        prop_assert!(reading.errors > 0 || !images.is_empty());
    }

    #[test]
    fn arbitrary_pieces_of_manifests_never_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", "\"", ",", ":", "\n", "\r", "\"key\"", "\"a\"", "\"prompt\"", "\"items\"", "\"request\"",
        "\"contents\"", "\"manifest\"", "\"defaults\"", "null", "1", "\\", "key,prompt", "a,b", "|", "\u{feff}", "\u{0}",
    ]), 0..40)) {
        let text = pieces.concat();
        let (images, reading) = read_all(text.as_bytes(), &context());
        prop_assert!(reading.errors > 0 || !images.is_empty(), "{}", text);
    }
}
