//! What the check of a request reports, and what it accepts.

use super::*;

/// The reports for a request of these members and one content, separated by `|`.
fn found(members: &str) -> String {
    let request = format!(r#"{{"contents":[{{"parts":[{{"text":"a shoe"}}]}}],{members}}}"#);
    found_in(&request, RequestCheck::Error)
}

fn found_in(request: &str, strictness: RequestCheck) -> String {
    let mut diagnostics = ItemDiagnostics::default();
    check(request, "request", strictness, &mut diagnostics);
    let found = diagnostics
        .into_diagnostics(1, None)
        .map(|problem| problem.message);
    found.collect::<Vec<_>>().join(" | ")
}

#[test]
fn what_gemini_accepts_is_not_refused() {
    for members in [
        r#""generationConfig":{"responseModalities":["Image","text"],"imageConfig":{"aspectRatio":"1:1"}}"#,
        r#""generation_config":{"response_modalities":["IMAGE"],"image_config":{"image_size":"2K"},"topP":0.5}"#,
        r#""generationConfig":{"thinkingConfig":{"include_thoughts":true,"thinkingLevel":"high"}}"#,
        r#""generationConfig":{"seed":"7","topK":"40","temperature":"0.5","maxOutputTokens":1e3,"topP":1}"#,
        r#""generationConfig":{"seed":-7.0,"responseModalities":"IMAGE","candidateCount":null}"#,
        r#""systemInstruction":{"parts":{"text":"be terse"}},"store":false,"cachedContent":null"#,
        r#""safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":4},{"threshold":"off"}]"#,
        r#""tools":[{"google_search":{}},{"googleSearch":{"searchTypes":{"imageSearch":{}}}}]"#,
        r#""tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"object","properties":{"a b":{"type":"string"}}}}]}]"#,
        r#""generationConfig":{"responseJsonSchema":{"anything":[1,"x",{"y":null}]},"stopSequences":[]}"#,
        r#""model":"models/gemini-3-pro-image""#,
    ] {
        assert_eq!(found(members), "", "{members}");
    }
    let pictures = r#"{"contents":[{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}},
        {"inline_data":{"mime_type":"image/png","data":"_-8\n"}},{"fileData":{"fileUri":"x"},"partMetadata":{"own":[1]}}]}]}"#;
    assert_eq!(found_in(pictures, RequestCheck::Error), "");
}

#[test]
fn an_unknown_name_is_found_at_every_level_with_its_place_and_what_to_do() {
    for (members, expected) in [
        (
            r#""generationConfig":{"imageConfig":{"personGeneration":"ALLOW_ALL"}}"#,
            "request.generationConfig.imageConfig.personGeneration: Gemini's ImageConfig has no such field: only Vertex AI has it, remove it",
        ),
        (
            r#""generation_config":{"image_config":{"output_mime_type":"image/png"}}"#,
            "request.generation_config.image_config.output_mime_type: Gemini's ImageConfig has no such field: only Vertex AI has it, images are kept as Gemini makes them",
        ),
        (
            r#""generationConfig":{"thinkingLevel":"HIGH"}"#,
            "request.generationConfig.thinkingLevel: Gemini's GenerationConfig has no such field: it belongs at request.generationConfig.thinkingConfig.thinkingLevel",
        ),
        (
            r#""image_config":{"aspect_ratio":"1:1"}"#,
            "request.image_config: Gemini's GenerateContentRequest has no such field: it belongs at request.generationConfig.imageConfig",
        ),
        (
            r#""generationConfig":{"systemInstruction":{}}"#,
            "request.generationConfig.systemInstruction: Gemini's GenerationConfig has no such field: it belongs at request.systemInstruction",
        ),
        (
            r#""config":{"imageConfig":{}}"#,
            "request.config: Gemini's GenerateContentRequest has no such field: only Google's SDKs have it, write generationConfig",
        ),
        (
            r#""generationConfig":{"imageConfig":{"aspect-ratio":"1:1"}}"#,
            "request.generationConfig.imageConfig.aspect-ratio: Gemini's ImageConfig has no such field: did you mean aspectRatio?",
        ),
        (
            r#""generationConfig":{"image_config":{"aspect_ration":"1:1"}}"#,
            "request.generationConfig.image_config.aspect_ration: Gemini's ImageConfig has no such field: did you mean aspect_ratio? (if Gemini accepts it by now, set job.request_check to \"warn\" to send it)",
        ),
        (
            r#""generationConfig":{"imageConfig":{"colors":3}}"#,
            "request.generationConfig.imageConfig.colors: Gemini's ImageConfig has no such field: remove it, or use one of aspectRatio, imageSize (if Gemini accepts it by now, set job.request_check to \"warn\" to send it)",
        ),
        (
            r#""tools":[{"googleSearch":{}},{"urlContext":{"url":"x"}}]"#,
            "request.tools[1].urlContext.url: Gemini's UrlContext has no such field: remove it (if Gemini accepts it by now, set job.request_check to \"warn\" to send it)",
        ),
        (
            r#""safetySettings":[{"method":"SEVERITY"}]"#,
            "request.safetySettings[0].method: Gemini's SafetySetting has no such field: remove it, or use one of category, threshold (if Gemini accepts it by now, set job.request_check to \"warn\" to send it)",
        ),
    ] {
        assert_eq!(found(members), expected);
    }
    let part = r#"{"contents":[{"parts":[{"text":"x"}]},{"parts":[{"text":"x"},{"txt":"y"}]}]}"#;
    assert_eq!(
        found_in(part, RequestCheck::Error),
        "request.contents[1].parts[1].txt: Gemini's Part has no such field: did you mean text? (if Gemini accepts it by now, set job.request_check to \"warn\" to send it)"
    );
}

#[test]
fn a_value_that_gemini_cannot_read_is_found() {
    for (members, expected) in [
        (
            r#""generationConfig":{"thinkingConfig":{"thinkingLevel":"ULTRA"}}"#,
            r#"request.generationConfig.thinkingConfig.thinkingLevel: must be one of MINIMAL, LOW, MEDIUM, HIGH, not "ULTRA" (if Gemini accepts it by now, set job.request_check to "warn" to send it)"#,
        ),
        (
            r#""generationConfig":{"responseModalities":["IMAGE","PICTURE"]}"#,
            r#"request.generationConfig.responseModalities[1]: must be one of TEXT, IMAGE, AUDIO, VIDEO, not "PICTURE" (if Gemini accepts it by now, set job.request_check to "warn" to send it)"#,
        ),
        (
            r#""generationConfig":{"seed":"seven"}"#,
            r#"request.generationConfig.seed: must be a whole number of 32 bits, not "seven""#,
        ),
        (
            r#""generationConfig":{"seed":2147483648}"#,
            "request.generationConfig.seed: must be a whole number of 32 bits, not 2147483648",
        ),
        (
            r#""generationConfig":{"topK":0.5}"#,
            "request.generationConfig.topK: must be a whole number of 32 bits, not 0.5",
        ),
        (
            r#""generationConfig":{"temperature":true}"#,
            "request.generationConfig.temperature: must be a number, not true",
        ),
        (
            r#""generationConfig":{"imageConfig":{"imageSize":512}}"#,
            "request.generationConfig.imageConfig.imageSize: must be a text, not 512",
        ),
        (
            r#""generationConfig":[]"#,
            "request.generationConfig: must be an object, not a list",
        ),
        (
            r#""generationConfig":"x""#,
            r#"request.generationConfig: must be an object, not "x""#,
        ),
        (
            r#""safetySettings":["OFF"]"#,
            r#"request.safetySettings[0]: must be an object, not "OFF""#,
        ),
        (
            r#""store":1"#,
            "request.store: must be true or false, not 1",
        ),
        (
            r#""cachedContent":{}"#,
            "request.cachedContent: must be a text, not an object",
        ),
    ] {
        assert_eq!(found(members), expected);
    }
    let url = r#"{"contents":[{"parts":[{"inlineData":{"data":"data:image/png;base64,iVBORw0KGgo="}}]}]}"#;
    assert_eq!(
        found_in(url, RequestCheck::Error),
        r#"request.contents[0].parts[0].inlineData.data: must be bytes as base64, not "data:image/png;base64,iVBORw0KGgo=""#
    );
}

#[test]
fn both_casings_of_one_name_are_one_member() {
    let found = found(r#""generationConfig":{"topP":1,"top_p":1},"generation_config":{}"#);
    assert_eq!(
        found,
        "request.generationConfig.top_p and request.generationConfig.topP are the same: keep one | \
         request.generation_config and request.generationConfig are the same: keep one"
    );
}

#[test]
fn with_the_setting_warn_it_is_only_reported() {
    let request =
        r#"{"generationConfig":{"newThing":{"a":[1]},"thinkingConfig":{"thinkingLevel":"ULTRA"}}}"#;
    let mut diagnostics = ItemDiagnostics::default();
    check(request, "modelInput", RequestCheck::Warn, &mut diagnostics);
    assert!(!diagnostics.failed());
    let messages: Vec<String> = diagnostics
        .into_diagnostics(1, None)
        .map(|problem| problem.message)
        .collect();
    assert!(
        messages[0].starts_with("modelInput.generationConfig.newThing: "),
        "{messages:?}"
    );
    assert!(
        messages.len() == 2
            && messages
                .iter()
                .all(|message| message.contains("sent unchanged")),
        "{messages:?}"
    );
}
