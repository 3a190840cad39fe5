//! Shrinks an image while its rows arrive. Only the rows of the small image are in memory.
//!
//! Each pixel of the small image is the average of the area that it covers. Everything is computed
//! in integers, so every machine gets the same result. A column of the small image is `width`
//! units wide and one of the large image `to_width` units, so that both begin at whole units; the
//! same holds for rows.

/// Pixels in memory, three bytes each, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) rgb: Vec<u8>,
}

/// Receives the rows of a large image.
pub(crate) struct Shrinker {
    from: Size,
    to: Size,
    columns: Vec<Column>,
    /// The current row with its columns averaged, in units of `from.width`.
    row: Vec<u64>,
    /// The sum of the rows so far of the current row of the small image.
    sums: Vec<u64>,
    /// The number of rows that have arrived.
    rows: u64,
    rgb: Vec<u8>,
}

/// A size in pixels. It has 64 bits, since products of two of them are needed.
#[derive(Clone, Copy)]
struct Size {
    width: u64,
    height: u64,
}

/// The columns of the large image that one column of the small one covers.
struct Column {
    /// The first one, which may be covered in part.
    first: usize,
    first_weight: u64,
    /// The last one, if it is another one.
    last: usize,
    last_weight: u64,
}

/// Returns the size of a small image whose longest side has `side` pixels at most. No side is
/// enlarged, and none is shorter than a pixel.
fn target((width, height): (u32, u32), side: u32) -> (u32, u32) {
    let longest = width.max(height);
    if longest <= side {
        return (width, height);
    }
    let scaled = |length: u32| {
        let rounded =
            (u64::from(length) * u64::from(side) + u64::from(longest / 2)) / u64::from(longest);
        u32::try_from(rounded).unwrap_or(side).max(1)
    };
    (scaled(width), scaled(height))
}

impl Shrinker {
    /// Expects an image of this width and height, each at least 1. The longest side of the small
    /// one has `side` pixels at most.
    pub(crate) fn new(size: (u32, u32), side: u32) -> Self {
        let wide = |(width, height): (u32, u32)| Size {
            width: width.into(),
            height: height.into(),
        };
        let (from, to) = (wide(size), wide(target(size, side)));
        let columns = (0..to.width).map(|column| {
            let (start, end) = (column * from.width, (column + 1) * from.width);
            let (first, last) = (start / to.width, (end - 1) / to.width);
            Column {
                first: usize::try_from(first).unwrap_or(usize::MAX),
                first_weight: end.min((first + 1) * to.width) - start,
                last: usize::try_from(last).unwrap_or(usize::MAX),
                last_weight: if last > first {
                    end - last * to.width
                } else {
                    0
                },
            }
        });
        let columns: Vec<Column> = columns.collect();
        Self {
            row: vec![0; 3 * columns.len()],
            sums: vec![0; 3 * columns.len()],
            columns,
            from,
            to,
            rows: 0,
            rgb: Vec::new(),
        }
    }

    /// Adds the next row, three bytes for each pixel. Rows beyond the height are ignored, and so is
    /// a row that is too short.
    pub(crate) fn push(&mut self, rgb: &[u8]) {
        if self.rows == self.from.height || (rgb.len() as u64) < 3 * self.from.width {
            return;
        }
        self.average_columns(rgb);

        // A row of the large image belongs to one or two rows of the small one.
        let (from, to) = (self.rows * self.to.height, (self.rows + 1) * self.to.height);
        let boundary = (from / self.from.height + 1) * self.from.height;
        let weight = to.min(boundary) - from;
        for (sum, part) in self.sums.iter_mut().zip(&self.row) {
            *sum += weight * part;
        }
        if to >= boundary {
            self.end_row();
            let rest = to - boundary;
            for (sum, part) in self.sums.iter_mut().zip(&self.row) {
                *sum = rest * part;
            }
        }
        self.rows += 1;
    }

    fn average_columns(&mut self, rgb: &[u8]) {
        let pixels = rgb.as_chunks::<3>().0;
        for (column, averaged) in self.columns.iter().zip(self.row.as_chunks_mut::<3>().0) {
            // The columns between the first and the last one have the same weight.
            let mut inner = [0_u64; 3];
            if column.last > column.first {
                for pixel in &pixels[column.first + 1..column.last] {
                    for (sum, part) in inner.iter_mut().zip(pixel) {
                        *sum += u64::from(*part);
                    }
                }
            }
            let (first, last) = (pixels[column.first], pixels[column.last]);
            for (channel, average) in averaged.iter_mut().enumerate() {
                *average = inner[channel] * self.to.width
                    + u64::from(first[channel]) * column.first_weight
                    + u64::from(last[channel]) * column.last_weight;
            }
        }
    }

    fn end_row(&mut self) {
        let area = self.from.width * self.from.height;
        let average = |sum: &u64| u8::try_from((sum + area / 2) / area).unwrap_or(u8::MAX);
        self.rgb.extend(self.sums.iter().map(average));
    }

    /// Returns the small image, or none if rows are missing.
    pub(crate) fn finish(self) -> Option<Picture> {
        (self.rows == self.from.height).then_some(Picture {
            width: u32::try_from(self.to.width).ok()?,
            height: u32::try_from(self.to.height).ok()?,
            rgb: self.rgb,
        })
    }
}

impl Picture {
    /// Returns the image with a longest side of `side` pixels at most.
    pub(crate) fn shrunk(&self, side: u32) -> Option<Self> {
        let mut shrinker = Shrinker::new((self.width, self.height), side);
        let row = 3 * usize::try_from(self.width).ok()?;
        self.rgb
            .chunks_exact(row)
            .for_each(|row| shrinker.push(row));
        shrinker.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture(width: u32, height: u32, color: impl Fn(u32, u32) -> [u8; 3]) -> Picture {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let rgb = pixels.flat_map(|(x, y)| color(x, y)).collect();
        Picture { width, height, rgb }
    }

    #[test]
    fn a_small_image_stays_as_it_is() {
        for (width, height) in [(1, 1), (512, 512), (512, 3), (7, 511)] {
            let image = picture(width, height, |x, y| [x as u8, y as u8, (x * y) as u8]);
            assert_eq!(image.shrunk(512).unwrap(), image);
        }
    }

    #[test]
    fn the_longest_side_decides_and_no_side_vanishes() {
        for (from, to) in [
            ((1024, 1024), (512, 512)),
            ((5504, 3072), (512, 286)),
            ((3072, 5504), (286, 512)),
            ((3072, 384), (512, 64)),
            ((513, 1), (512, 1)),
            ((1, 100_000), (1, 512)),
        ] {
            assert_eq!(target(from, 512), to);
        }
    }

    #[test]
    fn each_pixel_is_the_average_of_its_area() {
        // Halves: four pixels become one.
        let image = picture(4, 2, |x, y| [(10 * x + y) as u8, 7, 255]);
        let half = image.shrunk(2).unwrap();
        assert_eq!((half.width, half.height), (2, 1));
        assert_eq!(half.rgb, [6, 7, 255, 26, 7, 255]);
        // Three columns become two: the one in the middle belongs to both.
        let image = picture(3, 1, |x, _| [90 * x as u8, 0, 0]);
        let two = image.shrunk(2).unwrap();
        assert_eq!(two.rgb, [30, 0, 0, 150, 0, 0]);
    }

    #[test]
    fn missing_rows_are_noticed() {
        let mut shrinker = Shrinker::new((4, 2), 2);
        shrinker.push(&[0; 12]);
        // It is too short.
        shrinker.push(&[0; 11]);
        assert_eq!(shrinker.finish(), None);
    }

    proptest! {
        /// The average of the small image is that of the large one, and a single color stays.
        #[test]
        fn a_color_keeps_its_value(width in 1_u32..300, height in 1_u32..300, side in 1_u32..64, color: [u8; 3]) {
            let small = picture(width, height, |_, _| color).shrunk(side).unwrap();
            prop_assert!(small.width <= side.max(1) && small.height <= side.max(1) || width.max(height) <= side);
            prop_assert_eq!(small.rgb.len(), 3 * (small.width * small.height) as usize);
            prop_assert!(small.rgb.as_chunks::<3>().0.iter().all(|pixel| *pixel == color));
        }
    }
}
