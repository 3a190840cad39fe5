//! Placeholder images: their dimensions, drawing and encoding.

pub(crate) mod canvas;
pub(crate) mod dimensions;
pub(crate) mod header;
pub(crate) mod marks;
pub(crate) mod placeholder;
pub(crate) mod text;
