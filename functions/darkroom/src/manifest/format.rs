//! The forms of a manifest file: how its bytes become items.

pub(crate) mod csv;
pub(crate) mod document;
pub(crate) mod encoding;
pub(crate) mod input;
pub(crate) mod jsonl;
