//! Gemini requests: what is refused before anything is bought, and what is repeated in the results.

use super::*;

/// A line whose request has these members next to its contents.
fn line(members: &str) -> String {
    format!(
        r#"{{"key":"bad","request":{{"contents":[{{"parts":[{{"text":"a shoe"}}]}}],{members}}}}}"#
    )
}

/// A line whose request contains a picture at this address.
fn line_with_picture(uri: &str) -> String {
    format!(
        r#"{{"key":"bad","request":{{"contents":[{{"parts":[{{"text":"a shoe"}},{{"fileData":{{"fileUri":"{uri}"}}}}]}}]}}}}"#
    )
}

/// Seven valid lines, with this one in fifth place. `check` becomes `job.request_check` in a header
/// line.
fn among_seven(bad: &str, check: Option<&str>) -> String {
    let header =
        check.map(|check| format!(r#"{{"manifest":{{"job":{{"request_check":"{check}"}}}}}}"#));
    let good = |number| format!(r#"{{"key":"good-{number}","prompt":"a shoe"}}"#);
    let lines = header
        .into_iter()
        .chain((0..4).map(good))
        .chain([bad.to_owned()])
        .chain((5..8).map(good));
    lines.collect::<Vec<_>>().join("\n")
}

/// Mistakes for which Gemini refuses a whole batch, each with its code and the place that must be
/// named.
fn bad_ways() -> Vec<(String, &'static str, &'static str)> {
    vec![
        (
            line(
                r#""generationConfig":{"imageConfig":{"aspectRatio":"1:1","personGeneration":"ALLOW_ALL"}}"#,
            ),
            "unknown_request_field",
            "request.generationConfig.imageConfig.personGeneration: ",
        ),
        (
            line(r#""generation_config":{"thinking_level":"high"}"#),
            "unknown_request_field",
            "request.generation_config.thinking_level: ",
        ),
        (
            line(r#""generationConfig":{"candidateCount":2}"#),
            "bad_request_value",
            "request.generationConfig.candidateCount: ",
        ),
        (
            line(r#""generation_config":{"candidate_count":"4"}"#),
            "bad_request_value",
            "request.generationConfig.candidateCount: ",
        ),
        (
            line_with_picture("gs://bucket/shoe.png"),
            "unsupported_reference",
            "request.contents[0].parts[1].fileData.fileUri: ",
        ),
        (
            line_with_picture("https://example.com/shoe.png"),
            "unsupported_reference",
            "request.contents[0].parts[1].fileData.fileUri: ",
        ),
        (
            line(r#""generationConfig":{"responseModalities":["PICTURE"]}"#),
            "bad_request_value",
            "request.generationConfig.responseModalities[0]: ",
        ),
        (
            line(r#""generationConfig":{"imageConfig":{"aspectRatio":"9:21"}}"#),
            "bad_aspect_ratio",
            "request.generationConfig.imageConfig.aspectRatio: ",
        ),
        (
            line(r#""generationConfig":{"thinkingConfig":{"thinkingLevel":"LOW"}}"#),
            "bad_thinking",
            "request.generationConfig.thinkingConfig.thinkingLevel: ",
        ),
    ]
}

#[test]
fn one_bad_request_of_eight_is_named_with_its_line_and_place() {
    for (bad, code, place) in bad_ways() {
        let (_, reading) = read_all(among_seven(&bad, None).as_bytes(), &context());
        let [problem] = &reading.problems[..] else {
            panic!("{bad}: {:?}", reading.problems)
        };
        assert_eq!(
            (problem.line, problem.key.as_deref(), problem.code.as_str()),
            (5, Some("bad"), code),
            "{problem:?}"
        );
        assert_eq!(problem.severity, Severity::Error, "{problem:?}");
        assert!(problem.message.starts_with(place), "{problem:?}");
    }
}

#[test]
fn with_request_check_warn_each_of_them_is_sent_with_a_warning() {
    for (bad, code, place) in bad_ways() {
        let (images, reading) = read_all(among_seven(&bad, Some("warn")).as_bytes(), &context());
        assert_eq!(
            (images.len(), reading.errors),
            (8, 0),
            "{:?}",
            reading.problems
        );
        let [problem] = &reading.problems[..] else {
            panic!("{bad}: {:?}", reading.problems)
        };
        assert_eq!(
            (problem.line, problem.code.as_str()),
            (6, code),
            "{problem:?}"
        );
        assert!(
            problem.message.starts_with(place) && problem.message.contains("sent unchanged"),
            "{problem:?}"
        );
        assert!(bad.contains(images[4].request.get()), "byte for byte");
    }
}

#[test]
fn request_check_may_be_metadata_and_never_accepts_a_size_without_a_price() {
    let unknown = line(r#""generationConfig":{"newThing":1}"#);
    let sidecar = Sidecar {
        metadata: [("request-check".to_owned(), "warn".to_owned())].into(),
        ..Sidecar::default()
    };
    let context = Context {
        sidecar: &sidecar,
        ..context()
    };
    assert_eq!(read_all(unknown.as_bytes(), &context).1.errors, 0);
    let size = line(r#""generationConfig":{"imageConfig":{"imageSize":"8K"}}"#);
    let (_, reading) = read_all(size.as_bytes(), &context);
    assert_eq!(
        (reading.errors, reading.problems[0].code.as_str()),
        (1, "bad_image_size")
    );
    assert!(
        reading.problems[0]
            .message
            .starts_with("request.generationConfig.imageConfig.imageSize: ")
    );
    let other = r#"{"manifest":{"job":{"request_check":"off"}}}"#.to_owned() + "\n" + &unknown;
    assert!(
        codes(&other).contains(&(1, "bad_value".to_owned())),
        "{:?}",
        codes(&other)
    );
}

#[test]
fn the_requests_of_vertex_and_bedrock_are_checked_too() {
    let vertex = r#"{"request":{"contents":[{"parts":[{"text":"x"}]}],"labels":{"a":"b"}}}"#;
    let bedrock = r#"{"recordId":"a","modelInput":{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"imageConfig":{"imageOutputOptions":{}}}}}"#;
    let errors = |line: &str| {
        problems(line)
            .into_iter()
            .filter(|problem| !problem.contains("missing_key"))
            .collect()
    };
    let vertex: Vec<String> = errors(vertex);
    assert_eq!(
        vertex,
        [
            "1 unknown_request_field request.labels: Gemini's GenerateContentRequest has no such field: only Vertex AI has it, remove it"
        ]
    );
    let bedrock: Vec<String> = errors(bedrock);
    assert_eq!(
        bedrock,
        [
            "1 unknown_request_field modelInput.generationConfig.imageConfig.imageOutputOptions: Gemini's ImageConfig has no \
             such field: only Vertex AI has it, remove it"
        ]
    );
}

#[test]
fn only_uploaded_files_and_objects_in_s3_are_accepted_as_references() {
    for uri in [
        "https://generativelanguage.googleapis.com/v1beta/files/abc-123",
        "https://generativelanguage.googleapis.com/v1/files/abc",
        "http://127.0.0.1:8081/v1beta/files/abc",
        "s3://acme/a.png",
        "refs/a.png",
    ] {
        assert_eq!(problems(&line_with_picture(uri)), [""; 0], "{uri}");
    }
    for uri in [
        "GS://bucket/a.png",
        "https://generativelanguage.googleapis.com/v1beta/files/",
        "https://generativelanguage.googleapis.com/a.png",
        "https://generativelanguage.googleapis.com.example.com/v1beta/files/abc",
        "https://www.youtube.com/watch?v=abc",
        "file:///tmp/a.png",
        "https://",
    ] {
        assert_eq!(
            codes(&line_with_picture(uri)),
            [(1, "unsupported_reference".to_owned())],
            "{uri}"
        );
    }
    for uri in ["data:image/png;base64,AAAA", "files/abc", "../a.png"] {
        assert_eq!(
            codes(&line_with_picture(uri)),
            [(1, "bad_reference".to_owned())],
            "{uri}"
        );
    }
}

#[test]
fn members_next_to_a_request_become_variables() {
    let line = r#"{"key":"a","product_id":"p1","image_candidates":["x", "y"],"price":9.5,"new":true,"none":null,"prompt":"own",
        "count":3,"variant":"red","metadata":{"model":"m","sku":7},"vars":{"sku":8,"nested":{"b":1}},
        "output":{"path":"{product_id}/{sku}"},"request":{"contents":[{"parts":[{"text":"x"}]}]}}"#;
    let image = &images(&line.replace('\n', " "))[0];
    let vars: Vec<(&str, &str)> = image
        .vars
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        vars,
        [
            ("count", "3"),
            ("image_candidates", r#"["x", "y"]"#),
            ("nested", r#"{"b":1}"#),
            ("new", "true"),
            ("own_model", "m"),
            ("own_variant", "red"),
            ("price", "9.5"),
            ("product_id", "p1"),
            ("prompt", "own"),
            ("sku", "7"),
            ("vars_sku", "8"),
        ]
    );
    assert_eq!(
        (
            image.key.as_str(),
            image.path.as_str(),
            image.prompt.as_deref()
        ),
        ("a", "p1/7", Some("x"))
    );
    assert_eq!(image.model, "gemini-nano-banana-2.1");
}

#[test]
fn the_first_name_of_a_key_is_the_key_and_the_others_are_variables() {
    let request = r#""request":{"contents":[{"parts":[{"text":"x"}]}]}"#;
    for (members, key, key_name, own) in [
        (r#""metadata":{"key":"a"}"#, "a", None, None),
        (r#""metadata":{"key":1001}"#, "1001", None, None),
        (
            r#""key":"a","metadata":{"key":"b"}"#,
            "a",
            None,
            Some(("own_key", "b")),
        ),
        (r#""id":7,"key":"a""#, "a", None, Some(("id", "7"))),
        (
            r#""id":7,"custom_id":"b""#,
            "b",
            Some("custom_id"),
            Some(("id", "7")),
        ),
        (r#""key":null,"id":"c""#, "c", Some("id"), None),
        (r#""key":12"#, "12", None, None),
    ] {
        let image = &images(&format!("{{{members},{request}}}"))[0];
        assert_eq!(
            (image.key.as_str(), image.key_name),
            (key, key_name),
            "{members}"
        );
        let vars: Vec<(&str, &str)> = image
            .vars
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(vars, own.into_iter().collect::<Vec<_>>(), "{members}");
    }
    for members in [
        r#""key":["a"]"#,
        r#""key":true"#,
        r#""metadata":{"key":{}}"#,
    ] {
        assert!(
            codes(&format!("{{{members},{request}}}")).contains(&(1, "bad_value".to_owned())),
            "{members}"
        );
    }
}

#[test]
fn a_key_may_be_made_of_the_members_next_to_a_request() {
    let lines = r#"{"manifest":{"defaults":{"key":"{sku}"}}}
{"sku":"p1","request":{"contents":[{"parts":[{"text":"x"}]}]}}
{"sku":"p2","key":"own","request":{"contents":[{"parts":[{"text":"x"}]}]}}
"#;
    assert_eq!(keys(&images(lines)), ["p1", "own"]);
    let without = r#"{"manifest":{"defaults":{"key":"{sku}"}}}
{"request":{"contents":[{"parts":[{"text":"x"}]}]}}
"#;
    assert_eq!(codes(without)[0], (2, "missing_variable".to_owned()));
}

#[test]
fn settings_of_the_image_are_refused_next_to_a_request() {
    for member in [
        r#""n":2"#,
        r#""aspectRatio":"4:5""#,
        r#""image_size":"2K""#,
        r#""seed":1"#,
        r#""thinking":"high""#,
    ] {
        let line = format!(
            r#"{{"key":"a",{member},"request":{{"contents":[{{"parts":[{{"text":"x"}}]}}]}}}}"#
        );
        assert_eq!(
            codes(&line),
            [(1, "misplaced_field".to_owned())],
            "{member}"
        );
    }
}

#[test]
fn a_retry_line_repeats_the_callers_members() {
    let line = r#"{"key":"a","sku":"p1","request":{"contents":[{"parts":[{"text":"x"}]}]}}"#;
    let first = &images(line)[0];
    let again = &images(&first.retry.as_ref().unwrap().to_string())[0];
    assert_eq!(
        (&first.vars, &first.key, first.request.get()),
        (&again.vars, &again.key, again.request.get())
    );
}

#[test]
fn each_of_several_images_has_a_different_seed() {
    let seeds = |manifest: &str| -> Vec<i64> {
        let (images, reading) = read_all(manifest.as_bytes(), &context());
        assert_eq!(reading.errors, 0, "{:?}", reading.problems);
        let seed = |request: &str| serde_json::from_str::<serde_json::Value>(request).unwrap();
        images
            .iter()
            .map(|image| {
                seed(image.request.get())["generationConfig"]["seed"]
                    .as_i64()
                    .unwrap()
            })
            .collect()
    };
    assert_eq!(
        seeds(r#"{"key":"a","prompt":"A red shoe","n":3,"seed":7}"#),
        [7, 8, 9]
    );
    assert_eq!(
        seeds(r#"{"recordId":"a","modelInput":{"prompt":"x","n":2,"seed":-1}}"#),
        [-1, 0]
    );
    assert_eq!(
        seeds(r#"{"key":"a","prompt":"x","n":2,"seed":2147483646}"#),
        [i64::from(i32::MAX) - 1, i64::from(i32::MAX)]
    );
    assert_eq!(
        seeds(r#"{"matrix":{"seed":[1,5]},"defaults":{"prompt":"x","n":2}}"#),
        [1, 2, 5, 6]
    );
    let found =
        problems(r#"{"key":"a","prompt":"x","n":3,"seed":2147483646,"model":"nano-banana-pro"}"#);
    assert_eq!(
        found,
        [
            "1 bad_value each of the 3 images has the next seed, and counting up from 2147483646 exceeds \
          2147483647: use 2147483645 or less"
        ]
    );
    // A retry uses the same seed.
    let third = &images(r#"{"key":"a","prompt":"x","n":3,"seed":7,"model":"nano-banana-pro"}"#)[2];
    assert_eq!(seeds(&third.retry.as_ref().unwrap().to_string()), [9]);
}

#[test]
fn a_thinking_level_is_checked_against_the_model_and_sent() {
    for (model, level, refused) in [
        ("nano-banana-2", "minimal", None),
        ("nano-banana-2", "HIGH", None),
        (
            "nano-banana-2",
            "low",
            Some("doesn't accept thinking low: use minimal, medium, high"),
        ),
        ("nano-banana-2-lite", "high", None),
        (
            "nano-banana-2-lite",
            "medium",
            Some("doesn't accept thinking medium: use minimal, high"),
        ),
        (
            "nano-banana-pro",
            "high",
            Some("accepts no thinking level: remove it"),
        ),
        (
            "nano-banana-2",
            "much",
            Some(r#"thinking must be minimal, low, medium or high, not "much""#),
        ),
    ] {
        for name in ["thinking", "thinking_level", "thinkingLevel"] {
            let item =
                format!(r#"{{"key":"a","prompt":"x","model":"{model}","{name}":"{level}"}}"#);
            let found = problems(&item);
            match refused {
                None => {
                    assert_eq!(found, [""; 0], "{item}");
                    let config = format!(
                        r#""thinkingConfig":{{"thinkingLevel":"{}"}}"#,
                        level.to_uppercase()
                    );
                    assert!(images(&item)[0].request.get().contains(&config), "{item}");
                }
                Some(_) if name != "thinking" => assert_eq!(found.len(), 1, "{item}"),
                Some(refused) => assert!(
                    found.len() == 1 && found[0].contains(refused),
                    "{item}: {found:?}"
                ),
            }
        }
    }
}

#[test]
fn a_thinking_level_may_come_from_any_source_of_fields_and_decides_the_cost() {
    let sidecar = |name: &str, value: &str| Sidecar {
        metadata: [(name.to_owned(), value.to_owned())].into(),
        ..Sidecar::default()
    };
    let (thinking, nothing) = (sidecar("thinking", "high"), Sidecar::default());
    for (manifest, sidecar) in [
        ("key,prompt,thinking\na,x,high\n", &nothing),
        ("key,prompt\na,x\n", &thinking),
        (
            r#"{"defaults":{"thinking":"high"},"items":[{"key":"a","prompt":"x"}]}"#,
            &nothing,
        ),
        (
            r#"{"templates":{"t":{"prompt":"x","thinking":"high"}},"items":[{"key":"a","template":"t"}]}"#,
            &nothing,
        ),
        (
            r#"{"matrix":{"thinking":["high"]},"defaults":{"prompt":"x"}}"#,
            &nothing,
        ),
    ] {
        let (images, reading) = read_all(
            manifest.as_bytes(),
            &Context {
                sidecar,
                ..context()
            },
        );
        assert_eq!(
            (reading.errors, images.len()),
            (0, 1),
            "{manifest}: {:?}",
            reading.problems
        );
        assert_eq!(
            images[0].thinking.map(|level| level.name()),
            Some("high"),
            "{manifest}"
        );
        assert_eq!(reading.breakdown.thinking().max_tokens, 2_000, "{manifest}");
        assert!(
            images[0].ceiling_usd > "0.028".parse().unwrap(),
            "{manifest}"
        );
    }
    let native = line(r#""generationConfig":{"thinkingConfig":{"thinking_level":"Minimal"}}"#);
    let (images, reading) = read_all(native.as_bytes(), &context());
    assert_eq!(
        (images[0].thinking.map(|level| level.name()), reading.errors),
        (Some("minimal"), 0)
    );
    assert_eq!(reading.breakdown.thinking().max_tokens, 200);
}

#[test]
fn a_path_with_the_extension_of_another_format_is_reported_once() {
    let table = "key,prompt,output.path\na,x,shop/1.png\nb,x,shop/2.PNG\nc,x,shop/3.jpg\nd,x,shop/{key}.{ext}\ne,x,plain\n";
    assert_eq!(
        problems(table),
        [
            "2 other_extension gemini-nano-banana-2.1 makes image/jpeg images, so paths that end in .png will end in .jpg \
          instead: end output.path in .{ext}, or convert the images afterwards"
        ]
    );
    let by_default = r#"{"defaults":{"output":{"path":"{file}"}},"items":[
        {"key":"a","prompt":"x","vars":{"file":"a.webp"}},{"key":"b","prompt":"x","vars":{"file":"b.webp"}}]}"#;
    let other = |codes: Vec<(u64, String)>| {
        codes
            .iter()
            .filter(|(_, code)| code == "other_extension")
            .count()
    };
    assert_eq!(other(codes(by_default)), 1);
    assert_eq!(
        other(codes("key,prompt\na.png,x\n")),
        0,
        "a key asks for no format"
    );
}
