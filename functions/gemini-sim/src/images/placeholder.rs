//! The simulated image: a colored sky with the request's key and prompt written on it.

use std::{
    num::NonZeroUsize,
    sync::{LazyLock, Mutex, PoisonError},
};

use lru::LruCache;
use sha2::{Digest, Sha256};

use crate::{
    images::{
        canvas::{Canvas, Color},
        marks::Marks,
        text::{CELL, wrap, write},
    },
    seeded_random::SeededRandom,
};

/// The number of images that are kept in [`DRAWN`]. An image of 1K has about 50 kB.
const KEPT: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// The images that were encoded last, by the digest of their content and format. Retries need the
/// same image again, and so do tests that use the same manifest. Drawing and encoding it takes
/// longer than all else that the simulated service does for a request.
static DRAWN: LazyLock<Mutex<LruCache<[u8; 32], Vec<u8>>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(KEPT)));

/// The content of a placeholder image.
#[derive(Debug)]
pub(crate) struct Placeholder<'a> {
    /// Width and height in pixels.
    pub(crate) pixels: (u16, u16),
    /// The title in large letters. It also determines the colors.
    pub(crate) title: &'a str,
    /// The text below the title, wrapped.
    pub(crate) text: &'a str,
    /// The text in small letters at the bottom.
    pub(crate) caption: &'a str,
    /// The labels of the colored tiles.
    pub(crate) tiles: &'a [&'a str],
    /// The marks of its origin.
    pub(crate) marks: Marks,
}

/// The height of a band of one color in the sky. It is that of JPEG's blocks, so that each block
/// has one color and compresses to almost nothing.
const BAND: u16 = 16;

impl Placeholder<'_> {
    /// Draws the image and encodes it as JPEG.
    ///
    /// # Errors
    /// When a side is 0 pixels long.
    pub(crate) fn jpeg(&self) -> Result<Vec<u8>, jpeg_encoder::EncodingError> {
        self.drawn("jpeg", |canvas| canvas.jpeg(self.marks))
    }

    /// Draws the image and encodes it as PNG.
    ///
    /// # Errors
    /// When a side is 0 pixels long.
    pub(crate) fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        self.drawn("png", |canvas| canvas.png(self.marks))
    }

    /// Returns the image in a format, drawn now or earlier.
    fn drawn<E>(
        &self,
        format: &str,
        encode: impl FnOnce(Canvas) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let digest: [u8; 32] = Sha256::digest(format!("{format} {self:?}")).into();
        let cache = || DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = cache().get(&digest) {
            return Ok(bytes.clone());
        }
        let bytes = encode(self.draw())?;
        cache().put(digest, bytes.clone());
        Ok(bytes)
    }

    fn draw(&self) -> Canvas {
        let mut canvas = self.sky();
        let shorter_side = canvas.width().min(canvas.height());
        let margin = shorter_side / 16;
        let white = Color::rgb(255, 255, 255);
        let pale = Color::rgb(215, 222, 230);

        // The corner, the caption and the tiles determine where the free space ends.
        let small = (shorter_side / 512).max(1);
        let corner = "SIMULATED";
        let right = canvas.width() - margin - width_of(corner, small);
        write(&mut canvas, right, margin / 2, small, pale, corner);
        let bottom = canvas.height() - margin / 2 - CELL * small;
        write(&mut canvas, margin, bottom, small, pale, self.caption);
        let floor = self.draw_tiles(&mut canvas, margin, bottom - margin / 2);

        // The title shrinks until it fits on one line, and wraps if it still does not.
        let room = canvas.width() - 2 * margin;
        let title_scale = fitting_scale(self.title, room, shorter_side);
        let mut y = canvas.height() / 8;
        for line in wrap(self.title, columns(room, title_scale), 3) {
            write(&mut canvas, margin, y, title_scale, white, &line);
            y += (CELL + 2) * title_scale;
        }
        y += margin / 2;

        // The prompt fills the remaining space.
        let text_scale = (shorter_side / 340).max(1);
        let line_height = (CELL + 4) * text_scale;
        let lines = usize::try_from((floor - y) / line_height).unwrap_or(0);
        for line in wrap(self.text, columns(room, text_scale), lines) {
            write(&mut canvas, margin, y, text_scale, pale, &line);
            y += line_height;
        }
        canvas
    }

    fn sky(&self) -> Canvas {
        let (width, height) = self.pixels;
        let random = SeededRandom::new(0, &["sky", self.title]);
        let hue = u16::try_from(random.below(360)).unwrap_or(0);
        let (top, bottom) = (Color::hsv(hue, 150, 140), Color::hsv(hue + 45, 170, 70));
        let bands = u32::from(height / BAND);
        let mut canvas = Canvas::new(width, height, |y| {
            top.blend(bottom, u32::from(y / BAND), bands)
        });
        let (right, down) = (canvas.width(), canvas.height());
        canvas.tint_disc(
            right * 7 / 10,
            down * 2 / 5,
            right.min(down) / 4,
            Color::hsv(hue + 330, 90, 255),
        );
        canvas
    }

    /// Draws the tiles in a row above `bottom` and returns where the free space above them ends.
    fn draw_tiles(&self, canvas: &mut Canvas, margin: i32, bottom: i32) -> i32 {
        let Ok(count @ 1..) = i32::try_from(self.tiles.len()) else {
            return bottom;
        };

        // All tiles share the width, up to a quarter of the shorter side each.
        let pitch =
            ((canvas.width() - 2 * margin) / count).min(canvas.width().min(canvas.height()) / 4);
        let side = pitch * 7 / 8;
        let (scale, top) = ((side / 80).max(1), bottom - side);

        // The color of a tile depends on its label alone.
        for (n, label) in (0..).zip(self.tiles) {
            let hue = u16::try_from(SeededRandom::new(0, &["tile", label]).below(360)).unwrap_or(0);
            let x = margin + n * pitch;
            canvas.fill(x, top, side, side, Color::hsv(hue, 130, 150));
            let mut y = top + CELL * scale;
            for line in wrap(label, columns(side, scale).saturating_sub(1), 3) {
                write(
                    canvas,
                    x + CELL * scale / 2,
                    y,
                    scale,
                    Color::rgb(255, 255, 255),
                    &line,
                );
                y += (CELL + 2) * scale;
            }
        }
        top - margin / 2
    }
}

/// Returns the largest scale at which the title fits on one line, within limits for legibility.
fn fitting_scale(title: &str, room: i32, shorter_side: i32) -> i32 {
    let (least, most) = ((shorter_side / 256).max(1), (shorter_side / 64).max(1));
    (room / width_of(title, 1).max(1)).clamp(least, most)
}

fn width_of(text: &str, scale: i32) -> i32 {
    i32::try_from(text.chars().count())
        .unwrap_or(i32::MAX)
        .saturating_mul(CELL * scale)
}

fn columns(room: i32, scale: i32) -> usize {
    usize::try_from(room / (CELL * scale)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::header::dimensions;

    const PROMPT: &str = "A red fox asleep in fresh snow under a birch, morning light from the left, soft shadows, \
                          35 mm film grain, calm and quiet";

    fn placeholder<'a>(
        pixels: (u16, u16),
        title: &'a str,
        tiles: &'a [&'a str],
    ) -> Placeholder<'a> {
        Placeholder {
            pixels,
            title,
            text: PROMPT,
            caption: "gemini-nano-banana-2.1  1:1  1K",
            tiles,
            marks: Marks::default(),
        }
    }

    #[test]
    fn images_have_the_requested_dimensions() {
        for pixels in [(1024, 1024), (384, 3072), (3072, 384), (464, 576)] {
            let jpeg = placeholder(pixels, "fox", &["a.png", "b.png"])
                .jpeg()
                .expect("encodes");
            assert_eq!(dimensions(&jpeg), Some((pixels.0.into(), pixels.1.into())));
        }
    }

    #[test]
    fn a_1k_image_is_small() {
        let jpeg = placeholder((1024, 1024), "banner/2026/fox-0001", &["one.png"])
            .jpeg()
            .expect("encodes");
        assert!(jpeg.len() < 60 * 1024, "{} bytes", jpeg.len());
    }

    #[test]
    fn the_title_determines_the_image() {
        let one = placeholder((512, 512), "one", &[]).jpeg().expect("encodes");
        assert_ne!(
            one,
            placeholder((512, 512), "two", &[]).jpeg().expect("encodes")
        );
        assert_eq!(
            one,
            placeholder((512, 512), "one", &[]).jpeg().expect("encodes")
        );
    }

    #[test]
    fn unusual_titles_and_many_tiles_are_drawn() {
        let tiles = ["a rather long display name of a file.png"; 14];
        for title in ["", "猫\u{1f98a}", &"x".repeat(500)] {
            assert!(placeholder((384, 3072), title, &tiles).jpeg().is_ok());
        }
    }
}
