//! Dialects: how an item is written. Darkroom has its own, and reads those of other batch APIs.

pub(crate) mod bedrock;
pub(crate) mod field;
pub(crate) mod item;
pub(crate) mod native;
pub(crate) mod openai;
