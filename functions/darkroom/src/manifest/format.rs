//! File formats: how the bytes of a manifest are decoded and split into items.

pub(crate) mod csv;
pub(crate) mod document;
pub(crate) mod encoding;
pub(crate) mod input;
pub(crate) mod jsonl;
