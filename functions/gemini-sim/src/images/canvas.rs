//! An image made of horizontal runs of color, encoded as JPEG or PNG.
//!
//! Runs take little memory even for a large image, and the rows that the encoder requests are
//! filled by simple memory copies.

use std::io::Write;

use jpeg_encoder::{
    Encoder, EncodingError, ImageBuffer, JpegColorType, SamplingFactor, rgb_to_ycbcr,
};

use crate::images::marks::Marks;

const QUALITY: u8 = 80;

/// A color, as red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Color([u8; 3]);

impl Color {
    /// Returns the color with these red, green and blue values.
    pub(crate) fn rgb(red: u8, green: u8, blue: u8) -> Self {
        Self([red, green, blue])
    }

    /// Returns the color with this hue (in degrees), saturation and brightness (0 to 255).
    pub(crate) fn hsv(hue: u16, saturation: u8, brightness: u8) -> Self {
        let (hue, full) = (u32::from(hue % 360), u32::from(brightness));
        let faded = |part: u32| {
            let lost = u32::from(saturation) * part / 60;
            u8::try_from(full * 255_u32.saturating_sub(lost) / 255).unwrap_or(u8::MAX)
        };
        let (most, least) = (brightness, faded(60));
        let (falling, rising) = (faded(hue % 60), faded(60 - hue % 60));
        match hue / 60 {
            0 => Self::rgb(most, rising, least),
            1 => Self::rgb(falling, most, least),
            2 => Self::rgb(least, most, rising),
            3 => Self::rgb(least, falling, most),
            4 => Self::rgb(rising, least, most),
            _ => Self::rgb(most, least, falling),
        }
    }

    /// Mixes this color with another, in the proportion `part` of `whole`.
    pub(crate) fn blend(self, other: Self, part: u32, whole: u32) -> Self {
        let part = part.min(whole);
        let mix = |from: u8, to: u8| {
            let sum = u32::from(from) * (whole - part) + u32::from(to) * part;
            u8::try_from(sum / whole.max(1)).unwrap_or(u8::MAX)
        };
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        Self([mix(a, x), mix(b, y), mix(c, z)])
    }

    /// Returns the color in the color space of JPEG.
    fn ycbcr(self) -> [u8; 3] {
        let [red, green, blue] = self.0;
        rgb_to_ycbcr(red, green, blue).into()
    }
}

struct PixelRow {
    background: Color,
    /// Later runs cover earlier ones.
    runs: Vec<Run>,
}

struct Run {
    from: u16,
    to: u16,
    color: Color,
}

/// An image to draw on.
pub(crate) struct Canvas {
    width: u16,
    rows: Vec<PixelRow>,
}

impl Canvas {
    /// Creates a canvas whose row `y` has the color `background(y)`.
    pub(crate) fn new(width: u16, height: u16, background: impl Fn(u16) -> Color) -> Self {
        let row = |y| PixelRow {
            background: background(y),
            runs: Vec::new(),
        };
        Self {
            width,
            rows: (0..height).map(row).collect(),
        }
    }

    /// Returns the width in pixels.
    pub(crate) fn width(&self) -> i32 {
        i32::from(self.width)
    }

    /// Returns the height in pixels.
    pub(crate) fn height(&self) -> i32 {
        i32::try_from(self.rows.len()).unwrap_or(i32::MAX)
    }

    /// Fills a rectangle. Parts outside the canvas are cut off.
    pub(crate) fn fill(&mut self, x: i32, y: i32, width: i32, height: i32, color: Color) {
        let within = |at: i32, limit: i32| u16::try_from(at.clamp(0, limit)).unwrap_or(0);
        let (from, to) = (
            within(x, self.width()),
            within(x.saturating_add(width), self.width()),
        );
        let (top, bottom) = (
            within(y, self.height()),
            within(y.saturating_add(height), self.height()),
        );
        if from >= to || top >= bottom {
            return;
        }
        for row in &mut self.rows[usize::from(top)..usize::from(bottom)] {
            row.runs.push(Run { from, to, color });
        }
    }

    /// Draws a translucent disc, which shifts each row's background by a fifth towards `color`.
    pub(crate) fn tint_disc(&mut self, x: i32, y: i32, radius: i32, color: Color) {
        for row in (y - radius).max(0)..(y + radius).min(self.height()) {
            let half = (radius * radius - (row - y) * (row - y)).isqrt();
            if let Some(background) = usize::try_from(row).ok().and_then(|row| self.rows.get(row)) {
                let tinted = background.background.blend(color, 1, 5);
                self.fill(x - half, row, 2 * half, 1, tinted);
            }
        }
    }

    /// Encodes the image as JPEG, with these marks.
    ///
    /// # Errors
    /// When a side is 0 pixels long.
    pub(crate) fn jpeg(self, marks: Marks) -> Result<Vec<u8>, EncodingError> {
        let mut bytes = Vec::with_capacity(64 * 1024);
        let mut encoder = Encoder::new(&mut bytes, QUALITY);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        marks.add_to_jpeg(&mut encoder)?;
        encoder.encode_image(self)?;
        Ok(bytes)
    }

    /// Encodes the image as PNG, with these marks.
    ///
    /// # Errors
    /// When a side is 0 pixels long.
    pub(crate) fn png(&self, marks: Marks) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::with_capacity(64 * 1024);
        let mut encoder = png::Encoder::new(
            &mut bytes,
            self.width.into(),
            ImageBuffer::height(self).into(),
        );
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        marks.add_to_png(&mut writer)?;
        let mut pixels = writer.stream_writer()?;
        for row in &self.rows {
            let mut line = row.background.0.repeat(self.width.into());
            for run in &row.runs {
                let run_bytes = 3 * usize::from(run.from)..3 * usize::from(run.to);
                line[run_bytes]
                    .chunks_exact_mut(3)
                    .for_each(|pixel| pixel.copy_from_slice(&run.color.0));
            }
            pixels.write_all(&line)?;
        }
        pixels.finish()?;
        writer.finish()?;
        Ok(bytes)
    }
}

impl ImageBuffer for Canvas {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.width
    }

    fn height(&self) -> u16 {
        u16::try_from(self.rows.len()).unwrap_or(u16::MAX)
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let row = &self.rows[usize::from(y)];
        let background = row.background.ycbcr();
        let start = buffers[0].len();
        for (buffer, part) in buffers.iter_mut().zip(background) {
            buffer.resize(start + usize::from(self.width), part);
        }
        for run in &row.runs {
            let run_pixels = start + usize::from(run.from)..start + usize::from(run.to);
            for (buffer, part) in buffers.iter_mut().zip(run.color.ycbcr()) {
                buffer[run_pixels.clone()].fill(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: Color = Color([255, 255, 255]);
    const BLACK: Color = Color([0, 0, 0]);

    fn luma(canvas: &Canvas, y: u16) -> Vec<u8> {
        let mut buffers = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        canvas.fill_buffers(y, &mut buffers);
        let [luma, ..] = buffers;
        luma
    }

    #[test]
    fn rectangles_are_cut_at_the_edges() {
        let mut canvas = Canvas::new(4, 3, |_| BLACK);
        canvas.fill(2, -5, 9, 6, WHITE);
        canvas.fill(-3, 2, 4, 9, WHITE);
        canvas.fill(7, 7, 1, 1, WHITE);
        assert_eq!(luma(&canvas, 0), [0, 0, 255, 255]);
        assert_eq!(luma(&canvas, 1), [0, 0, 0, 0]);
        assert_eq!(luma(&canvas, 2), [255, 0, 0, 0]);
    }

    #[test]
    fn later_runs_cover_earlier_ones() {
        let mut canvas = Canvas::new(3, 1, |_| BLACK);
        canvas.fill(0, 0, 3, 1, WHITE);
        canvas.fill(1, 0, 1, 1, BLACK);
        assert_eq!(luma(&canvas, 0), [255, 0, 255]);
    }

    #[test]
    fn hues_give_the_primary_colors() {
        assert_eq!(Color::hsv(0, 255, 255), Color::rgb(255, 0, 0));
        assert_eq!(Color::hsv(120, 255, 255), Color::rgb(0, 255, 0));
        assert_eq!(Color::hsv(240, 255, 255), Color::rgb(0, 0, 255));
        assert_eq!(Color::hsv(77, 0, 200), Color::rgb(200, 200, 200));
    }

    #[test]
    fn a_jpeg_has_start_and_end_markers() {
        let jpeg = Canvas::new(17, 9, |_| BLACK)
            .jpeg(Marks::default())
            .expect("encodes");
        assert!(jpeg.starts_with(b"\xff\xd8\xff") && jpeg.ends_with(b"\xff\xd9"));
    }

    #[test]
    fn a_png_holds_the_runs() {
        let mut canvas = Canvas::new(3, 2, |_| BLACK);
        canvas.fill(1, 0, 1, 1, WHITE);
        let bytes = canvas.png(Marks::default()).expect("encodes");
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .expect("a header");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        reader.next_frame(&mut pixels).expect("pixels");
        assert_eq!(pixels, [[0, 0, 0, 255, 255, 255, 0, 0, 0], [0; 9]].concat());
    }
}
