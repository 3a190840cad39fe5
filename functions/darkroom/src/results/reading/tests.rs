//! What each form of a result line becomes: an image, a reason, or a warning next to an image.

use super::super::{
    BadLineReason, Limits, Outcome, Pool, Reason, Status,
    image::MediaType,
    read_response,
    testing::{base64, image_line, image_part, images, jpeg, parts_line, png, read, read_bad},
};

fn reason(line: &str) -> (Status, Reason) {
    let answer = read(line);
    (
        answer.outcome.status(),
        answer.outcome.reason().unwrap().clone(),
    )
}

fn expect(line: &str, status: Status, code: &str, retryable: bool) {
    let (is, reason) = reason(line);
    assert_eq!(
        (is, reason.code.as_str(), reason.retryable),
        (status, code, retryable),
        "{line}"
    );
    assert!(!reason.message.is_empty(), "{line}");
}

fn finished(finish_reason: &str) -> String {
    format!(
        r#"{{"key":"k","response":{{"candidates":[{{"content":{{}},"finishReason":"{finish_reason}","index":0}}]}}}}"#
    )
}

#[test]
fn an_image_is_a_success_with_all_documented_members() {
    let bytes = jpeg(928, 1152, b"pixels");
    let line = format!(
        r#"{{"key":"k0","response":{{"candidates":[{{"content":{{"role":"model","parts":[
            {{"text":"thinking","thought":true}},
            {{"inlineData":{{"mimeType":"image/jpeg","data":"{thought}"}},"thought":true}},
            {{"inlineData":{{"mimeType":"image/png","data":"{data}"}},"thoughtSignature":"c2ln"}}]}},
            "finishReason":"STOP","index":0}}],
            "usageMetadata":{{"promptTokenCount":10,"candidatesTokenCount":1180,"totalTokenCount":1292,
              "candidatesTokensDetails":[{{"modality":"IMAGE","tokenCount":1120}}],"thoughtsTokenCount":102}},
            "modelVersion":"gemini-3-pro-image","responseId":"r-1","modelStatus":{{"retirementTime":"…"}}}}}}"#,
        thought = base64(&png(8, 8, b"draft")),
        data = base64(&bytes),
    );
    let answer = read(line.replace('\n', " "));
    assert_eq!(answer.key.unwrap().as_str(), "k0");
    assert_eq!(answer.finish_reason.as_deref(), Some("STOP"));
    assert_eq!(answer.model_version.as_deref(), Some("gemini-3-pro-image"));
    assert_eq!(answer.response_id.as_deref(), Some("r-1"));
    assert_eq!(answer.usage.unwrap().prompt_tokens, 10);
    assert_eq!(answer.thought_images, 1);
    assert!(answer.warnings.is_empty());
    let Outcome::Succeeded { image, extras } = answer.outcome else {
        panic!("{:?}", answer.outcome)
    };
    assert!(extras.is_empty());
    assert_eq!(
        (image.media_type, image.width, image.height),
        (MediaType::Jpeg, 928, 1152)
    );
    assert_eq!(image.bytes.as_ref(), bytes);
}

#[test]
fn the_last_image_is_the_final_one_and_the_others_are_extras() {
    let [a, b, c] = [png(1, 1, b"a"), png(2, 2, b"b"), jpeg(3, 3, b"c")];
    let line = parts_line(
        "k",
        &[
            &image_part(&a),
            r#"{"text":"or"}"#,
            &image_part(&b),
            &image_part(&c),
        ],
    );
    assert_eq!(images(&read(line).outcome), [a, b, c]);
}

#[test]
fn both_spellings_of_inline_data_are_images() {
    let bytes = png(1, 1, b"x");
    let line = image_line("k", &bytes).replace("inlineData", "inline_data");
    assert_eq!(images(&read(line).outcome), [bytes]);
}

/// An image part that is marked as a thought.
fn thought(bytes: &[u8]) -> String {
    image_part(bytes).replace("}}", r#"},"thought":true}"#)
}

#[test]
fn the_last_complete_thought_is_used_if_there_is_no_other_image() {
    let [a, b] = [png(1, 1, b"a"), png(2, 2, b"b")];
    let damaged = r#"{"inlineData":{"data":"A*"},"thought":true}"#;
    let words = r#"{"text":"Here it is."}"#;
    for parts in [
        &[thought(&a).as_str(), &thought(&b)][..],
        &[&thought(&a), &thought(&b), words],
        &[&thought(&b), damaged],
        &[&thought(&b), r#"{"inlineData":{},"thought":true}"#],
        &[r#"{"inlineData":{"data":"PHN2Zz4="}}"#, &thought(&b)],
        &[r#"{"fileData":{"fileUri":"https://host/a"}}"#, &thought(&b)],
    ] {
        let answer = read(parts_line("k", parts));
        assert_eq!(
            images(&answer.outcome),
            std::slice::from_ref(&b),
            "{parts:?}"
        );
        assert!(
            answer.warnings[0].contains("marked as a thought"),
            "{parts:?}"
        );
        let dropped = parts.iter().filter(|part| part.contains("thought")).count() - 1;
        assert_eq!(answer.thought_images, dropped, "{parts:?}");
    }
    let beside_error = parts_line("k", &[&thought(&b)])
        .replace(r#""response""#, r#""error":{"code":13},"response""#);
    assert_eq!(
        images(&read(beside_error).outcome),
        std::slice::from_ref(&b)
    );
}

#[test]
fn a_thought_is_dropped_if_there_is_an_image_or_a_refusal() {
    let [a, b] = [png(1, 1, b"a"), png(2, 2, b"b")];
    for parts in [[image_part(&a), thought(&b)], [thought(&b), image_part(&a)]] {
        let answer = read(parts_line("k", &[&parts[0], &parts[1]]));
        assert_eq!(
            (images(&answer.outcome), answer.thought_images),
            (vec![a.clone()], 1)
        );
        assert!(answer.warnings.is_empty());
    }
    expect(
        &parts_line("k", &[&thought(&b)]).replace("STOP", "IMAGE_SAFETY"),
        Status::Blocked,
        "IMAGE_SAFETY",
        false,
    );
    expect(
        &parts_line("k", &[&thought(b"<svg/>")]),
        Status::NoImage,
        "NO_IMAGE",
        true,
    );
}

#[test]
fn an_image_that_is_a_link_is_not_retried() {
    for part in [
        r#"{"fileData":{"mimeType":"image/png","fileUri":"https://host/v1/files/a?key=canary#x"}}"#,
        r#"{"file_data":{"mime_type":"IMAGE/PNG","file_uri":"https://host/v1/files/a?key=canary"}}"#,
        r#"{"fileData":{"fileUri":" https://host/v1/files/a\n"}}"#,
    ] {
        let line = parts_line("k", &[r#"{"text":"Here:"}"#, part, r#"{"inlineData":{}}"#]);
        expect(&line, Status::Failed, "FILE_DATA", false);
        let message = reason(&line).1.message;
        assert!(
            message.contains("https://host/v1/files/a. ") && !message.contains("canary"),
            "{message}"
        );
    }
    expect(
        &parts_line("k", &[r#"{"fileData":{"mimeType":"image/png"}}"#]),
        Status::Failed,
        "FILE_DATA",
        false,
    );
    expect(
        &parts_line("k", &[r#"{"fileData":{"mimeType":"text/csv"}}"#]),
        Status::NoImage,
        "NO_IMAGE",
        true,
    );
    expect(
        &parts_line("k", &[r#"{"fileData":{"fileUri":"x"},"thought":true}"#]),
        Status::NoImage,
        "NO_IMAGE",
        true,
    );
    let bytes = png(1, 1, b"x");
    let answer = read(parts_line(
        "k",
        &[
            &image_part(&bytes),
            r#"{"fileData":{"fileUri":"https://host/b?c"}}"#,
        ],
    ));
    assert_eq!(images(&answer.outcome), [bytes]);
    assert_eq!(
        answer.warnings,
        ["another image of the answer is at https://host/b"]
    );
}

#[test]
fn an_image_that_is_written_as_text_is_not_retried() {
    let data = base64(&png(2, 2, &[7; 100]));
    for text in [
        format!("data:image/png;base64,{data}"),
        format!("![a](data:image/png;base64,{data})"),
        data.clone(),
    ] {
        for text in [
            &text,
            &text.replace('/', r"\/"),
            &format!("{text}{}", "AAAA".repeat(100_000)),
        ] {
            let line = parts_line(
                "k",
                &[
                    &format!(r#"{{"text":"{text}"}}"#),
                    r#"{"thoughtSignature":"c2ln"}"#,
                ],
            );
            expect(&line, Status::Failed, "IMAGE_AS_TEXT", false);
        }
        let line = parts_line("k", &[&format!(r#"{{"text":"{text}","thought":true}}"#)]);
        expect(&line, Status::NoImage, "NO_IMAGE", true);
    }
}

#[test]
fn a_damaged_image_next_to_a_good_one_is_a_warning() {
    let good = png(1, 1, b"x");
    for damaged in [
        r#"{"inlineData":{"data":"A*"}}"#,
        r#"{"inlineData":{"data":"PHN2Zz4="}}"#,
        r#"{"inlineData":{}}"#,
    ] {
        let answer = read(parts_line("k", &[&image_part(&good), damaged, damaged]));
        assert_eq!(
            images(&answer.outcome),
            std::slice::from_ref(&good),
            "{damaged}"
        );
        assert_eq!(answer.warnings.len(), 1, "{damaged}");
    }
}

#[test]
fn bytes_that_are_not_an_image_are_a_retryable_failure() {
    for bytes in [
        b"<svg/>".as_slice(),
        b"<!doctype html>",
        b"",
        b"\x89PNG\r\n\x1a\n",
    ] {
        expect(
            &image_line("k", bytes),
            Status::Failed,
            "NOT_AN_IMAGE",
            true,
        );
    }
    expect(
        &parts_line("k", &[r#"{"inlineData":{"mimeType":"image/png"}}"#]),
        Status::Failed,
        "NOT_AN_IMAGE",
        true,
    );
    expect(
        &parts_line("k", &[r#"{"inlineData":{"data":"%%%%"}}"#]),
        Status::Failed,
        "INVALID_BASE64",
        true,
    );
    expect(
        &image_line("k", &png(20_000, 20_000, b"")),
        Status::Failed,
        "TOO_MANY_PIXELS",
        false,
    );
}

#[test]
fn an_error_line_fails_with_the_name_of_its_grpc_code() {
    for (code, name, retryable) in [
        (2, "UNKNOWN", true),
        (3, "INVALID_ARGUMENT", false),
        (4, "DEADLINE_EXCEEDED", true),
        (7, "PERMISSION_DENIED", false),
        (8, "RESOURCE_EXHAUSTED", true),
        (13, "INTERNAL", true),
        (14, "UNAVAILABLE", true),
        (429, "RESOURCE_EXHAUSTED", true),
        (400, "INVALID_ARGUMENT", false),
        (42, "UNKNOWN", true),
    ] {
        let line = format!(
            r#"{{"key":"k1","error":{{"code":{code},"message":"An error.","details":[{{"x":1}}]}}}}"#
        );
        expect(&line, Status::Failed, name, retryable);
        assert_eq!(reason(&line).1.message, "An error.");
    }
    expect(r#"{"key":"k","error":{}}"#, Status::Failed, "UNKNOWN", true);
}

#[test]
fn an_error_is_read_in_every_form() {
    for (error, name, message) in [
        (
            r#"{"status":"UNAVAILABLE","message":"Busy."}"#,
            "UNAVAILABLE",
            "Busy.",
        ),
        (
            r#"{"code":400,"status":"FAILED_PRECONDITION","message":"Busy."}"#,
            "FAILED_PRECONDITION",
            "Busy.",
        ),
        (r#"{"code":"13","message":"Busy."}"#, "INTERNAL", "Busy."),
        (
            r#"{"code":"resource_exhausted","message":"Busy."}"#,
            "RESOURCE_EXHAUSTED",
            "Busy.",
        ),
        (
            r#"{"status":503,"message":"Busy."}"#,
            "UNAVAILABLE",
            "Busy.",
        ),
        (r#""Busy.""#, "UNKNOWN", "Busy."),
        (
            r#""unavailable""#,
            "UNAVAILABLE",
            "Gemini reported UNAVAILABLE and gave no message.",
        ),
        (
            "503",
            "UNAVAILABLE",
            "Gemini reported UNAVAILABLE and gave no message.",
        ),
        (
            r#"{"code":13,"message":"Internal"}"#,
            "INTERNAL",
            "Internal",
        ),
        (
            r#"{"message":"Internal"}"#,
            "INTERNAL",
            "Gemini reported INTERNAL and gave no message.",
        ),
        (
            r#"{"code":13,"message":" \n "}"#,
            "INTERNAL",
            "Gemini reported INTERNAL and gave no message.",
        ),
        (
            r#"{"code":13,"message":["a"]}"#,
            "INTERNAL",
            "Gemini reported INTERNAL and gave no message.",
        ),
        (
            "{}",
            "UNKNOWN",
            "Gemini reported UNKNOWN and gave no message.",
        ),
        (
            r#"{"error":{"code":8,"message":"Busy."}}"#,
            "RESOURCE_EXHAUSTED",
            "Busy.",
        ),
        (r#"{"error":"Busy."}"#, "UNKNOWN", "Busy."),
        (
            r#"{"code":13,"error":{"code":8,"message":"Busy."}}"#,
            "INTERNAL",
            "Gemini reported INTERNAL and gave no message.",
        ),
        (
            r#"{"code":1,"code":2}"#,
            "UNKNOWN",
            "Gemini reported UNKNOWN and gave no message.",
        ),
        (
            "[13]",
            "UNKNOWN",
            "Gemini reported UNKNOWN and gave no message.",
        ),
        (
            "true",
            "UNKNOWN",
            "Gemini reported UNKNOWN and gave no message.",
        ),
    ] {
        let (status, reason) = reason(&format!(r#"{{"key":"k","error":{error}}}"#));
        assert_eq!(
            (status, &*reason.code, &*reason.message),
            (Status::Failed, name, message),
            "{error}"
        );
    }
}

#[test]
fn an_empty_error_is_ignored_if_there_is_a_response() {
    for error in [
        "{}",
        r#""""#,
        r#"{"code":0}"#,
        r#"{"code":0,"status":"OK","message":""}"#,
    ] {
        let line = finished("IMAGE_SAFETY")
            .replace(r#""response""#, &format!(r#""error":{error},"response""#));
        expect(&line, Status::Blocked, "IMAGE_SAFETY", false);
    }
}

#[test]
fn a_line_may_be_the_response_itself() {
    let bytes = png(1, 1, b"x");
    let line = image_line("k", &bytes)
        .replace(r#""response":{"#, "")
        .replace("]}}", "]}");
    let line = format!(
        r#"{},"usageMetadata":{{"promptTokenCount":3}},"modelVersion":"m","responseId":"r"}}"#,
        &line[..line.len() - 1]
    );
    let line = line.replace(r#""STOP"}]}"#, r#""STOP"}]"#);
    let answer = read(&line);
    assert_eq!(
        (images(&answer.outcome), answer.key.unwrap().as_str()),
        (vec![bytes], "k")
    );
    assert_eq!(
        (
            answer.model_version.as_deref(),
            answer.response_id.as_deref()
        ),
        (Some("m"), Some("r"))
    );
    assert_eq!(answer.usage.unwrap().prompt_tokens, 3);
    for (line, status, code) in [
        (
            r#"{"key":"k","promptFeedback":{"blockReason":"SAFETY"}}"#,
            Status::Blocked,
            "SAFETY",
        ),
        (
            r#"{"key":"k","prompt_feedback":{"block_reason":"SAFETY"}}"#,
            Status::Blocked,
            "SAFETY",
        ),
        (
            r#"{"key":"k","usageMetadata":{"promptTokenCount":3}}"#,
            Status::NoImage,
            "NO_IMAGE",
        ),
        (
            r#"{"key":"k","candidates":[],"error":{"code":13}}"#,
            Status::Failed,
            "INTERNAL",
        ),
        (
            r#"{"key":"k","response":null,"candidates":[{"finishReason":"SPII"}]}"#,
            Status::Blocked,
            "SPII",
        ),
        (
            r#"{"key":"k","candidates":7,"response":{"candidates":[{"finishReason":"SPII"}]}}"#,
            Status::Blocked,
            "SPII",
        ),
    ] {
        let (is, reason) = reason(line);
        assert_eq!((is, reason.code.as_str()), (status, code), "{line}");
    }
    for line in [
        r#"{"key":"k","candidates":7}"#,
        r#"{"key":"k","candidates":[{"content":7}]}"#,
        r#"{"key":"k","modelVersion":"m"}"#,
    ] {
        assert_eq!(
            read_bad(line),
            (BadLineReason::NotAReply, Some("k".into())),
            "{line}"
        );
    }
}

#[test]
fn accepts_other_spellings_of_names_and_reasons() {
    let bytes = png(1, 1, b"x");
    let line = format!(
        r#"{{"key":"k","response":{{"candidates":[{{"content":{{"parts":[
            {{"inline_data":{{"mime_type":"image/png","data":"{}"}}}}]}},"finish_reason":"stop"}}],
            "usage_metadata":{{"prompt_token_count":3}},"model_version":"m","response_id":"r"}}}}"#,
        base64(&bytes)
    );
    let answer = read(line.replace('\n', " "));
    assert_eq!(
        (images(&answer.outcome), answer.finish_reason.as_deref()),
        (vec![bytes], Some("STOP"))
    );
    assert_eq!(
        (
            answer.model_version.as_deref(),
            answer.response_id.as_deref()
        ),
        (Some("m"), Some("r"))
    );
    assert_eq!(answer.usage.unwrap().prompt_tokens, 3);
    let refused = r#"{"key":"k","response":{"candidates":[{"finish_reason":"image_safety","finish_message":"No."}]}}"#;
    expect(refused, Status::Blocked, "IMAGE_SAFETY", false);
    assert_eq!(reason(refused).1.message, "No.");
    let blocked =
        r#"{"key":"k","response":{"prompt_feedback":{"block_reason":"prohibited_content"}}}"#;
    expect(blocked, Status::Blocked, "PROHIBITED_CONTENT", false);
}

#[test]
fn a_cancelled_request_is_cancelled() {
    expect(
        r#"{"metadata":{"key":"k"},"error":{"code":1}}"#,
        Status::Cancelled,
        "CANCELLED",
        true,
    );
}

#[test]
fn a_prompt_that_was_blocked_without_a_reason_is_retryable() {
    for code in ["OTHER", "other", "BLOCK_REASON_UNSPECIFIED"] {
        let line =
            format!(r#"{{"key":"k","response":{{"promptFeedback":{{"blockReason":"{code}"}}}}}}"#);
        expect(&line, Status::Blocked, &code.to_uppercase(), true);
    }
    let said_nothing = r#"{"key":"k","response":{"promptFeedback":{"blockReason":""}}}"#;
    expect(said_nothing, Status::NoImage, "NO_IMAGE", true);
}

#[test]
fn a_blocked_prompt_has_the_given_reason() {
    let line = r#"{"key":"k","response":{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"modelVersion":"m"}}"#;
    expect(line, Status::Blocked, "PROHIBITED_CONTENT", false);
}

#[test]
fn a_withheld_image_is_blocked_with_googles_message() {
    for code in [
        "SAFETY",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "IMAGE_SAFETY",
        "IMAGE_RECITATION",
        "RECITATION",
        "SPII",
    ] {
        expect(&finished(code), Status::Blocked, code, false);
    }
    let line = finished("IMAGE_SAFETY")
        .replace(r#""index""#, r#""finishMessage":"Try rephrasing.","index""#);
    assert_eq!(reason(&line).1.message, "Try rephrasing.");
    let beside_damage =
        parts_line("k", &[r#"{"inlineData":{"data":""}}"#]).replace("STOP", "IMAGE_SAFETY");
    expect(&beside_damage, Status::Blocked, "IMAGE_SAFETY", false);
}

#[test]
fn a_reply_without_an_image_has_the_status_no_image() {
    for (code, retryable) in [
        ("NO_IMAGE", true),
        ("IMAGE_OTHER", true),
        ("OTHER", true),
        ("MALFORMED_RESPONSE", true),
        ("MALFORMED_FUNCTION_CALL", true),
        ("MAX_TOKENS", false),
        ("LANGUAGE", false),
        ("SOMETHING_NEW", false),
    ] {
        expect(&finished(code), Status::NoImage, code, retryable);
    }
    for line in [
        r#"{"key":"k","response":{}}"#,
        r#"{"key":"k","response":{"usageMetadata":{"promptTokenCount":3}}}"#,
        r#"{"key":"k","response":{"candidates":null}}"#,
        r#"{"key":"k","response":{"candidates":[]}}"#,
        r#"{"key":"k","response":{"candidates":[{}]}}"#,
        r#"{"key":"k","response":{"candidates":[{"content":null}]}}"#,
        &finished("STOP"),
        &finished("FINISH_REASON_UNSPECIFIED"),
        &parts_line("k", &[r#"{"thoughtSignature":"c2ln"}"#]),
        &parts_line("k", &[r#"{"text":" \n"}"#]),
    ] {
        expect(line, Status::NoImage, "NO_IMAGE", true);
    }
    let declined = parts_line("k", &[r#"{"text":"I can't draw that."}"#]);
    expect(&declined, Status::NoImage, "NO_IMAGE", false);
    expect(
        &declined.replace("STOP", "NO_IMAGE"),
        Status::NoImage,
        "NO_IMAGE",
        true,
    );
}

#[test]
fn a_text_instead_of_an_image_becomes_the_message() {
    let parts = [
        r#"{"text":"I can't draw that."}"#,
        r#"{"text":"hm","thought":true}"#,
        r#"{"thoughtSignature":"c2ln"}"#,
    ];
    assert_eq!(
        reason(&parts_line("k", &parts)).1.message,
        "I can't draw that."
    );
}

#[test]
fn texts_from_google_are_truncated_and_cleaned() {
    let line = format!(
        r#"{{"key":"k","error":{{"code":13,"message":"a\u001b[31m\nb\u0000{}"}}}}"#,
        "é".repeat(2000)
    );
    let message = reason(&line).1.message;
    assert!(message.starts_with("a[31m bé"), "{message}");
    assert_eq!(message.len(), 1023, "no character is cut in two");
}

#[test]
fn the_key_of_the_line_takes_precedence_over_the_metadata() {
    let key = |line: &str| read(line).key.map(|key| key.to_string());
    assert_eq!(
        key(r#"{"metadata":{"key":"m"},"key":"k","response":{}}"#).as_deref(),
        Some("k")
    );
    assert_eq!(
        key(r#"{"metadata":{"key":"m"},"response":{}}"#).as_deref(),
        Some("m")
    );
    assert_eq!(key(r#"{"metadata":{"key":true},"response":{}}"#), None);
    assert_eq!(key(r#"{"metadata":"?","key":"","response":{}}"#), None);
    assert_eq!(
        key(r#"{"key":"\u0061\/b","response":{}}"#).as_deref(),
        Some("a/b")
    );
}

#[test]
fn a_number_is_a_key_with_its_digits_as_written() {
    for number in [
        "17",
        "0",
        "-3",
        "1.50",
        "1e5",
        "12345678901234567890123456789",
    ] {
        for line in [
            format!(r#"{{"key":{number},"response":{{}}}}"#),
            format!(r#"{{"metadata":{{"key":{number}}},"response":{{}}}}"#),
            format!(r#"{{"key": {number} ,"metadata":{{"key":"m"}},"response":{{}}}}"#),
        ] {
            assert_eq!(read(&line).key.unwrap().as_str(), number, "{line}");
        }
    }
    for other in ["true", "null", "[17]", "{}", r#""""#] {
        let answer = read(format!(r#"{{"key":{other},"response":{{}}}}"#));
        assert_eq!(answer.key, None, "{other}");
    }
}

#[test]
fn an_image_takes_precedence_over_an_error() {
    let error = r#""error":{"code":13},"response""#;
    let bytes = png(1, 1, b"x");
    assert_eq!(
        images(&read(image_line("k", &bytes).replace(r#""response""#, error)).outcome),
        [bytes]
    );
    expect(
        &finished("STOP").replace(r#""response""#, error),
        Status::Failed,
        "INTERNAL",
        true,
    );
}

#[test]
fn json_that_is_not_an_answer_is_a_bad_line_with_its_key() {
    let bad = |line: &str| read_bad(line);
    for line in [
        r#"{"key":"k"}"#,
        r#"{"key":"k","response":17}"#,
        r#"{"response":{"candidates":{}},"key":"k"}"#,
        r#"{"key":"k","response":null,"error":null}"#,
        r#"{"key":"k","response":{},"response":{}}"#,
    ] {
        assert_eq!(
            bad(line),
            (BadLineReason::NotAReply, Some("k".into())),
            "{line}"
        );
    }
    assert_eq!(bad("17"), (BadLineReason::NotAReply, None));
}

#[test]
fn members_that_only_describe_an_image_may_have_any_form() {
    let bytes = png(1, 1, b"x");
    let line = image_line("k", &bytes);
    for (from, to) in [
        (r#""STOP""#, "1"),
        (r#""STOP""#, r#"{"a":[]}"#),
        (
            r#"{"candidates""#,
            r#"{"modelVersion":3,"responseId":[],"promptFeedback":"none","candidates""#,
        ),
        (
            r#"{"inlineData""#,
            r#"{"thought":"no","text":7,"inlineData""#,
        ),
        (r#""response""#, r#""error":"none","response""#),
        (r#""response""#, r#""error":{"code":1,"code":2},"response""#),
    ] {
        let written = line.replace(from, to);
        assert_ne!(written, line);
        let answer = read(&written);
        assert_eq!(
            images(&answer.outcome),
            std::slice::from_ref(&bytes),
            "{written}"
        );
        assert_eq!(answer.key.unwrap().as_str(), "k");
    }
}

#[test]
fn an_image_whose_key_cannot_be_read_is_still_an_image() {
    let bytes = png(1, 1, b"x");
    for key in [&b"true"[..], b"[]", b"\"\\ud800\"", b"\"k\xff\"", b"null"] {
        let line = image_line("k", &bytes).into_bytes();
        let line = [b"{\"key\":", key, &line[r#"{"key":"k""#.len()..]].concat();
        let answer = read(&line);
        assert_eq!(
            (images(&answer.outcome), answer.key),
            (vec![bytes.clone()], None)
        );
    }
}

#[test]
fn the_code_of_an_error_may_have_any_form() {
    for code in [
        "1e999",
        "13.5",
        r#""many""#,
        "null",
        "{}",
        "99999999999999999999",
        "[1]",
        "true",
    ] {
        expect(
            &format!(r#"{{"key":"k","error":{{"code":{code}}}}}"#),
            Status::Failed,
            "UNKNOWN",
            true,
        );
    }
}

#[test]
fn half_an_emoji_does_not_lose_an_image() {
    let bytes = png(1, 1, b"x");
    let answer = read(parts_line(
        "k",
        &[r#"{"text":"\ud83d"}"#, &image_part(&bytes)],
    ));
    assert_eq!(images(&answer.outcome), [bytes]);
}

#[test]
fn unreadable_token_counts_are_a_warning() {
    let bytes = png(1, 1, b"x");
    let line = image_line("k", &bytes).replace(
        r#"{"candidates""#,
        r#"{"usageMetadata":"none","candidates""#,
    );
    let answer = read(line);
    assert_eq!(
        (images(&answer.outcome), answer.usage, answer.warnings.len()),
        (vec![bytes], None, 1)
    );
}

#[test]
fn a_synchronous_response_is_read_by_the_same_rules() {
    let bytes = png(1, 1, b"x");
    let body = format!(
        "{{\n  \"candidates\": [{{\"content\": {{\n\"parts\": [\n{}\n]}}}}]\n}}\n",
        image_part(&bytes)
    );
    let read = |body: &str| read_response(body.as_bytes(), Limits::default(), Pool::new(0));
    let answer = read(&body).unwrap();
    assert_eq!((images(&answer.outcome), answer.key), (vec![bytes], None));
    for (body, reason) in [
        ("", BadLineReason::NotJson),
        ("{\"candidates\":[", BadLineReason::NotJson),
        (
            "{\"candidates\":[{\"finishReason\":\"ST",
            BadLineReason::Truncated,
        ),
        ("<html>", BadLineReason::NotJson),
        ("[1,2]", BadLineReason::NotAReply),
    ] {
        assert_eq!(read(body).unwrap_err().reason, reason, "{body}");
    }
}

#[test]
fn reads_tokens_next_to_an_error() {
    for line in [
        r#"{"key":"k","error":{"code":13,"message":"m"},"usageMetadata":{"promptTokenCount":9,"thoughtsTokenCount":4}}"#,
        r#"{"key":"k","error":{"code":13},"response":{"usageMetadata":{"promptTokenCount":9,"thoughtsTokenCount":4}}}"#,
    ] {
        let answer = read(line);
        let usage = answer.usage.unwrap();
        assert_eq!(
            (
                answer.outcome.status(),
                usage.prompt_tokens,
                usage.thought_tokens
            ),
            (Status::Failed, 9, 4)
        );
    }
    let nothing = read(r#"{"key":"k","error":{"code":13},"usageMetadata":"many"}"#);
    assert_eq!(
        (nothing.outcome.status(), nothing.usage),
        (Status::Failed, None)
    );
}
