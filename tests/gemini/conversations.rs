//! Conversations: earlier answers are returned in `contents`, and their images need the thought
//! signatures that came with them.

use gemini_sim::Scenario;
use serde_json::{Value, json};

use super::service::{
    Reply, Service, assert_schema, image, jpeg_pixels, line, lines_of, name, steady,
};

const MODEL: &str = "gemini-3.1-flash-image";

const CORRUPTED: &str = "Corrupted thought signature.";

fn user(text: &str) -> Value {
    json!({"role": "user", "parts": [{"text": text}]})
}

/// Sends a conversation. Its last content asks for the next image.
async fn send(service: &Service, model: &str, contents: &[Value]) -> Reply {
    let path = format!("/v1beta/models/{model}:generateContent");
    service.post(&path, &json!({"contents": contents})).await
}

/// Sends a conversation, and returns the model's turn.
async fn answer(service: &Service, model: &str, contents: &[Value]) -> Value {
    let reply = send(service, model, contents).await;
    assert_eq!(
        reply.status,
        200,
        "{}",
        String::from_utf8_lossy(&reply.bytes)
    );
    let mut response = reply.json();
    assert_schema("GenerateContentResponse", &response);
    response["candidates"][0]["content"].take()
}

/// Returns the last part of a turn, which has the image.
fn last_part(turn: &mut Value) -> &mut Value {
    turn["parts"].as_array_mut().unwrap().last_mut().unwrap()
}

/// Asserts that a conversation with this answer of the model is rejected with this message.
async fn assert_rejected(service: &Service, turn: Value, expected: &str) {
    let contents = [user("a fox"), turn, user("make it blue")];
    let (code, status, message) = send(service, MODEL, &contents).await.error();
    assert_eq!((code, status.as_str()), (400, "INVALID_ARGUMENT"));
    assert!(message.starts_with(expected), "{message}");
}

#[tokio::test]
async fn an_image_is_edited_in_several_turns() {
    let service = Service::new(Scenario {
        thoughts_percent: 50,
        ..steady()
    });
    for model in [
        "gemini-nano-banana-2.1",
        MODEL,
        "gemini-3-pro-image",
        "gemini-3.1-flash-lite-image",
    ] {
        let mut contents = vec![user("a fox")];
        for wish in ["make it blue", "add snow", "remove the tail"] {
            let mut turn = answer(&service, model, &contents).await;
            assert_eq!(turn["role"], "model");
            let part = last_part(&mut turn);
            assert_eq!(part["inlineData"]["mimeType"], "image/jpeg");
            assert!(part["thoughtSignature"].is_string());
            contents.extend([turn, user(wish)]);
        }
        answer(&service, model, &contents).await;
    }
}

#[tokio::test]
async fn an_edited_image_keeps_its_ratio_and_costs_as_input() {
    let service = Service::steady();
    let path = format!("/v1beta/models/{MODEL}:generateContent");
    let first = json!({
        "contents": [user("a fox")],
        "generationConfig": {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "16:9"}},
    });
    let first = service.post(&path, &first).await.json();
    let turn = first["candidates"][0]["content"].clone();
    let second = json!({"contents": [user("a fox"), turn, user("in red")]});
    let second = service.post(&path, &second).await.json();
    let pixels = |response: &Value| jpeg_pixels(&image(&json!({"response": response})));
    assert_eq!(pixels(&second), pixels(&first));
    assert_eq!(
        second["usageMetadata"]["promptTokensDetails"][1],
        json!({"modality": "IMAGE", "tokenCount": 258})
    );
}

#[tokio::test]
async fn an_image_of_the_model_needs_its_signature() {
    let service = Service::steady();
    let turn = answer(&service, MODEL, &[user("a fox")]).await;

    let mut unsigned = turn.clone();
    let part = last_part(&mut unsigned).as_object_mut().unwrap();
    part.remove("thoughtSignature");
    let missing = "Image part is missing a thought_signature in content position 2, part position 2. Please refer to \
                   https://ai.google.dev/gemini-api/docs/thought-signatures";
    assert_rejected(&service, unsigned, missing).await;

    let mut other = answer(&service, MODEL, &[user("a cat")]).await;
    for signature in [
        last_part(&mut other)["thoughtSignature"].clone(),
        json!("c2lnbmF0dXJl"),
        json!(""),
    ] {
        let mut wrong = turn.clone();
        last_part(&mut wrong)["thoughtSignature"] = signature;
        assert_rejected(&service, wrong, CORRUPTED).await;
    }
    let mut other_image = turn.clone();
    last_part(&mut other_image)["inlineData"]["data"] = json!("b3RoZXIgYnl0ZXM=");
    assert_rejected(&service, other_image, CORRUPTED).await;
}

#[tokio::test]
async fn images_of_the_user_need_no_signature() {
    let service = Service::steady();
    let data = json!({"mimeType": "image/png", "data": "b3RoZXIgYnl0ZXM="});
    for role in [json!({"role": "user"}), json!({})] {
        let mut content = role;
        content["parts"] = json!([{"text": "like this"}, {"inlineData": data}]);
        answer(&service, MODEL, &[content]).await;
    }
}

#[tokio::test]
async fn signatures_and_images_are_accepted_in_the_alphabet_for_urls() {
    let service = Service::steady();
    let mut turn = answer(&service, MODEL, &[user("a fox")]).await;
    let part = last_part(&mut turn);
    let url_safe =
        |base64: &Value| json!(base64.as_str().unwrap().replace('+', "-").replace('/', "_"));
    part["inlineData"]["data"] = url_safe(&part["inlineData"]["data"]);
    part["thoughtSignature"] = url_safe(&part["thoughtSignature"]);
    answer(&service, MODEL, &[user("a fox"), turn, user("in red")]).await;
}

#[tokio::test]
async fn signatures_follow_from_the_seed_and_outlive_a_restart() {
    let signature = async |service: &Service| {
        let mut turn = answer(service, MODEL, &[user("a fox")]).await;
        last_part(&mut turn)["thoughtSignature"].clone()
    };
    let service = Service::steady();
    let turn = answer(&service, MODEL, &[user("a fox")]).await;
    let contents = [user("a fox"), turn, user("in red")];
    let service = service.reopened(steady());
    answer(&service, MODEL, &contents).await;

    let first = signature(&service).await;
    assert_eq!(signature(&Service::steady()).await, first);
    let other_seed = Service::new(Scenario {
        seed: 1,
        ..steady()
    });
    assert_ne!(signature(&other_seed).await, first);
    let refused = send(&other_seed, MODEL, &contents).await;
    assert_eq!(refused.error().2, CORRUPTED);
}

#[tokio::test]
async fn an_uploaded_image_of_the_model_is_recognized() {
    let service = Service::steady();
    let mut turn = answer(&service, MODEL, &[user("a fox")]).await;
    let part = last_part(&mut turn);
    let bytes = base64_simd::STANDARD
        .decode_to_vec(part["inlineData"]["data"].as_str().unwrap())
        .unwrap();
    let file = service.upload(bytes, "image/jpeg", json!({})).await;
    let other = service.upload("other bytes", "image/jpeg", json!({})).await;
    let signature = part["thoughtSignature"].clone();
    let turn = |file: &Value| {
        json!({"role": "model", "parts": [
            {"fileData": {"mimeType": "image/jpeg", "fileUri": file["uri"]}, "thoughtSignature": signature},
        ]})
    };
    let contents = [user("a fox"), turn(&file), user("in red")];
    answer(&service, MODEL, &contents).await;
    assert_rejected(&service, turn(&other), CORRUPTED).await;
}

#[tokio::test]
async fn a_conversation_continues_from_a_batch_and_in_a_batch() {
    let service = Service::steady();
    let first = service.batch(MODEL, &[line("fox", json!({}))]).await;
    service.pass_minutes(200);
    let results = service.results(&first).await;
    let turn = results[0]["response"]["candidates"][0]["content"].clone();
    let contents = [user("a picture of fox"), turn.clone(), user("in red")];
    answer(&service, MODEL, &contents).await;

    let mut next = line("red", json!({}));
    next["request"]["contents"] = json!(contents);
    let second = service.batch(MODEL, &[next.clone()]).await;
    service.pass_minutes(200);
    let results = service.results(&second).await;
    assert_eq!(results[0]["key"], "red", "{}", name(&second));
    assert!(!image(&results[0]).is_empty());

    let mut unsigned = turn;
    let part = last_part(&mut unsigned).as_object_mut().unwrap();
    part.remove("thoughtSignature");
    next["request"]["contents"][1] = unsigned;
    let lines = lines_of(&[line("fox", json!({})), next]);
    let (code, _, message) = service.try_batch(MODEL, &lines).await.error();
    assert_eq!(code, 400);
    assert!(
        message.starts_with("Error on line 2: Image part is missing a thought_signature in content position 2, part position 1."),
        "{message}"
    );
}
