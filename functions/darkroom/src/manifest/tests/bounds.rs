//! The bounds of a manifest, and where reading stops.

use std::io::Write;

use super::*;

fn with_limits(limits: Limits) -> Context<'static> {
    Context {
        limits,
        ..context()
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_number_of_images_is_bounded() {
    let context = with_limits(Limits {
        images: 6,
        ..Limits::default()
    });
    let forms: [fn(usize) -> String; 3] = [
        |items| {
            "key,prompt,n\n".to_owned()
                + &(0..items)
                    .map(|key| format!("k{key},x,2\n"))
                    .collect::<String>()
        },
        |items| {
            (0..items)
                .map(|key| format!("{{\"key\":\"k{key}\",\"prompt\":\"x\",\"n\":2}}\n"))
                .collect()
        },
        |items| {
            let values: Vec<usize> = (0..items).collect();
            let matrix = serde_json::json!({"scene": values});
            serde_json::json!({"defaults": {"template": "t", "n": 2}, "templates": {"t": "a {scene}"}, "matrix": matrix})
                .to_string()
        },
    ];
    for form in forms {
        let (images, reading) = read_all(form(3).as_bytes(), &context);
        assert_eq!(
            (images.len(), reading.errors),
            (6, 0),
            "{:?}",
            reading.problems
        );
        let (images, reading) = read_all(form(4).as_bytes(), &context);
        assert_eq!((images.len(), reading.errors), (6, 1));
        assert_eq!(reading.problems.last().unwrap().code, "too_many_images");
        assert!(
            reading
                .problems
                .last()
                .unwrap()
                .message
                .contains("more than 6 images")
        );
    }
}

#[test]
fn after_too_many_errors_the_rest_is_only_counted() {
    let context = with_limits(Limits {
        problems: 10,
        ..Limits::default()
    });
    let bad = "a,\n".repeat(1_000);
    let table = format!("key,prompt\n{bad}");
    let lines = "{\"key\":\"a\"}\n".repeat(1_000);
    let array = format!(
        "[{}]",
        "{\"key\":\"a\"},\n".repeat(1_000).trim_end_matches(",\n")
    );
    let never_closed = format!("[{}{{", "{\"key\":\"a\"},\n".repeat(1_000));
    // The first line has one error and each other line two, so the sixth is the last that is read.
    for (manifest, last, all) in [
        (table.as_bytes(), 7, 1_001),
        (lines.as_bytes(), 6, 1_000),
        (array.as_bytes(), 6, 1_000),
        (never_closed.as_bytes(), 6, 1_001),
        (&gzip(&table), 7, 1_001),
    ] {
        let (_, reading) = read_all(manifest, &context);
        assert_eq!(reading.errors, 11);
        let problem = reading
            .problems
            .iter()
            .find(|problem| problem.code == "lines_not_read")
            .unwrap();
        assert_eq!(
            (problem.line, problem.severity),
            (last + 1, Severity::Error)
        );
        let expected = format!("{} lines were skipped", all - last);
        assert!(
            problem.message.contains(&expected),
            "{} instead of {expected}",
            problem.message
        );
        assert!(reading.problems.len() == 11, "{:?}", reading.problems);
    }
}

#[test]
fn unread_lines_are_not_reported_if_there_are_none() {
    let context = with_limits(Limits {
        problems: 10,
        ..Limits::default()
    });
    for manifest in [
        "a,\n".repeat(6),
        "a,\n".repeat(5) + "b,",
        "a,x\n".to_owned() + &"a,\n".repeat(4) + "a,y\nb,x\n",
    ] {
        let (_, reading) = read_all(format!("key,prompt\n{manifest}").as_bytes(), &context);
        assert!(
            reading
                .problems
                .iter()
                .all(|problem| problem.code != "lines_not_read"),
            "{:?}",
            reading.problems
        );
    }
}

#[test]
fn an_image_too_large_for_a_batch_is_an_error_with_its_line_and_what_to_do() {
    let bounds = BatchBounds {
        usd: Some("0.03".parse().unwrap()),
        folder: None,
        tokens: BTreeMap::from([("gemini-3-pro-image".to_owned(), 2_000)]),
    };
    let context = Context {
        bounds: &bounds,
        ..context()
    };
    let table = "key,prompt,model,image_size,refs\n\
                 cheap,x,,1K,\n\
                 dear,x,,4K,\n\
                 long,x,nano-banana-pro,,refs/a.png|refs/b.png\n";
    let (images, reading) = read_all(table.as_bytes(), &context);
    assert_eq!(images.len(), 1);
    let found: Vec<(u64, Option<&str>, &str)> = reading
        .problems
        .iter()
        .map(|problem| (problem.line, problem.key.as_deref(), problem.code.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (3, Some("dear"), "over_daily_cap"),
            (4, Some("long"), "over_daily_cap")
        ]
    );
    let tokens_only = Context {
        bounds: &BatchBounds {
            usd: None,
            ..bounds.clone()
        },
        ..context
    };
    let (_, reading) = read_all(table.as_bytes(), &tokens_only);
    assert_eq!(reading.problems.len(), 1);
    assert_eq!(
        (reading.problems[0].line, reading.problems[0].code.as_str()),
        (4, "over_token_limit")
    );
}

#[test]
fn a_budget_must_cover_the_most_that_the_images_can_cost() {
    // An image is expected to cost $0.0168 and a few tokens. With a thousand thinking tokens it
    // costs $0.0203.
    let manifest = |budget: &str| {
        format!(
            r#"{{"job":{{"budget_usd":{budget}}},"items":[{{"key":"a","prompt":"a shoe","n":10}}]}}"#
        )
    };
    let (_, reading) = read_all(manifest("0.20").as_bytes(), &context());
    assert_eq!(
        (reading.errors, reading.problems[0].code.as_str()),
        (1, "over_budget")
    );
    let message = &reading.problems[0].message;
    for expected in [
        "up to $0.2029",
        "about $0.168",
        "budget_usd $0.20",
        "raise it to $0.21",
    ] {
        assert!(message.contains(expected), "{message}");
    }
    let (images, reading) = read_all(manifest("0.21").as_bytes(), &context());
    assert_eq!((reading.errors, images.len()), (0, 10));
    assert_eq!(
        images.iter().map(|image| image.ceiling_usd).sum::<Usd>(),
        reading.ceiling_usd
    );
}

/// Comparing each column with all others would take minutes.
#[test]
fn a_table_may_have_as_many_columns_as_a_sheet_in_excel() {
    let columns: usize = 16_382;
    let header: String = (0..columns)
        .map(|number| format!(",Product Property {number}"))
        .collect();
    let row: String = (0..columns).map(|number| format!(",v{number}")).collect();
    let rows: String = (0..100).map(|key| format!("k{key},x{row}\n")).collect();
    let images = images(&format!("key,prompt{header}\n{rows}"));
    assert_eq!((images.len(), images[99].vars.len()), (100, columns));
}
