//! What is sent to Gemini for an image, and the manifest line that asks for the image again.

use serde_json::{Map, Value, json, value::RawValue};

use super::{
    Expected,
    order::{Form, Order},
    path,
};

/// The `GenerateContentRequest` of an order: made from a friendly item, or passed through.
#[expect(clippy::expect_used, reason = "the text of a JSON value is JSON")]
pub(super) fn request(order: &Order) -> Box<RawValue> {
    match &order.form {
        Form::Native(request) => request.clone(),
        Form::Friendly { system, seed, temperature, types } => {
            let mut parts = vec![json!({"text": order.prompt})];
            parts.extend(order.refs.iter().zip(types).map(|(uri, mime_type)| {
                json!({"fileData": {"mimeType": mime_type, "fileUri": uri}})
            }));
            let mut request = Map::new();
            request.insert("contents".to_owned(), json!([{"role": "user", "parts": parts}]));
            if let Some(system) = system {
                request.insert("systemInstruction".to_owned(), json!({"parts": [{"text": system}]}));
            }
            let image = object([
                ("aspectRatio", order.aspect_ratio.as_ref().map(|ratio| json!(ratio))),
                ("imageSize", order.image_size.as_ref().map(|size| json!(size))),
            ]);
            let configuration = object([
                ("responseModalities", Some(json!(["IMAGE"]))),
                ("imageConfig", (!image.is_empty()).then(|| image.into())),
                ("seed", seed.map(|seed| json!(seed))),
                ("temperature", temperature.map(|temperature| json!(temperature))),
            ]);
            request.insert("generationConfig".to_owned(), configuration.into());
            RawValue::from_string(Value::from(request).to_string()).expect("a value's text is JSON")
        }
    }
}

/// The manifest line for one image of an order, with all values spelled out.
#[expect(clippy::expect_used, reason = "the request was checked when it was read")]
pub(super) fn retry(order: &Order, expected: &Expected) -> Value {
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    let path = (expected.path != expected.key.as_str()).then(|| json!({"path": path::literal(&expected.path)}));
    let line = match &order.form {
        Form::Native(request) => object([
            ("key", Some(json!(expected.key))),
            ("model", Some(json!(expected.model))),
            ("request", Some(serde_json::from_str(request.get()).expect("a request is JSON"))),
            ("output", path),
        ]),
        Form::Friendly { system, seed, temperature, .. } => object([
            ("key", Some(json!(expected.key))),
            ("prompt", text(&order.prompt)),
            ("model", Some(json!(expected.model))),
            ("aspect_ratio", text(&order.aspect_ratio)),
            ("image_size", text(&order.image_size)),
            ("refs", (!order.refs.is_empty()).then(|| json!(order.refs))),
            ("system", text(system)),
            ("seed", seed.map(|seed| json!(seed))),
            ("temperature", temperature.map(|temperature| json!(temperature))),
            ("output", path),
        ]),
    };
    line.into()
}

/// An object of those members that have a value.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Map<String, Value> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
