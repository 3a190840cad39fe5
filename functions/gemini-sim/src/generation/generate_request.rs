//! One request for an image, read and checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    generation::models::Model,
    images::{
        dimensions::{RATIOS, Ratio, Size},
        header::{ENOUGH_BYTES, dimensions},
    },
};

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// All its text.
    pub(crate) prompt: String,
    /// Its images, in order.
    pub(crate) references: Vec<Reference>,
    ratio: Option<&'static Ratio>,
    /// The image size.
    pub(crate) size: Size,
    /// Whether the answer may hold text beside the image.
    pub(crate) text_wanted: bool,
}

/// An image in a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// An uploaded file, by its id.
    Uploaded(String),
    /// Bytes in the request itself, with their pixels where these can be told.
    Inline(Option<(u32, u32)>),
}

/// What is known of the uploaded files that requests refer to, by file id.
pub(crate) type References = BTreeMap<String, UploadedReference>;

/// An uploaded file that requests refer to. Noted down when a batch is created, because files go
/// after two days.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UploadedReference {
    /// Its display name, or its id.
    pub(crate) label: String,
    /// Its width and height, where it is an image whose header can be read.
    pub(crate) pixels: Option<(u32, u32)>,
}

impl Ask {
    /// Reads a `GenerateContentRequest` whose names are known to be right.
    ///
    /// # Errors
    /// What the service says of a request it can't serve.
    pub(crate) fn read(request: Value, model: &Model) -> Result<Self, String> {
        let request: Request =
            serde_json::from_value(request).map_err(|_| "Request could not be read.".to_owned())?;
        let config = request.generation_config;
        if config.candidate_count.is_some_and(|count| count > 1) {
            return Err("Multiple candidates is not enabled for this model".to_owned());
        }
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
            .unwrap_or(Size::One);
        if model.image_tokens(size).is_none() {
            return Err(format!(
                "Image size {} is not supported for this model",
                size.name()
            ));
        }
        let mut ask = Self {
            prompt: String::new(),
            references: Vec::new(),
            ratio,
            size,
            text_wanted: config.response_modalities.is_empty()
                || config
                    .response_modalities
                    .iter()
                    .any(|modality| modality == "TEXT"),
        };
        for part in request
            .contents
            .into_iter()
            .flat_map(|content| content.parts)
        {
            ask.add(part)?;
        }
        if ask.prompt.is_empty() && ask.references.is_empty() {
            return Err("* GenerateContentRequest.contents: contents is not specified".to_owned());
        }
        Ok(ask)
    }

    /// The ratio to draw: the one asked for, or else that of the first reference image.
    pub(crate) fn ratio(&self, uploaded: &References) -> &'static Ratio {
        self.ratio.unwrap_or_else(|| {
            let pixels = self
                .references
                .first()
                .and_then(|reference| match reference {
                    Reference::Uploaded(id) => uploaded.get(id)?.pixels,
                    Reference::Inline(pixels) => *pixels,
                });
            pixels.map_or(Ratio::square(), |(width, height)| {
                Ratio::nearest(width, height)
            })
        })
    }

    /// A title for a request that has no key: its first words.
    pub(crate) fn title(&self) -> String {
        self.prompt
            .split_whitespace()
            .take(3)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The ids of the uploaded files it refers to.
    pub(crate) fn uploaded(&self) -> impl Iterator<Item = &str> {
        self.references
            .iter()
            .filter_map(|reference| match reference {
                Reference::Uploaded(id) => Some(id.as_str()),
                Reference::Inline(_) => None,
            })
    }

    fn add(&mut self, part: Part) -> Result<(), String> {
        match part {
            Part {
                text: Some(text),
                inline_data: None,
                file_data: None,
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
            } => {
                self.references
                    .push(Reference::Inline(blob_dimensions(&blob.data)));
            }
            Part {
                text: None,
                inline_data: None,
                file_data: Some(file),
            } => {
                self.references
                    .push(Reference::Uploaded(file_id(&file.file_uri)?.to_owned()));
            }
            Part {
                text: None,
                inline_data: None,
                file_data: None,
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

/// The file id in `files/<id>` or in a URI that ends so.
pub(crate) fn file_id(uri: &str) -> Result<&str, String> {
    let (before, id) = uri.rsplit_once('/').unwrap_or_default();
    let names_a_file = (before == "files" || before.ends_with("/files")) && !id.is_empty();
    if names_a_file {
        Ok(id)
    } else {
        Err("Invalid or unsupported file uri".to_owned())
    }
}

fn readable_ratio(name: &str, model: &Model) -> Result<&'static Ratio, String> {
    let ratio = Ratio::named(name).ok_or_else(|| {
        let known: Vec<String> = RATIOS.iter().map(|ratio| format!("'{}'", ratio.name)).collect();
        format!(
            "* GenerateContentRequest.generation_config.image_config.aspect_ratio: aspect_ratio must be one of {}",
            known.join(", ")
        )
    })?;
    if model.draws(ratio) {
        Ok(ratio)
    } else {
        Err(format!(
            "Aspect ratio {} is not supported for this model",
            ratio.name
        ))
    }
}

fn readable_size(name: &str) -> Result<Size, String> {
    Size::named(name).ok_or_else(|| {
        format!(
            "Unsupported image_size '{name}'. Supported values are: {}.",
            Size::SPELLINGS
        )
    })
}

fn blob_dimensions(base64: &str) -> Option<(u32, u32)> {
    // Whole groups of four only, so that a cut does not make the base64 wrong.
    let length = base64.len().min(ENOUGH_BYTES / 3 * 4) / 4 * 4;
    let start = base64.as_bytes().get(..length)?;
    // The service takes both alphabets; Google's Python SDK writes the one for URLs.
    let bytes = base64_simd::STANDARD
        .decode_to_vec(start)
        .or_else(|_| base64_simd::URL_SAFE.decode_to_vec(start));
    dimensions(&bytes.ok()?)
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
    parts: Vec<Part>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Part {
    text: Option<String>,
    inline_data: Option<Blob>,
    file_data: Option<FileData>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Blob {
    data: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct FileData {
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

    fn read(image_config: Value, model: &str) -> Result<Ask, String> {
        let request = json!({
            "contents": [{"parts": [{"text": "a fox"}]}],
            "generationConfig": {"imageConfig": image_config},
        });
        Ask::read(request, Model::find(model).expect("live"))
    }

    #[test]
    fn nothing_said_means_square_1k_with_text() {
        let ask = read(json!({}), "gemini-nano-banana-2.1").expect("valid");
        assert_eq!(ask.ratio(&References::new()).name, "1:1");
        assert_eq!(ask.size, Size::One);
        assert!(ask.text_wanted);
    }

    #[test]
    fn unknown_ratio_lists_all() {
        let error =
            read(json!({"aspectRatio": "7:5"}), "gemini-nano-banana-2.1").expect_err("unknown");
        assert!(error.contains("aspect_ratio must be one of '1:1', '1:4'"));
    }

    #[test]
    fn ratio_or_size_of_another_model_is_refused() {
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
    fn first_reference_gives_the_ratio_when_none_is_asked_for() {
        let request = json!({"contents": [{"parts": [
            {"text": "like this"},
            {"fileData": {"fileUri": "https://host/v1beta/files/wide"}},
        ]}]});
        let ask =
            Ask::read(request, Model::find("gemini-3-pro-image").expect("live")).expect("valid");
        assert_eq!(ask.uploaded().collect::<Vec<_>>(), ["wide"]);
        let wide = UploadedReference {
            label: "wide.png".to_owned(),
            pixels: Some((1920, 1080)),
        };
        assert_eq!(
            ask.ratio(&References::from([("wide".to_owned(), wide)]))
                .name,
            "16:9"
        );
    }

    #[test]
    fn inline_image_gives_the_ratio_too() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x03\0\0\0\x04\0\x08\x02\xff\xff\xff";
        for alphabet in [base64_simd::STANDARD, base64_simd::URL_SAFE] {
            let data = alphabet.encode_to_string(png);
            let request = json!({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": data}}]}]});
            let ask = Ask::read(request, Model::find("gemini-3-pro-image").expect("live"))
                .expect("valid");
            assert_eq!(ask.ratio(&References::new()).name, "3:4");
        }
    }

    #[test]
    fn nothing_to_draw_is_refused() {
        let model = Model::find("gemini-3-pro-image").expect("live");
        assert!(Ask::read(json!({"contents": [{"parts": [{}]}]}), model).is_err());
        assert!(Ask::read(json!({}), model).is_err());
    }
}
