//! Aspect ratios, image sizes and the resulting dimensions in pixels.
//!
//! Source: ai.google.dev/gemini-api/docs/image-generation, read 2026-11-21.

/// An aspect ratio that the service supports, with its dimensions at size `1K`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AspectRatio {
    /// The name in requests, such as `16:9`.
    pub(crate) name: &'static str,
    width: u16,
    height: u16,
    /// Whether only some models support it: 1:4, 4:1, 1:8 and 8:1.
    pub(crate) extreme: bool,
}

const fn ratio(name: &'static str, width: u16, height: u16) -> AspectRatio {
    AspectRatio {
        name,
        width,
        height,
        extreme: width >= 4 * height || height >= 4 * width,
    }
}

/// All aspect ratios.
pub(crate) static RATIOS: [AspectRatio; 14] = [
    ratio("1:1", 1024, 1024),
    ratio("1:4", 512, 2048),
    ratio("4:1", 2048, 512),
    ratio("1:8", 384, 3072),
    ratio("8:1", 3072, 384),
    ratio("2:3", 848, 1264),
    ratio("3:2", 1264, 848),
    ratio("3:4", 896, 1200),
    ratio("4:3", 1200, 896),
    ratio("4:5", 928, 1152),
    ratio("5:4", 1152, 928),
    ratio("9:16", 768, 1376),
    ratio("16:9", 1376, 768),
    ratio("21:9", 1584, 672),
];

impl AspectRatio {
    /// Returns the ratio for requests with neither a ratio nor a reference image.
    pub(crate) fn square() -> &'static Self {
        &RATIOS[0]
    }

    /// Returns the ratio with this name.
    pub(crate) fn from_name(name: &str) -> Option<&'static Self> {
        RATIOS.iter().find(|ratio| ratio.name == name)
    }

    /// Returns the ratio nearest to that of an image, among those that every model supports.
    pub(crate) fn nearest(width: u32, height: u32) -> &'static Self {
        let wanted = f64::from(width.max(1)) / f64::from(height.max(1));
        let distance = |ratio: &Self| (ratio.quotient() / wanted).ln().abs();
        let plain = RATIOS.iter().filter(|ratio| !ratio.extreme);
        plain
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .unwrap_or(Self::square())
    }

    /// Returns the ratios that can't be mistaken for this one: at least a fifth wider or narrower.
    pub(crate) fn clearly_different(&self) -> impl Iterator<Item = &'static Self> {
        RATIOS
            .iter()
            .filter(|other| (other.quotient() / self.quotient()).ln().abs() > 0.2)
    }

    /// Returns the width and height in pixels.
    pub(crate) fn pixels(&self, size: ImageSize) -> (u16, u16) {
        let scaled = |length: u16| match size {
            ImageSize::Half => length / 2,
            ImageSize::One => length,
            ImageSize::Two => length * 2,
            ImageSize::Four => length * 4,
        };
        (scaled(self.width), scaled(self.height))
    }

    fn quotient(&self) -> f64 {
        f64::from(self.width) / f64::from(self.height)
    }
}

/// An image size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageSize {
    /// `512`.
    Half,
    /// `1K`.
    One,
    /// `2K`.
    Two,
    /// `4K`.
    Four,
}

impl ImageSize {
    /// The names that the service accepts, as its error message lists them.
    pub(crate) const SPELLINGS: &'static str = "1K, 2K, 4K, 512, 512P, 512PX";

    /// Returns the size with this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "512" | "512P" | "512PX" => Some(Self::Half),
            "1K" => Some(Self::One),
            "2K" => Some(Self::Two),
            "4K" => Some(Self::Four),
            _ => None,
        }
    }

    /// Returns the name in requests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Half => "512",
            Self::One => "1K",
            Self::Two => "2K",
            Self::Four => "4K",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_keep_the_ratio_within_five_percent() {
        for ratio in &RATIOS {
            let (across, down) = ratio.name.split_once(':').expect("a ratio");
            let wanted: f64 =
                across.parse::<f64>().expect("a number") / down.parse::<f64>().expect("a number");
            assert!(
                (ratio.quotient() / wanted - 1.0).abs() < 0.05,
                "{}",
                ratio.name
            );
        }
    }

    #[test]
    fn sizes_double() {
        let ratio = AspectRatio::from_name("16:9").expect("known");
        assert_eq!(ratio.pixels(ImageSize::Half), (688, 384));
        assert_eq!(ratio.pixels(ImageSize::One), (1376, 768));
        assert_eq!(ratio.pixels(ImageSize::Two), (2752, 1536));
        assert_eq!(ratio.pixels(ImageSize::Four), (5504, 3072));
    }

    #[test]
    fn four_ratios_are_extreme() {
        let extreme: Vec<_> = RATIOS
            .iter()
            .filter(|ratio| ratio.extreme)
            .map(|ratio| ratio.name)
            .collect();
        assert_eq!(extreme, ["1:4", "4:1", "1:8", "8:1"]);
    }

    #[test]
    fn every_ratio_has_clearly_different_plain_ratios() {
        for ratio in &RATIOS {
            assert!(ratio.clearly_different().any(|other| !other.extreme));
            assert!(ratio.clearly_different().all(|other| other != ratio));
        }
    }

    #[test]
    fn photographs_have_the_nearest_ratio() {
        assert_eq!(AspectRatio::nearest(6000, 4000).name, "3:2");
        assert_eq!(AspectRatio::nearest(1080, 1920).name, "9:16");
        assert_eq!(AspectRatio::nearest(300, 300).name, "1:1");
    }
}
