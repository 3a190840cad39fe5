//! Null controls: the scanner with an unnecessary pass over the bytes. A guard that accepts one of
//! them could not detect a slower scanner either.

use std::hint::black_box;

use bench::responses::Form;
use memchr::memchr_iter;

use crate::{
    Work,
    scanner::{PIECE_BYTES, PNG_IMAGES, holds_image, images, lines, pool},
};

/// Each piece is searched for newlines before it is scanned, with SIMD. It takes more instructions
/// and no more allocations.
pub(crate) fn searched() -> anyhow::Result<Work> {
    let file = images(Form::Png, PNG_IMAGES)?;
    let pool = pool();
    Ok(Box::new(move || {
        let pieces = file.chunks(PIECE_BYTES).inspect(|piece| {
            black_box(memchr_iter(b'\n', piece).count());
        });
        Ok(lines(pieces, &pool, holds_image))
    }))
}

/// Each piece is copied before it is scanned. It takes more allocations.
pub(crate) fn copied() -> anyhow::Result<Work> {
    let file = images(Form::Png, PNG_IMAGES)?;
    let pool = pool();
    Ok(Box::new(move || {
        let pieces = file.chunks(PIECE_BYTES).map(<[u8]>::to_vec);
        Ok(lines(pieces, &pool, holds_image))
    }))
}
