//! The ratio and size of a model that are nearest to given pixels.

use crate::models::Model;

/// The ratio and size that are nearest to given pixels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NearestSize {
    pub(crate) aspect_ratio: String,
    pub(crate) image_size: String,
    /// The pixels of the resulting image.
    pub(crate) pixels: (u32, u32),
}

/// Returns the ratio that is nearest in shape, with the size that is nearest in area. `None` only
/// for a model without ratios or sizes.
pub(crate) fn nearest(model: &Model, (width, height): (u32, u32)) -> Option<NearestSize> {
    // Distances are logarithmic, so that twice and half are equally far.
    let shape = |(width, height): (u32, u32)| (f64::from(width) / f64::from(height)).ln();
    let area = |(width, height): (u32, u32)| (f64::from(width) * f64::from(height)).ln();
    let wanted = (width, height);
    let off = |a: f64, b: f64| (a - b).abs();
    let made = |ratio: &str| model.pixels(ratio, None);

    // The ratio is chosen first, because another shape changes an image more than another size.
    let ratio = model
        .ratios
        .iter()
        .filter_map(|ratio| Some((ratio, made(ratio)?)))
        .min_by(|(_, a), (_, b)| {
            off(shape(*a), shape(wanted)).total_cmp(&off(shape(*b), shape(wanted)))
        })
        .map(|(ratio, _)| ratio)?;
    let sizes = model
        .sizes
        .iter()
        .filter_map(|size| Some((size, model.pixels(ratio, Some(&size.name))?)));
    let (size, pixels) = sizes.min_by(|(_, a), (_, b)| {
        off(area(*a), area(wanted)).total_cmp(&off(area(*b), area(wanted)))
    })?;
    Some(NearestSize {
        aspect_ratio: ratio.clone(),
        image_size: size.name.clone(),
        pixels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Catalog;

    #[test]
    fn the_pixels_of_every_size_lead_back_to_that_size() {
        for model in Catalog::built_in().models() {
            for ratio in &model.ratios {
                for size in &model.sizes {
                    let Some(pixels) = model.pixels(ratio, Some(&size.name)) else {
                        continue;
                    };
                    assert_eq!(
                        nearest(model, pixels).unwrap().pixels,
                        pixels,
                        "{} {ratio} {}",
                        model.id,
                        size.name
                    );
                }
            }
        }
    }

    #[test]
    fn pixels_lead_to_the_nearest_ratio_and_size() {
        let catalog = Catalog::built_in();
        let model = catalog.model("gemini-3-pro-image").unwrap();
        for (wanted, ratio, size) in [
            ((1024, 1024), "1:1", "1K"),
            ((1536, 1024), "3:2", "1K"),
            ((1024, 1536), "2:3", "1K"),
            ((1792, 1024), "16:9", "1K"),
            ((2048, 2048), "1:1", "2K"),
            ((4096, 2304), "16:9", "4K"),
            ((256, 256), "1:1", "1K"),
        ] {
            let fit = nearest(model, wanted).unwrap();
            assert_eq!(
                (fit.aspect_ratio.as_str(), fit.image_size.as_str()),
                (ratio, size),
                "{wanted:?}"
            );
        }
        assert_eq!(
            nearest(model, (1024, 1024)).unwrap().pixels,
            (1024, 1024),
            "exactly"
        );
    }
}
