//! One request for an image: parsing and validation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    digest::sha256_hex,
    generation::{
        models::Model,
        thought_signature::{ReturnedImage, ReturnedSource, decoded},
    },
    images::{
        dimensions::{AspectRatio, ImageSize, RATIOS},
        header::{MAX_HEADER_BYTES, dimensions},
    },
};

/// A request for an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GenerateRequest {
    /// All text parts, joined by line breaks.
    pub(crate) prompt: String,
    /// The images in the request, in order.
    pub(crate) references: Vec<Reference>,
    /// Those of them that earlier answers had, as the request states.
    returned: Vec<ReturnedImage>,
    ratio: Option<&'static AspectRatio>,
    /// The image size.
    pub(crate) size: ImageSize,
    /// Whether the answer may contain text with the image.
    pub(crate) text_wanted: bool,
}

/// An image in a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// An uploaded file, by its id.
    Uploaded(String),
    /// Image data in the request itself, with its width and height if they can be read.
    Inline(Option<(u32, u32)>),
}

/// The uploaded files that requests refer to, by file id.
pub(crate) type References = BTreeMap<String, UploadedReference>;

/// An uploaded file that requests refer to. It is recorded when the batch is created, because files
/// expire after two days.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UploadedReference {
    /// The display name, or the id if there is none.
    pub(crate) label: String,
    /// The width and height, if the file is an image with a readable header.
    pub(crate) pixels: Option<(u32, u32)>,
    /// The SHA-256 in hexadecimal digits. Batches of older versions lack it; it matters only while
    /// a batch is created.
    #[serde(default)]
    pub(crate) sha256: String,
}

impl GenerateRequest {
    /// Reads a `GenerateContentRequest` whose field names are already validated.
    ///
    /// # Errors
    /// The service's message for a request that it can't serve.
    pub(crate) fn read(request: Value, model: &Model) -> Result<Self, String> {
        // The field names were validated before, so this fails only for wrong types.
        let wire: Request =
            serde_json::from_value(request).map_err(|_| "Request could not be read.".to_owned())?;
        let config = wire.generation_config;
        if config.candidate_count.is_some_and(|count| count > 1) {
            return Err("Multiple candidates is not enabled for this model".to_owned());
        }

        // Ratio and size must be supported by the model.
        let ratio = config
            .image_config
            .aspect_ratio
            .map(|name| readable_ratio(&name, model))
            .transpose()?;
        let size = config
            .image_config
            .image_size
            .map(|name| readable_size(&name))
            .transpose()?
            .unwrap_or(ImageSize::One);
        if model.image_tokens(size).is_none() {
            return Err(format!(
                "Image size {} is not supported for this model",
                size.name()
            ));
        }

        // The parts of all contents add up to one prompt and its images.
        let mut request = Self {
            prompt: String::new(),
            references: Vec::new(),
            returned: Vec::new(),
            ratio,
            size,
            text_wanted: config.response_modalities.is_empty()
                || config
                    .response_modalities
                    .iter()
                    .any(|modality| modality == "TEXT"),
        };
        for (in_request, content) in (1..).zip(wire.contents) {
            let is_answer = content.role == "model";
            for (in_content, part) in (1..).zip(content.parts) {
                if is_answer && let Some(image) = part.returned((in_request, in_content)) {
                    request.returned.push(image);
                }
                request.add(part)?;
            }
        }
        if request.prompt.is_empty() && request.references.is_empty() {
            return Err("* GenerateContentRequest.contents: contents is not specified".to_owned());
        }
        Ok(request)
    }

    /// Returns the ratio to draw: the requested one, or that of the first reference image.
    pub(crate) fn ratio(&self, uploaded: &References) -> &'static AspectRatio {
        self.ratio.unwrap_or_else(|| {
            let pixels = self
                .references
                .first()
                .and_then(|reference| match reference {
                    Reference::Uploaded(id) => uploaded.get(id)?.pixels,
                    Reference::Inline(pixels) => *pixels,
                });
            pixels.map_or(AspectRatio::square(), |(width, height)| {
                AspectRatio::nearest(width, height)
            })
        })
    }

    /// Returns a title for a request that has no key: its first words.
    pub(crate) fn title(&self) -> String {
        self.prompt
            .split_whitespace()
            .take(3)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Returns the ids of the uploaded files that the request refers to.
    pub(crate) fn uploaded(&self) -> impl Iterator<Item = &str> {
        self.references
            .iter()
            .filter_map(|reference| match reference {
                Reference::Uploaded(id) => Some(id.as_str()),
                Reference::Inline(_) => None,
            })
    }

    /// Returns the id of the first uploaded file that the request refers to and that is not among
    /// those that exist.
    pub(crate) fn absent_file(&self, existing: &References) -> Option<&str> {
        self.uploaded().find(|id| !existing.contains_key(*id))
    }

    /// Checks the thought signatures of images that earlier answers had. Files that do not exist are
    /// not checked.
    ///
    /// # Errors
    /// The service's message for the first missing or wrong signature.
    pub(crate) fn check_signatures(&self, seed: u64, uploaded: &References) -> Result<(), String> {
        let exists = |image: &&ReturnedImage| match &image.source {
            ReturnedSource::Inline(_) => true,
            ReturnedSource::Uploaded(id) => uploaded.contains_key(id),
        };
        let mut images = self.returned.iter().filter(exists);
        images.try_for_each(|image| image.check(seed, uploaded))
    }

    fn add(&mut self, part: Part) -> Result<(), String> {
        match part {
            Part {
                text: Some(text),
                inline_data: None,
                file_data: None,
                ..
            } => {
                if !self.prompt.is_empty() {
                    self.prompt.push('\n');
                }
                self.prompt.push_str(&text);
            }
            Part {
                text: None,
                inline_data: Some(blob),
                file_data: None,
                ..
            } => {
                self.references
                    .push(Reference::Inline(blob_dimensions(&blob.data)));
            }
            Part {
                text: None,
                inline_data: None,
                file_data: Some(file),
                ..
            } => {
                self.references
                    .push(Reference::Uploaded(file_id(&file.file_uri)?.to_owned()));
            }
            Part {
                text: None,
                inline_data: None,
                file_data: None,
                ..
            } => {}
            _ => {
                return Err(
                    "* GenerateContentRequest.contents.parts: a part holds one kind of data"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

/// Returns the file id in `files/<id>` or in a URI that ends with it.
pub(crate) fn file_id(uri: &str) -> Result<&str, String> {
    let (before, id) = uri.rsplit_once('/').unwrap_or_default();
    let names_a_file = (before == "files" || before.ends_with("/files")) && !id.is_empty();
    if names_a_file {
        Ok(id)
    } else {
        Err("Invalid or unsupported file uri".to_owned())
    }
}

fn readable_ratio(name: &str, model: &Model) -> Result<&'static AspectRatio, String> {
    let ratio = AspectRatio::from_name(name).ok_or_else(|| {
        let known: Vec<String> = RATIOS.iter().map(|ratio| format!("'{}'", ratio.name)).collect();
        format!(
            "* GenerateContentRequest.generation_config.image_config.aspect_ratio: aspect_ratio must be one of {}",
            known.join(", ")
        )
    })?;
    if model.supports(ratio) {
        Ok(ratio)
    } else {
        Err(format!(
            "Aspect ratio {} is not supported for this model",
            ratio.name
        ))
    }
}

fn readable_size(name: &str) -> Result<ImageSize, String> {
    ImageSize::from_name(name).ok_or_else(|| {
        format!(
            "Unsupported image_size '{name}'. Supported values are: {}.",
            ImageSize::SPELLINGS
        )
    })
}

fn blob_dimensions(base64: &str) -> Option<(u32, u32)> {
    // Decodes whole groups of four characters only, so that the cut leaves valid base64.
    let length = base64.len().min(MAX_HEADER_BYTES / 3 * 4) / 4 * 4;
    dimensions(&decoded(base64.get(..length)?)?)
}

/// Returns whether this MIME type, or a missing one, may be that of an image.
fn may_be_image(mime_type: &str) -> bool {
    mime_type.is_empty() || mime_type.starts_with("image/")
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Request {
    contents: Vec<Content>,
    generation_config: GenerationConfig,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Content {
    role: String,
    parts: Vec<Part>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Part {
    text: Option<String>,
    inline_data: Option<Blob>,
    file_data: Option<FileData>,
    thought: bool,
    thought_signature: Option<String>,
}

impl Part {
    /// Returns the image of a part in a turn of the model. `position` is that of the content and of
    /// the part, from 1. Images that are marked as thoughts don't count.
    fn returned(&self, position: (usize, usize)) -> Option<ReturnedImage> {
        let source = match (&self.inline_data, &self.file_data) {
            _ if self.thought => return None,
            (Some(blob), _) if may_be_image(&blob.mime_type) => {
                ReturnedSource::Inline(decoded(&blob.data).map(|bytes| sha256_hex(&bytes)))
            }
            (_, Some(file)) if may_be_image(&file.mime_type) => {
                ReturnedSource::Uploaded(file_id(&file.file_uri).ok()?.to_owned())
            }
            _ => return None,
        };
        Some(ReturnedImage {
            position,
            signature: self.thought_signature.clone(),
            source,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Blob {
    mime_type: String,
    data: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct FileData {
    mime_type: String,
    file_uri: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct GenerationConfig {
    response_modalities: Vec<String>,
    image_config: ImageConfig,
    candidate_count: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ImageConfig {
    aspect_ratio: Option<String>,
    image_size: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(image_config: Value, model: &str) -> Result<GenerateRequest, String> {
        let request = json!({
            "contents": [{"parts": [{"text": "a fox"}]}],
            "generationConfig": {"imageConfig": image_config},
        });
        GenerateRequest::read(request, Model::find(model).expect("live"))
    }

    #[test]
    fn the_defaults_are_square_1k_with_text() {
        let request = read(json!({}), "gemini-nano-banana-2.1").expect("valid");
        assert_eq!(request.ratio(&References::new()).name, "1:1");
        assert_eq!(request.size, ImageSize::One);
        assert!(request.text_wanted);
    }

    #[test]
    fn an_unknown_ratio_is_answered_with_all_ratios() {
        let error =
            read(json!({"aspectRatio": "7:5"}), "gemini-nano-banana-2.1").expect_err("unknown");
        assert!(error.contains("aspect_ratio must be one of '1:1', '1:4'"));
    }

    #[test]
    fn an_unsupported_ratio_or_size_is_rejected() {
        let ratio =
            read(json!({"aspectRatio": "1:4"}), "gemini-3-pro-image").expect_err("not drawn");
        assert_eq!(ratio, "Aspect ratio 1:4 is not supported for this model");
        let size =
            read(json!({"imageSize": "2K"}), "gemini-3.1-flash-lite-image").expect_err("not made");
        assert_eq!(size, "Image size 2K is not supported for this model");
        let size = read(json!({"imageSize": "8K"}), "gemini-nano-banana-2.1").expect_err("unknown");
        assert_eq!(
            size,
            "Unsupported image_size '8K'. Supported values are: 1K, 2K, 4K, 512, 512P, 512PX."
        );
    }

    #[test]
    fn the_first_reference_determines_the_default_ratio() {
        let request = json!({"contents": [{"parts": [
            {"text": "like this"},
            {"fileData": {"fileUri": "https://host/v1beta/files/wide"}},
        ]}]});
        let request =
            GenerateRequest::read(request, Model::find("gemini-3-pro-image").expect("live"))
                .expect("valid");
        assert_eq!(request.uploaded().collect::<Vec<_>>(), ["wide"]);
        let wide = UploadedReference {
            label: "wide.png".to_owned(),
            pixels: Some((1920, 1080)),
            sha256: String::new(),
        };
        assert_eq!(
            request
                .ratio(&References::from([("wide".to_owned(), wide)]))
                .name,
            "16:9"
        );
    }

    #[test]
    fn an_inline_image_determines_the_default_ratio() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x03\0\0\0\x04\0\x08\x02\xff\xff\xff";
        for alphabet in [base64_simd::STANDARD, base64_simd::URL_SAFE] {
            let data = alphabet.encode_to_string(png);
            let request = json!({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": data}}]}]});
            let request =
                GenerateRequest::read(request, Model::find("gemini-3-pro-image").expect("live"))
                    .expect("valid");
            assert_eq!(request.ratio(&References::new()).name, "3:4");
        }
    }

    #[test]
    fn only_final_images_in_turns_of_the_model_need_a_signature() {
        let model = Model::find("gemini-3-pro-image").expect("live");
        let check = |role: &str, part: Value| {
            let request = json!({"contents": [
                {"role": "user", "parts": [{"text": "a fox"}]},
                {"role": role, "parts": [{"text": "Here it is."}, part]},
            ]});
            let request = GenerateRequest::read(request, model).expect("valid");
            request.check_signatures(0, &References::new())
        };
        let image =
            |mime_type: &str| json!({"inlineData": {"mimeType": mime_type, "data": "eA=="}});
        let error = check("model", image("image/png")).expect_err("missing");
        assert!(
            error.contains("content position 2, part position 2"),
            "{error}"
        );
        assert!(check("model", json!({"inlineData": {"data": "eA=="}})).is_err());

        let mut thought = image("image/png");
        thought["thought"] = json!(true);
        let missing_file = json!({"fileData": {"fileUri": "files/gone"}});
        for part in [
            thought,
            image("video/mp4"),
            missing_file,
            json!({"text": "x"}),
        ] {
            assert_eq!(check("model", part.clone()), Ok(()), "{part}");
        }
        assert_eq!(check("user", image("image/png")), Ok(()));
    }

    #[test]
    fn an_empty_request_is_rejected() {
        let model = Model::find("gemini-3-pro-image").expect("live");
        assert!(GenerateRequest::read(json!({"contents": [{"parts": [{}]}]}), model).is_err());
        assert!(GenerateRequest::read(json!({}), model).is_err());
    }
}
