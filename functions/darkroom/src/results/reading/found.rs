//! The images and texts in the parts of a response.

use super::{
    super::{
        answer::Image,
        image::ImageFlaw,
        pool::PooledBuffer,
        skeleton::{Text, WireFileData, WirePart, WireResponse},
    },
    Blobs, clean, text_image,
};

/// The images and texts in the parts of a response, in order.
#[derive(Default)]
pub(super) struct Found {
    /// Complete images outside thoughts.
    pub(super) images: Vec<Image>,
    /// The flaw of the last incomplete image.
    pub(super) last_flaw: Option<ImageFlaw>,
    /// The numbers of images in thoughts, if they have one.
    pub(super) thoughts: Vec<Option<usize>>,
    /// Whether an image from a thought is used.
    pub(super) is_thought_used: bool,
    /// The last image that is a link.
    pub(super) link: Option<Link>,
    /// Whether an image is written as text.
    pub(super) text_image: bool,
    /// The model's last text outside thoughts.
    pub(super) text: Option<String>,
}

impl Found {
    pub(super) fn of(response: &WireResponse<'_>, blobs: &mut Blobs) -> Self {
        let mut found = Self::default();
        let contents = response
            .candidates
            .iter()
            .flatten()
            .filter_map(|candidate| candidate.content.as_ref());
        for part in contents.flat_map(|content| content.parts.iter().flatten()) {
            if part.thought.unwrap_or_default() {
                found.add_thought(part);
            } else {
                found.add(part, blobs);
            }
        }
        found
    }

    fn add_thought(&mut self, part: &WirePart<'_>) {
        if let Some(inline) = &part.inline_data {
            self.thoughts.push(number(inline.data.as_ref()));
        }
    }

    fn add(&mut self, part: &WirePart<'_>, blobs: &mut Blobs) {
        match (&part.inline_data, &part.file_data) {
            (Some(inline), _) => {
                match take_blob(blobs, number(inline.data.as_ref())).and_then(Image::new) {
                    Ok(image) => self.images.push(image),
                    Err(flaw) => self.last_flaw = Some(flaw),
                }
            }
            (None, Some(file)) => self.link = Link::of(file).or(self.link.take()),
            (None, None) => match &part.text {
                Some(text) if text_image::is_image(&text.lossy()) => self.text_image = true,
                text => self.text = clean(text.as_ref()).or(self.text.take()),
            },
        }
    }

    /// Whether the answer contains an image in any form, complete or not. Its tokens may then be
    /// image tokens.
    pub(super) fn holds_image(&self) -> bool {
        !self.images.is_empty()
            || self.last_flaw.is_some()
            || !self.thoughts.is_empty()
            || self.link.is_some()
    }

    /// Uses the last complete image in thoughts for an answer without any other image. It was
    /// charged for, and Google documents that the last image in the thoughts is the final one
    /// (<https://ai.google.dev/gemini-api/docs/image-generation>, read 2026-11).
    pub(super) fn use_thought(&mut self, blobs: &mut Blobs, warnings: &mut Vec<String>) {
        let images = self
            .thoughts
            .iter()
            .rev()
            .filter_map(|number| take_blob(blobs, *number).and_then(Image::new).ok());
        if let Some(image) = { images }.next() {
            self.images.push(image);
            self.is_thought_used = true;
            warnings
                .push("the answer's only image is marked as a thought of the model: check that it is finished".into());
        }
    }

    /// Returns warnings about further images in the answer that can't be used.
    pub(super) fn unused(&self) -> impl Iterator<Item = String> {
        let flaw = self
            .last_flaw
            .map(|flaw| format!("another image of the answer can't be used: {flaw}"));
        let link = self
            .link
            .as_ref()
            .map(|link| format!("another image of the answer is at {}", link.0));
        [flaw, link].into_iter().flatten()
    }
}

/// Returns the number that replaces an image's text. A part without `data` has an empty text, because
/// JSON from Protocol Buffers omits empty members.
fn number(data: Option<&Text<'_>>) -> Option<usize> {
    data?.lossy().parse().ok()
}

fn take_blob(blobs: &mut Blobs, number: Option<usize>) -> Result<PooledBuffer, ImageFlaw> {
    number
        .and_then(|number| blobs.get_mut(number)?.take())
        .unwrap_or(Err(ImageFlaw::NotAnImage))
}

/// The address of an image without its query, which may contain a key.
#[derive(Debug)]
pub(super) struct Link(String);

impl Link {
    /// Returns the address of a file that may be an image, because its type is an image type or is
    /// absent.
    fn of(file: &WireFileData<'_>) -> Option<Self> {
        let kind = clean(file.mime_type.as_ref())
            .unwrap_or_default()
            .to_ascii_lowercase();
        if !kind.is_empty() && !kind.starts_with("image/") {
            return None;
        }
        let uri = clean(file.file_uri.as_ref()).unwrap_or_default();
        let end = uri.find(['?', '#']).unwrap_or(uri.len());
        Some(Self(uri[..end].to_owned()))
    }

    /// Returns the message about an image that exists only as a link.
    pub(super) fn message(&self) -> String {
        let place = match self.0.as_str() {
            "" => "at an address that the answer leaves out",
            address => address,
        };
        format!(
            "Gemini made the image and answered with a link instead of its bytes: {place}. Download it from there while it \
             exists; asking for it again would be charged again."
        )
    }
}
