//! An image that a manifest asks for.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};
use url::Url;

use crate::{
    cost::Estimate,
    lane::Lane,
    models::ThinkingLevel,
    money::Usd,
    names::{ObjectUri, RequestKey},
};

/// An image that a manifest asks for, with everything that planning needs.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    /// The line on which its item begins.
    pub line: u64,
    /// The request key: the key of the item, or `<key>.v01`, `<key>.v02` and so on if the item asks
    /// for several images.
    pub key: RequestKey,
    /// The key of the item.
    pub item: String,
    /// The caller's name for the key of the item, such as `custom_id`. `None` for `key`.
    pub key_name: Option<&'static str>,
    /// The item's variables, by name.
    pub vars: BTreeMap<String, String>,
    /// The number of the image within its item, from 1.
    pub variant: u32,
    /// The full id of the model.
    pub model: String,
    /// The model as the manifest names it. `None` if it names none.
    pub model_asked: Option<String>,
    /// The requested aspect ratio.
    pub aspect_ratio: Option<String>,
    /// The requested image size.
    pub image_size: Option<String>,
    /// The requested thinking level.
    pub thinking: Option<ThinkingLevel>,
    /// The requested path of the image. It is neither safe nor unique yet.
    pub path: String,
    /// The reference pictures, in order.
    pub refs: Vec<ObjectUri>,
    /// Reference pictures by web address that were not copied to the bucket yet. They are missing
    /// from `refs` and `request`. Empty if all copies are given in [`super::Context::copies`].
    pub web: Vec<Url>,
    /// The prompt, or the texts of a Gemini request.
    pub prompt: Option<String>,
    /// The whole `GenerateContentRequest`, without a `model` member. References are
    /// `s3://bucket/key` texts. A Gemini request from the manifest is passed through byte for byte,
    /// with its own references.
    pub request: Box<RawValue>,
    /// The estimated number of input tokens.
    pub input_tokens: u64,
    /// How the image is requested. Provisional in a first reading, if its [`super::Reading::lanes`]
    /// are not final.
    pub lane: Lane,
    /// Whether the image is in the proof. False in a first reading.
    pub proof: bool,
    /// The estimated cost of the image in its lane.
    pub estimate: Estimate,
    /// The most that the image can cost in its lane, or in the lane that replaces it if Gemini has
    /// no capacity.
    pub ceiling_usd: Usd,
    /// A manifest line that asks for this image alone, under the same key, with all values spelled
    /// out. `None` for a request of more than [`REPEATED_BYTES`], which would be in memory twice.
    pub retry: Option<Value>,
}

/// The largest request that is repeated in a retry line, in bytes.
pub const REPEATED_BYTES: usize = 64 << 10;
