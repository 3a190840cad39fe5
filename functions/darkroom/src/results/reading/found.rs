//! What the parts of a response hold.

use super::{
    super::{
        answer::Image,
        image::ImageFlaw,
        pool::PooledBuffer,
        skeleton::{Text, WireFileData, WirePart, WireResponse},
    },
    Blobs, clean, text_image,
};

/// What the parts of a response hold, in their order.
#[derive(Default)]
pub(super) struct Found {
    /// Whole images that are no thoughts.
    pub(super) images: Vec<Image>,
    /// What is wrong with the last of those that aren't whole.
    pub(super) last_flaw: Option<ImageFlaw>,
    /// The numbers of images that are thoughts, where they have one.
    pub(super) thoughts: Vec<Option<usize>>,
    /// Whether a thought has become the image.
    pub(super) is_thought_used: bool,
    /// The last image that is given by its address.
    pub(super) link: Option<Link>,
    /// Whether there is an image that is written as text.
    pub(super) text_image: bool,
    /// What the model says last, thoughts aside.
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

    /// Whether the answer holds an image in any form, whole or not: then its tokens may be an
    /// image's.
    pub(super) fn holds_image(&self) -> bool {
        !self.images.is_empty()
            || self.last_flaw.is_some()
            || !self.thoughts.is_empty()
            || self.link.is_some()
    }

    /// Makes the last thought that is a whole image the image, for an answer that has no other: it
    /// was charged for, and Google says that the last image among the thoughts is the final one
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

    /// What else the answer holds that was meant as an image, beside those that can be used.
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

/// The number that stands for an image's text. A part without `data` has an empty one: JSON made
/// from Protocol Buffers leaves out what is empty.
fn number(data: Option<&Text<'_>>) -> Option<usize> {
    data?.lossy().parse().ok()
}

fn take_blob(blobs: &mut Blobs, number: Option<usize>) -> Result<PooledBuffer, ImageFlaw> {
    number
        .and_then(|number| blobs.get_mut(number)?.take())
        .unwrap_or(Err(ImageFlaw::NotAnImage))
}

/// The address of an image, without its query, which may hold a key.
#[derive(Debug)]
pub(super) struct Link(String);

impl Link {
    /// The address, if the file may be an image: its type says so, or there is none.
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

    /// What to do about an image that came as nothing but this.
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
