//! One image that a manifest asks for.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};
use url::Url;

use crate::{
    cost::{Estimate, Usd},
    models::ThinkingLevel,
    names::{ObjectUri, RequestKey},
};

/// One image that a manifest asks for, with all that planning needs.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    /// The line on which its item begins.
    pub line: u64,
    /// The request key: the item's key, or `<key>.v01` and on where the item asks for several
    /// images.
    pub key: RequestKey,
    /// The item's own key.
    pub item: String,
    /// What the caller calls the item's key, where that isn't `key`: `custom_id`, say.
    pub key_name: Option<&'static str>,
    /// The item's variables, by name.
    pub vars: BTreeMap<String, String>,
    /// Which of the item's images, from 1.
    pub variant: u32,
    /// The model that will be asked, a full id.
    pub model: String,
    /// The model as the manifest names it; `None` where it names none.
    pub model_asked: Option<String>,
    /// The aspect ratio asked for.
    pub aspect_ratio: Option<String>,
    /// The image size asked for.
    pub image_size: Option<String>,
    /// How much the model is to think, where the manifest says it.
    pub thinking: Option<ThinkingLevel>,
    /// Where the image should lie, as the person wants it: neither safe nor unique yet.
    pub path: String,
    /// The reference pictures, in order.
    pub refs: Vec<ObjectUri>,
    /// Reference pictures by web address that weren't copied to the bucket yet: neither `refs` nor
    /// `request` have them. None in a reading that is given the copies of all
    /// ([`super::Context::copies`]).
    pub web: Vec<Url>,
    /// The prompt, or the texts of a request in Google's form.
    pub prompt: Option<String>,
    /// The whole `GenerateContentRequest`. References are `s3://bucket/key` texts, or as a request
    /// in Google's form has them; such a request is passed through byte for byte, without a `model`
    /// member.
    pub request: Box<RawValue>,
    /// Input tokens, about.
    pub input_tokens: u64,
    /// What the image will cost.
    pub estimate: Estimate,
    /// What it may cost in a batch at the most.
    pub ceiling_usd: Usd,
    /// A manifest line that asks for this image alone, under the same key, with all values spelled
    /// out. None for a request of more than [`REPEATED_BYTES`], which would be held twice.
    pub retry: Option<Value>,
}

/// The largest request, in bytes, that is repeated as a line to retry.
pub const REPEATED_BYTES: usize = 64 << 10;
