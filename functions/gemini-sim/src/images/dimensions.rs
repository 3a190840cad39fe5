//! Aspect ratios, image sizes, and the pixels they give.
//!
//! Source: ai.google.dev/gemini-api/docs/image-generation, read 2026-11-21.

/// An aspect ratio the service knows, with its pixels at size `1K`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ratio {
    /// As it is written in a request, e.g. `16:9`.
    pub(crate) name: &'static str,
    width: u16,
    height: u16,
    /// Whether only some models draw it: 1:4, 4:1, 1:8 and 8:1.
    pub(crate) extreme: bool,
}

const fn ratio(name: &'static str, width: u16, height: u16) -> Ratio {
    Ratio {
        name,
        width,
        height,
        extreme: width >= 4 * height || height >= 4 * width,
    }
}

/// All aspect ratios.
pub(crate) static RATIOS: [Ratio; 14] = [
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

impl Ratio {
    /// The ratio when neither the request nor a reference image names one.
    pub(crate) fn square() -> &'static Self {
        &RATIOS[0]
    }

    /// The ratio written as `name`.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        RATIOS.iter().find(|ratio| ratio.name == name)
    }

    /// The ratio nearest to that of an image, of those every model draws.
    pub(crate) fn nearest(width: u32, height: u32) -> &'static Self {
        let wanted = f64::from(width.max(1)) / f64::from(height.max(1));
        let distance = |ratio: &Self| (ratio.quotient() / wanted).ln().abs();
        let plain = RATIOS.iter().filter(|ratio| !ratio.extreme);
        plain
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .unwrap_or(Self::square())
    }

    /// The ratios that nobody takes for this one: at least a fifth wider or narrower.
    pub(crate) fn clearly_others(&self) -> impl Iterator<Item = &'static Self> {
        RATIOS
            .iter()
            .filter(|other| (other.quotient() / self.quotient()).ln().abs() > 0.2)
    }

    /// Width and height in pixels.
    pub(crate) fn pixels(&self, size: Size) -> (u16, u16) {
        let scaled = |length: u16| match size {
            Size::Half => length / 2,
            Size::One => length,
            Size::Two => length * 2,
            Size::Four => length * 4,
        };
        (scaled(self.width), scaled(self.height))
    }

    fn quotient(&self) -> f64 {
        f64::from(self.width) / f64::from(self.height)
    }
}

/// An image size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// `512`.
    Half,
    /// `1K`.
    One,
    /// `2K`.
    Two,
    /// `4K`.
    Four,
}

impl Size {
    /// The spellings the service accepts, as its error message lists them.
    pub(crate) const SPELLINGS: &'static str = "1K, 2K, 4K, 512, 512P, 512PX";

    /// The size written as `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "512" | "512P" | "512PX" => Some(Self::Half),
            "1K" => Some(Self::One),
            "2K" => Some(Self::Two),
            "4K" => Some(Self::Four),
            _ => None,
        }
    }

    /// As it is written in a request.
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
        let ratio = Ratio::named("16:9").expect("known");
        assert_eq!(ratio.pixels(Size::Half), (688, 384));
        assert_eq!(ratio.pixels(Size::One), (1376, 768));
        assert_eq!(ratio.pixels(Size::Two), (2752, 1536));
        assert_eq!(ratio.pixels(Size::Four), (5504, 3072));
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
    fn every_ratio_has_plain_ones_that_are_clearly_others() {
        for ratio in &RATIOS {
            assert!(ratio.clearly_others().any(|other| !other.extreme));
            assert!(ratio.clearly_others().all(|other| other != ratio));
        }
    }

    #[test]
    fn a_photograph_gives_its_own_ratio() {
        assert_eq!(Ratio::nearest(6000, 4000).name, "3:2");
        assert_eq!(Ratio::nearest(1080, 1920).name, "9:16");
        assert_eq!(Ratio::nearest(300, 300).name, "1:1");
    }
}
