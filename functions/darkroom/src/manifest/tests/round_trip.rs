//! Round trips: an item is read as it was meant, whatever its format and dialect.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::lane::Lane;

/// The intended meaning of an item.
#[derive(Clone, Debug)]
struct Meant {
    key: String,
    prompt: String,
    count: u32,
    aspect_ratio: Option<&'static str>,
    image_size: Option<&'static str>,
    refs: Vec<String>,
    system: Option<String>,
    seed: Option<i32>,
    temperature: Option<f64>,
    thinking: Option<&'static str>,
    lane: Option<&'static str>,
    path: Option<String>,
}

impl Meant {
    fn json(&self) -> Value {
        let mut item =
            json!({"key": self.key, "prompt": self.prompt, "n": self.count, "refs": self.refs});
        item["aspect_ratio"] = json!(self.aspect_ratio);
        item["imageSize"] = json!(self.image_size);
        item["system"] = json!(self.system);
        item["seed"] = json!(self.seed);
        item["temperature"] = json!(self.temperature);
        item["thinking"] = json!(self.thinking);
        item["lane"] = json!(self.lane);
        if let Some(path) = &self.path {
            item["output"] = json!({"path": path});
        }
        item
    }

    fn without_key(&self) -> Value {
        let mut item = self.json();
        item["key"] = Value::Null;
        item
    }

    /// The size is given in the pixels of the model for it.
    fn openai(&self) -> Value {
        let model = CATALOG.model("gemini-3-pro-image").unwrap();
        let (width, height) = model
            .pixels(self.aspect_ratio.unwrap_or("1:1"), self.image_size)
            .unwrap();
        let size = format!("{width}x{height}");
        let body = json!({"model": model.id, "prompt": self.prompt, "n": self.count, "size": size});
        json!({"custom_id": self.key, "method": "POST", "url": "/v1/images/generations", "body": body})
    }

    fn native(&self) -> Value {
        let mut parts = vec![json!({"text": self.prompt})];
        parts.extend(
            self.refs
                .iter()
                .map(|uri| json!({"file_data": {"file_uri": uri}})),
        );
        let mut image = json!({});
        if let Some(ratio) = self.aspect_ratio {
            image["aspectRatio"] = json!(ratio);
        }
        if let Some(size) = self.image_size {
            image["image_size"] = json!(size);
        }
        let request =
            json!({"contents": [{"parts": parts}], "generationConfig": {"imageConfig": image}});
        json!({"key": self.key, "lane": self.lane, "request": request})
    }
}

fn csv(items: &[Meant], end: csv::Terminator, delimiter: u8) -> Vec<u8> {
    let mut table = csv::WriterBuilder::new()
        .terminator(end)
        .delimiter(delimiter)
        .from_writer(Vec::new());
    let header = [
        "key",
        "prompt",
        "n",
        "aspectRatio",
        "image_size",
        "refs",
        "system",
        "seed",
        "temperature",
        "thinkingLevel",
        "Lane",
    ];
    table
        .write_record(header.into_iter().chain(["output.path"]))
        .unwrap();
    for item in items {
        let text = |value: Option<String>| value.unwrap_or_default();
        let cells = [
            item.key.clone(),
            item.prompt.clone(),
            item.count.to_string(),
            text(item.aspect_ratio.map(str::to_owned)),
            text(item.image_size.map(str::to_owned)),
            item.refs.join("|"),
            text(item.system.clone()),
            text(item.seed.map(|seed| seed.to_string())),
            text(item.temperature.map(|temperature| temperature.to_string())),
            text(item.thinking.map(str::to_uppercase)),
            text(item.lane.map(str::to_owned)),
            text(item.path.clone()),
        ];
        table.write_record(cells).unwrap();
    }
    table.into_inner().unwrap()
}

/// The same prompts, each as a template that a column fills in. The key is a default.
fn by_template(items: &[Meant]) -> Vec<u8> {
    let lines = items.iter().map(|item| {
        let mut line = item.without_key();
        let (start, end) = item.prompt.split_at(1);
        line["prompt"] = Value::Null;
        line["template"] = json!(format!(
            "{}{{The Rest|missing}}",
            crate::manifest::resolve::template::literal(start)
        ));
        line["vars"] = json!({"the-rest": end, "sku": item.key});
        line
    });
    let header = json!({"manifest": {"version": 1, "defaults": {"key": "{sku}"}}});
    json_lines(std::iter::once(header).chain(lines))
}

fn json_lines(items: impl Iterator<Item = Value>) -> Vec<u8> {
    items
        .flat_map(|item| format!("{item}\n").into_bytes())
        .collect()
}

/// Texts that every format must preserve. They have no blanks at the ends, which CSV cells lose.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "B",
        "é",
        "東",
        " ",
        ",",
        "\"",
        "\n",
        ";",
        "|",
        "{",
        "\\",
        "'",
        "\u{1f98a}",
        "=",
    ]);
    prop::collection::vec(piece, 1..12).prop_map(|pieces| format!("x{}x", pieces.concat()))
}

fn meant() -> impl Strategy<Value = Vec<Meant>> {
    let path = prop::option::of(prop::sample::select(vec![
        "x/{key}.{ext}",
        "{variant}-{model}/{key}",
        "{{{key}}}",
        "{key}",
    ]));
    let item = (
        text(),
        1_u32..4,
        prop::option::of(prop::sample::select(vec!["1:1", "4:5", "16:9"])),
        prop::option::of(prop::sample::select(vec!["1K", "2K"])),
        prop::collection::vec(
            "(s3://acme/[a-z]{1,5}|refs)/[a-z ]{1,5}[a-z]\\.(png|jpg)",
            0..3,
        ),
        prop::option::of(text()),
        prop::option::of(i32::MIN..i32::MAX - 2),
        prop::option::of((0..=20_u32).prop_map(|tenths| f64::from(tenths) / 10.0)),
        (
            prop::option::of(prop::sample::select(vec!["minimal", "medium", "high"])),
            prop::option::of(prop::sample::select(vec!["batch", "interactive", "auto"])),
            path,
        ),
    );
    prop::collection::vec((text(), item), 1..6).prop_map(|items| {
        let meant = items.into_iter().enumerate().map(|(number, (key, item))| {
            let (
                prompt,
                count,
                aspect_ratio,
                image_size,
                refs,
                system,
                seed,
                temperature,
                (thinking, lane, path),
            ) = item;
            let key = format!("{number}{}", key.replace('\n', ""));
            let path = path.map(str::to_owned);
            Meant {
                key,
                prompt,
                count,
                aspect_ratio,
                image_size,
                refs,
                system,
                seed,
                temperature,
                thinking,
                lane,
                path,
            }
        });
        meant.collect()
    })
}

fn read_clean(manifest: &[u8]) -> Vec<PlannedImage> {
    let (images, reading) = read_all(manifest, &context());
    // Not every model accepts the generated values.
    let told = reading
        .problems
        .iter()
        .filter(|problem| problem.code != "unsupported_control");
    assert_eq!(told.count(), 0, "{:#?}", reading.problems);
    images
}

/// What two readings of the same image have in common, whatever their format.
fn essence(image: &PlannedImage) -> Value {
    json!({
        "key": image.key, "item": image.item, "variant": image.variant, "model": image.model, "path": image.path,
        "aspect_ratio": image.aspect_ratio, "image_size": image.image_size, "refs": image.refs, "prompt": image.prompt,
        "request": image.request, "lane": image.lane, "estimate": image.estimate, "retry": image.retry,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_format_reads_back_as_it_was_meant(items in meant()) {
        let array = serde_json::to_vec_pretty(&items.iter().map(Meant::json).collect::<Vec<_>>()).unwrap();
        let envelope = format!("{{\"items\":{},\"version\":1}}", String::from_utf8(array.clone()).unwrap());
        let lines = json_lines(items.iter().map(Meant::json));
        let images = read_clean(&lines);
        prop_assert_eq!(images.len(), items.iter().map(|item| item.count as usize).sum::<usize>());
        for image in &images {
            let item = items.iter().find(|item| item.key == image.item).unwrap();
            prop_assert_eq!(image.prompt.as_ref(), Some(&item.prompt));
            prop_assert_eq!(image.aspect_ratio.as_deref(), item.aspect_ratio);
            prop_assert_eq!(image.image_size.as_deref(), item.image_size);
            let refs: Vec<String> = item.refs.iter().map(|text| match text.strip_prefix("s3://") {
                Some(_) => text.clone(),
                None => format!("s3://studio/{text}"),
            }).collect();
            prop_assert_eq!(image.refs.iter().map(ToString::to_string).collect::<Vec<_>>(), refs);
            let request: Value = serde_json::from_str(image.request.get()).unwrap();
            prop_assert_eq!(request["generationConfig"]["seed"].as_i64(), item.seed.map(|seed| i64::from(seed) + i64::from(image.variant) - 1));
            let thinking = request["generationConfig"]["thinkingConfig"]["thinkingLevel"].as_str().map(str::to_lowercase);
            prop_assert_eq!(thinking.as_deref(), item.thinking);
            // Without a time limit, images with the lane auto are made in batches.
            prop_assert_eq!(image.lane.name(), item.lane.filter(|lane| *lane != "auto").unwrap_or("batch"));
            prop_assert_eq!(request["generationConfig"]["temperature"].as_f64(), item.temperature);
            prop_assert_eq!(request["systemInstruction"]["parts"][0]["text"].as_str(), item.system.as_deref());
        }
        let meant: Vec<Value> = images.iter().map(essence).collect();
        for form in [
            array,
            envelope.into_bytes(),
            csv(&items, csv::Terminator::CRLF, b','),
            csv(&items, csv::Terminator::Any(b'\n'), b','),
            csv(&items, csv::Terminator::Any(b'\n'), b'\t'),
            csv(&items, csv::Terminator::CRLF, b';'),
            by_template(&items),
        ] {
            let found: Vec<Value> = read_clean(&form).iter().map(essence).collect();
            prop_assert_eq!(&found, &meant);
        }
    }

    #[test]
    fn lines_of_other_services_read_back_as_they_were_meant(items in meant()) {
        let openai = read_clean(&json_lines(items.iter().map(Meant::openai)));
        let expected: Vec<(&str, &str, u32)> =
            items.iter().flat_map(|item| (1..=item.count).map(|variant| (&*item.key, &*item.prompt, variant))).collect();
        let found: Vec<(&str, &str, u32)> =
            openai.iter().map(|image| (&*image.item, image.prompt.as_deref().unwrap(), image.variant)).collect();
        prop_assert_eq!(found, expected);
        let shapes = items.iter().flat_map(|item| vec![(item.aspect_ratio, item.image_size); item.count as usize]);
        for (image, (ratio, size)) in openai.iter().zip(shapes) {
            let shape = (image.aspect_ratio.as_deref(), image.image_size.as_deref());
            prop_assert_eq!(shape, (Some(ratio.unwrap_or("1:1")), Some(size.unwrap_or("1K"))));
            prop_assert_eq!(image.key_name, Some("custom_id"));
        }
        let friendly = read_clean(&json_lines(items.iter().map(Meant::json)));
        let records = json_lines(items.iter().map(|item| json!({"recordId": item.key, "modelInput": item.without_key()})));
        for (image, record) in friendly.iter().zip(&read_clean(&records)) {
            prop_assert_eq!((&image.key, image.request.get()), (&record.key, record.request.get()));
        }
        // An item without a key is named by its line, with a warning.
        let (vertex, _) =
            read_all(&json_lines(items.iter().map(|item| json!({"request": item.native()["request"]}))), &context());
        let bedrock =
            json_lines(items.iter().map(|item| json!({"recordId": item.key, "modelInput": item.native()["request"]})));
        for ((image, record), item) in vertex.iter().zip(&read_clean(&bedrock)).zip(&items) {
            let request = item.native()["request"].to_string();
            prop_assert_eq!((image.request.get(), record.request.get()), (&*request, &*request));
            prop_assert_eq!(record.key.as_str(), &item.key);
        }
    }

    #[test]
    fn no_two_images_share_a_path_even_if_case_is_ignored(items in meant()) {
        let images = read_clean(&json_lines(items.iter().map(Meant::json)));
        let mut paths = crate::image_paths::ImagePaths::default();
        let mut seen = std::collections::HashSet::new();
        for image in &images {
            let path = paths.assign(&image.path, &image.key);
            prop_assert!(seen.insert(path.to_lowercase()), "{path}");
        }
    }

    #[test]
    fn native_lines_read_back_byte_for_byte(items in meant()) {
        let lines: Vec<Value> = items.iter().map(Meant::native).collect();
        let images = read_clean(&json_lines(lines.iter().cloned()));
        for ((image, line), item) in images.iter().zip(&lines).zip(&items) {
            prop_assert_eq!(image.request.get(), line["request"].to_string());
            prop_assert_eq!(image.key.as_str(), &item.key);
            prop_assert_eq!(image.refs.len(), item.refs.len());
            prop_assert_eq!(image.image_size.as_deref(), item.image_size);
            prop_assert_eq!(image.lane == Lane::Interactive, item.lane == Some("interactive"));
        }
    }

    #[test]
    fn a_retry_line_asks_for_the_same_image_again(items in meant()) {
        let native = items.iter().map(|item| {
            let mut line = item.native();
            line["key"] = json!(format!("native {}", item.key));
            if let Some(path) = &item.path {
                line["output"] = json!({"path": path});
            }
            line
        });
        let first = read_clean(&json_lines(items.iter().map(Meant::json).chain(native)));
        let again = read_clean(&json_lines(first.iter().map(|image| image.retry.clone().unwrap())));
        prop_assert_eq!(first.len(), again.len());
        for (first, again) in first.iter().zip(&again) {
            prop_assert_eq!(&first.key, &again.key);
            prop_assert_eq!(&first.path, &again.path);
            prop_assert_eq!(&first.model, &again.model);
            prop_assert_eq!(&first.refs, &again.refs);
            prop_assert_eq!(first.lane, again.lane);
            prop_assert_eq!(first.request.get(), again.request.get());
            prop_assert_eq!(&first.retry, &again.retry);
        }
    }
}
