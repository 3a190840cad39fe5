//! Every format and dialect that a manifest may have.

use std::io::Write;

use super::*;

const CSV: &str = "key,prompt,refs,aspect_ratio\nSKU-1,\"a shoe, \"\"canvas\"\"\",refs/a.jpg|s3://acme/b.png,4:5\nSKU-2,a bag,,\n";

#[test]
fn csv_cells_become_fields() {
    let images = images(CSV);
    assert_eq!(keys(&images), ["SKU-1", "SKU-2"]);
    assert_eq!(images[0].prompt.as_deref(), Some("a shoe, \"canvas\""));
    let refs: Vec<String> = images[0].refs.iter().map(ToString::to_string).collect();
    assert_eq!(refs, ["s3://studio/refs/a.jpg", "s3://acme/b.png"]);
    assert_eq!(
        (
            images[0].aspect_ratio.as_deref(),
            images[1].aspect_ratio.as_deref()
        ),
        (Some("4:5"), None)
    );
    assert_eq!((images[0].line, images[1].line), (2, 3));
    assert_eq!(
        (images[0].model.as_str(), &images[0].model_asked),
        ("gemini-nano-banana-2.1", &None)
    );
}

#[test]
fn the_content_determines_the_format_whatever_surrounds_it() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(CSV.as_bytes()).unwrap();
    let forms = [
        CSV.as_bytes().to_vec(),
        format!("\u{feff}{CSV}").into_bytes(),
        CSV.replace('\n', "\r\n").into_bytes(),
        CSV.replace('\n', "\r").into_bytes(),
        format!("{CSV}\n\n,,,\n \n").into_bytes(),
        CSV.trim_end().as_bytes().to_vec(),
        gzip.finish().unwrap(),
    ];
    for form in forms {
        let (images, reading) = read_all(&form, &context());
        assert_eq!(
            (keys(&images), reading.errors),
            (vec!["SKU-1", "SKU-2"], 0),
            "{:?}",
            reading.problems
        );
        assert_eq!((images[0].line, images[1].line), (2, 3));
    }
}

#[test]
fn csv_may_be_separated_by_tabs_or_semicolons() {
    for delimiter in ["\t", ";"] {
        let table = "key,prompt\na,one\n".replace(',', delimiter);
        assert_eq!(keys(&images(&table)), ["a"]);
    }
}

#[test]
fn csv_lines_are_physical_lines() {
    let table = "\n\nkey,prompt\n\na,\"one\ntwo\nthree\"\n\n\nb,two\n\"c\",\"x\ny\"";
    for table in [table.to_owned(), table.replace('\n', "\r\n")] {
        let lines: Vec<(String, u64)> = images(&table)
            .iter()
            .map(|image| (image.item.clone(), image.line))
            .collect();
        assert_eq!(
            lines,
            [
                ("a".to_owned(), 5),
                ("b".to_owned(), 10),
                ("c".to_owned(), 11)
            ]
        );
    }
}

#[test]
fn json_lines_array_and_envelope_are_equivalent() {
    let lines = "{\"key\":\"a\",\"prompt\":\"one\"}\r\n\n{\"id\":\"b\",\"prompt\":\"two\",\"aspectRatio\":\"1:1\"}\n \n";
    let array = "\u{feff}\n [\n{\"key\":\"a\",\"prompt\":\"one\"},\n{\"id\":\"b\",\n\"prompt\":\"two\",\"aspectRatio\":\"1:1\"}]\n";
    let envelope = format!(
        "{{\"version\":1,\n\"items\":{}}}",
        array.trim_start_matches('\u{feff}').trim()
    );
    for manifest in [lines, array, &envelope] {
        let images = images(manifest);
        assert_eq!(keys(&images), ["a", "b"], "{manifest}");
        assert_eq!(images[1].aspect_ratio.as_deref(), Some("1:1"));
    }
    assert_eq!(images(lines)[1].line, 3);
    assert_eq!((images(array)[0].line, images(array)[1].line), (3, 4));
    assert_eq!(images(&envelope)[1].line, 4);
}

#[test]
fn an_envelope_may_give_its_defaults_after_its_items() {
    let envelope = r#"{"items":[{"key":"a","prompt":"one"},{"key":"b","prompt":"two","image_size":"4K","refs":[]}],
        "defaults":{"model":"nano-banana-pro","image_size":"2K","refs":["refs/a.png"],"output":{"path":"x/{key}"}},
        "job":{"name":"spring","run":2,"budget_usd":10},"version":1}"#;
    let images = images(envelope);
    assert_eq!(images[0].model, "gemini-3-pro-image");
    assert_eq!(
        (
            images[0].image_size.as_deref(),
            images[1].image_size.as_deref()
        ),
        (Some("2K"), Some("4K"))
    );
    assert_eq!(
        (images[0].refs.len(), images[1].refs.len()),
        (1, 0),
        "an empty list is a list"
    );
    assert_eq!(images[0].path, "x/a");
    let header = Header::read(envelope.as_bytes(), &context()).unwrap();
    assert_eq!(
        *header.job(),
        Job {
            name: Some("spring".to_owned()),
            budget_usd: Some("10".parse().unwrap()),
            ..Job::default()
        }
    );
}

#[test]
fn json_lines_may_begin_with_a_header() {
    let lines = "{\"manifest\":{\"version\":1,\"defaults\":{\"model\":\"nano-banana-pro\"}}}\n{\"key\":\"a\",\"prompt\":\"one\"}\n";
    let images = images(lines);
    assert_eq!(
        (keys(&images), images[0].model.as_str()),
        (vec!["a"], "gemini-3-pro-image")
    );
    let late = "{\"key\":\"a\",\"prompt\":\"one\"}\n{\"manifest\":{}}\n";
    assert_eq!(codes(late)[0], (2, "misplaced_header".to_owned()));
    let more =
        "{\"manifest\":{},\"key\":\"a\",\"prompt\":\"lost\"}\n{\"key\":\"b\",\"prompt\":\"one\"}\n";
    assert_eq!(codes(more), [(1, "not_an_item".to_owned())]);
}

#[test]
fn dialects_may_be_mixed() {
    let request = r#"{"contents":[{"parts":[{"text":"a cat"},{"file_data":{"mime_type":"image/png","file_uri":"refs/a.png"}}]}],
        "generation_config":{"image_config":{"aspect_ratio":"16:9","image_size":"2K"}, "temperature" : 1.0}}"#;
    let request = request.replace("\n        ", "  ");
    let lines = format!(
        "{{\"key\":\"a\",\"prompt\":\"one\"}}\n{{ \"request\" : {request}, \"key\":\"b\",\"model\":\"models/gemini-3-pro-image\"}}\n"
    );
    let images = images(&lines);
    assert_eq!(keys(&images), ["a", "b"]);
    assert_eq!(images[1].request.get(), request, "byte for byte");
    assert_eq!(images[1].model, "gemini-3-pro-image");
    assert_eq!(
        (
            images[1].aspect_ratio.as_deref(),
            images[1].image_size.as_deref()
        ),
        (Some("16:9"), Some("2K"))
    );
    assert_eq!(images[1].refs[0].to_string(), "s3://studio/refs/a.png");
    assert_eq!(images[1].prompt.as_deref(), Some("a cat"));
    assert_eq!(images[1].input_tokens, 2 + 1120);
}

#[test]
fn only_the_model_is_removed_from_a_native_request() {
    let line = r#"{"key":"a","request":{"model": "models/gemini-3-pro-image", "contents" : [ {"parts":[{"text":"x"}]} ], "store": false}}"#;
    let image = &images(line)[0];
    assert_eq!(image.model, "gemini-3-pro-image");
    assert_eq!(
        image.request.get(),
        r#"{"contents":[ {"parts":[{"text":"x"}]} ],"store":false}"#
    );
    let two = line.replace("\"key\"", "\"model\":\"nano-banana-2\",\"key\"");
    assert_eq!(codes(&two)[0].1, "bad_request");
}

#[test]
fn several_images_get_numbered_keys_and_paths() {
    let table = "key,prompt,n,output.path\na,one,3,\nb,two,2,shop/b.jpg\nc,three,2,{key}/x\n";
    let images = images(table);
    assert_eq!(
        keys(&images),
        [
            "a.v01", "a.v02", "a.v03", "b.v01", "b.v02", "c.v01", "c.v02"
        ]
    );
    let paths: Vec<&str> = images.iter().map(|image| image.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "a.v01",
            "a.v02",
            "a.v03",
            "shop/b.v01.jpg",
            "shop/b.v02.jpg",
            "c.v01/x",
            "c.v02/x"
        ]
    );
    assert_eq!((images[1].item.as_str(), images[1].variant), ("a", 2));
}

#[test]
fn an_item_without_a_key_is_named_by_its_position() {
    let (images, reading) = read_all(b"prompt\none\n\ntwo\n", &context());
    assert_eq!(keys(&images), ["line-000002", "line-000004"]);
    assert_eq!((reading.errors, reading.warnings), (0, 1));
    assert_eq!(
        keys(&super::images(r#"[{"prompt":"one"},{"prompt":"two"}]"#)),
        ["item-000001", "item-000002"]
    );
    let native = r#"{"request":{"contents":[{"parts":[{"text":"x"}]}]}}"#;
    assert_eq!(keys(&super::images(native)), ["line-000001"]);
}

#[test]
fn families_are_resolved_and_reported() {
    let (images, reading) = read_all(
        b"key,prompt,model\na,one,nano-banana-pro\nb,two,\n",
        &context(),
    );
    assert_eq!(images[0].model_asked.as_deref(), Some("nano-banana-pro"));
    let aliases: Vec<(&str, &str)> = reading
        .aliases
        .iter()
        .map(|(alias, model)| (alias.as_str(), model.as_str()))
        .collect();
    assert_eq!(
        aliases,
        [
            ("nano-banana-2", "gemini-nano-banana-2.1"),
            ("nano-banana-pro", "gemini-3-pro-image")
        ]
    );
    assert_eq!(reading.images, 2);
    assert_eq!(reading.estimate, images[0].estimate + images[1].estimate);
}
