//! The dialects of an item: Darkroom's own, and those of other batch APIs.

pub(crate) mod bedrock;
pub(crate) mod field;
pub(crate) mod item;
pub(crate) mod native;
pub(crate) mod openai;
