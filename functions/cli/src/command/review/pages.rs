//! The pages: the list of jobs, the gallery of a job in review mode, and what the gallery links to.

use base64_simd::STANDARD;
use bytes::Bytes;
use darkroom::{
    gallery::{review_shell, stored},
    names::JobId,
    object_keys,
    status::JobStatus,
};
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_DISPOSITION, CONTENT_LENGTH, ETAG},
};
use seam::transport::{Body, empty};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::answer::{content, failure, page};
use crate::command::stack::{Content, Stack};

/// The style of the list and of the panel above a gallery.
const STYLE: &str = include_str!("review.css");

/// The script of the list and of the panel.
const SCRIPT: &str = include_str!("review.js");

/// Returns the script for a version of a page, with the style, which it adds to the page itself: a
/// policy then only needs the script's hash.
fn script(version: &str) -> String {
    let constant = |value: &str| script_text(&json!(value).to_string());
    let (style, version) = (constant(STYLE), constant(version));
    format!(
        "(() => {{\n\"use strict\";\nconst STYLE = {style};\nconst VERSION = \
         {version};\n{SCRIPT}}})();\n"
    )
}

/// Returns the page with the list of jobs.
pub(super) fn list() -> Response<Body> {
    let script = script("");
    let html = format!(
        "<!doctype html>\n\
         <html lang=\"en\" data-review=\"list\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Darkroom</title>\n\
         </head>\n\
         <body>\n\
         <noscript>This page needs JavaScript.</noscript>\n\
         <script>{script}</script>\n\
         </body>\n\
         </html>\n"
    );
    let hash = STANDARD.encode_to_string(Sha256::digest(&script));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{hash}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    page(html, &policy)
        .unwrap_or_else(|_| failure(StatusCode::INTERNAL_SERVER_ERROR, "invalid policy"))
}

/// Returns the answer to a browser that asks for the icon of the page.
pub(super) fn no_icon() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Returns the gallery of a job in review mode, unless it is the version that the browser has.
///
/// # Errors
/// Returns an error if the bucket can't be read, or the stored page is not a gallery.
pub(super) async fn gallery(
    stack: &Stack,
    job: &JobId,
    known: Option<&str>,
) -> anyhow::Result<Response<Body>> {
    let key = object_keys::gallery(job);
    let version = stack.etag(&key).await?;
    let etag = etag(version.as_deref());
    if known == Some(etag.as_str()) {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }

    // The page may have been written again since, and then this is the newer version.
    let stored = match version {
        Some(_) => stack.read(&key).await?,
        None => None,
    };
    let (html, policy, etag) = match stored {
        Some(object) => {
            let (text, etag) = (text(&object.bytes)?, self::etag(Some(&object.etag)));
            let Some(data) = stored::data_elements(text) else {
                return Ok(failure(
                    StatusCode::BAD_GATEWAY,
                    "the stored page is not a gallery of this version of Darkroom",
                ));
            };
            let (html, policy) = review_shell(data, &script(&etag));
            (html, policy, etag)
        }
        None => {
            let data = no_images(job, stack.status(job).await?.as_ref());
            let (html, policy) = review_shell(&data, &script(&etag));
            (html, policy, etag)
        }
    };
    let mut response = page(html, &policy)?;
    response
        .headers_mut()
        .insert(ETAG, HeaderValue::from_str(&etag)?);
    Ok(response)
}

/// Returns an image.
///
/// # Errors
/// Returns an error if the bucket can't be read.
pub(super) async fn image(
    stack: &Stack,
    key: &str,
    kind: &'static str,
) -> anyhow::Result<Response<Body>> {
    Ok(match stack.open_object(key).await? {
        Some(object) => streamed(object, kind),
        None => failure(StatusCode::NOT_FOUND, "there is no such image"),
    })
}

/// Returns a document as a download.
///
/// # Errors
/// Returns an error if the bucket can't be read.
pub(super) async fn download(
    stack: &Stack,
    key: &str,
    name: &str,
) -> anyhow::Result<Response<Body>> {
    let Some(object) = stack.open_object(key).await? else {
        return Ok(failure(StatusCode::NOT_FOUND, "there is no such document"));
    };
    let mut response = streamed(object, "text/plain; charset=utf-8");
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))?;
    response
        .headers_mut()
        .insert(CONTENT_DISPOSITION, disposition);
    Ok(response)
}

fn streamed(object: Content, kind: &'static str) -> Response<Body> {
    let mut response = content(StatusCode::OK, kind, object.body);
    if let Some(size) = object.size {
        response.headers_mut().insert(CONTENT_LENGTH, size.into());
    }
    response
}

fn text(bytes: &Bytes) -> anyhow::Result<&str> {
    Ok(std::str::from_utf8(bytes)?)
}

/// Returns the version of a gallery in review mode, from that of the stored page.
fn etag(stored: Option<&str>) -> String {
    let version = stored.map_or("none", |etag| etag.trim_matches('"'));
    format!("\"review-{version}\"")
}

/// Returns the data of a gallery for a job that has no stored page yet.
fn no_images(job: &JobId, status: Option<&JobStatus>) -> String {
    let images = status
        .and_then(|status| status.plan.as_ref())
        .map_or(0, |plan| plan.images);
    let head = json!({
        "v": 1, "job": job,
        "manifest": status.map_or_else(String::new, |status| status.manifest.to_string()),
        "phase": status.map_or(json!("submitting"), |status| json!(status.phase)),
        "updated": status.map(|status| status.updated_at),
        "images": images, "closed": false, "variables": [], "models": [],
    });
    let sums = json!({
        "counts": {
            "expected": images, "succeeded": 0, "failed": 0, "blocked": 0, "no_image": 0,
            "expired": 0, "cancelled": 0, "skipped": 0, "waiting": images, "held": 0,
        },
        "cost": 0, "provenance": {"iptc": 0, "c2pa": 0, "none": 0},
    });
    format!(
        "<script type=\"application/json\" id=\"job\">{}</script>\n\
         <script type=\"application/json\" id=\"sums\">{}</script>\n",
        script_text(&head.to_string()),
        script_text(&sums.to_string())
    )
}

/// Returns JSON in a form that can't end the script element that contains it.
fn script_text(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_can_stand_in_an_element() {
        let script = script("\"<!--\"").to_lowercase();
        assert!(!script.contains("</") && !script.contains("<!--") && !script.contains("<script"));
        assert!(!script.contains("innerhtml") && !script.contains("insertadjacenthtml"));
    }

    #[test]
    fn the_data_of_a_job_without_images_can_not_end_its_element() {
        let data = no_images(&JobId::new("a</script><script>alert(1)"), None);
        assert_eq!(data.matches("</script>").count(), 2, "{data}");
        assert!(stored::data_elements(&data).is_some());
    }
}
