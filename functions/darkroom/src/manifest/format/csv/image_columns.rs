//! What an image should be, under the names that other programs have for it. What can't be told for
//! certain is refused: an image of another size than was asked for costs as much as the right one.

use super::{cell, column::ForeignSetting, columns::unmap_example};
use crate::manifest::{diagnostics::quote, dialect::item::Item};

/// Sizes by name.
const SIZES: [&str; 5] = ["512", "1K", "2K", "4K", "0.5K"];

/// Width and height, each with its column's name, where both are asked for.
#[derive(Default)]
pub(crate) struct Sides<'a> {
    pub(crate) width: Option<(&'a str, &'a str)>,
    pub(crate) height: Option<(&'a str, &'a str)>,
}

impl Sides<'_> {
    /// Sets the pixels of an item, or says why they can't be.
    pub(crate) fn set(&self, item: &mut Item) -> Result<(), String> {
        match (self.width, self.height) {
            (None, None) => Ok(()),
            (Some((wide, width)), Some((high, height))) => {
                let (Some(width), Some(height)) = (cell::side(width), cell::side(height)) else {
                    return Err(format!(
                        "{} and {} must be pixels from 64 to 16384, not {} and {}: else call them aspect_ratio and \
                         image_size, or {}",
                        quote(wide),
                        quote(high),
                        quote(width),
                        quote(height),
                        freed(wide)
                    ));
                };
                set_pixels(item, wide, (width, height))
            }
            (Some((name, _)), None) | (None, Some((name, _))) => Err(format!(
                "{} alone says no size: add the other side, or call the column aspect_ratio or image_size, or {}",
                quote(name),
                freed(name)
            )),
        }
    }
}

/// Sets what the cell of such a column says, or says why it can't be.
pub(crate) fn set(
    item: &mut Item,
    other: ForeignSetting,
    name: &str,
    cell: &str,
) -> Result<(), String> {
    let refused = |what: &str| {
        Err(format!(
            "{} says {}: {what}, or {}",
            quote(name),
            quote(cell),
            freed(name)
        ))
    };
    match other {
        ForeignSetting::Size => match (size(cell), cell::pixels(cell), ratio(cell)) {
            (Some(size), _, _) => set_once(&mut item.image_size, name, "image_size", size),
            (_, Some(pixels), _) => set_pixels(item, name, pixels),
            (_, _, Some(ratio)) => set_once(&mut item.aspect_ratio, name, "aspect_ratio", ratio),
            (None, None, None) => refused(
                "write image_size (512, 1K, 2K, 4K) and aspect_ratio (such as 4:5), or pixels such as 1024x1536",
            ),
        },
        ForeignSetting::Ratio => match ratio(cell) {
            Some(ratio) => set_once(&mut item.aspect_ratio, name, "aspect_ratio", ratio),
            None => refused("write aspect_ratio, such as 4:5"),
        },
        ForeignSetting::Quality => match size(cell) {
            Some(size) => set_once(&mut item.image_size, name, "image_size", size),
            None => refused(
                "Gemini has one quality; what it can make larger is image_size (1K, 2K, 4K)",
            ),
        },
        ForeignSetting::Negative => refused(
            "Gemini takes no negative prompt: say in the prompt what the image must not show",
        ),
        ForeignSetting::Orientation => {
            refused("write aspect_ratio, such as 3:4 for upright or 4:3 for wide")
        }
        // Both are needed at once: see [`Sides`].
        ForeignSetting::Width | ForeignSetting::Height => Ok(()),
    }
}

fn set_pixels(item: &mut Item, name: &str, pixels: (u32, u32)) -> Result<(), String> {
    if item.pixels.replace(pixels).is_some() {
        return Err(format!(
            "{} and another column say pixels: keep one",
            quote(name)
        ));
    }
    Ok(())
}

fn set_once(
    field: &mut Option<String>,
    name: &str,
    meaning: &str,
    value: String,
) -> Result<(), String> {
    match field.replace(value.clone()) {
        Some(other) if other != value => Err(format!(
            "{} and another column say {meaning}: keep one",
            quote(name)
        )),
        Some(_) | None => Ok(()),
    }
}

/// How a column is freed of its meaning.
fn freed(name: &str) -> String {
    format!(
        "if the column is your own, say so in the job document: {}",
        unmap_example(name)
    )
}

fn size(cell: &str) -> Option<String> {
    let size = SIZES
        .iter()
        .find(|size| size.eq_ignore_ascii_case(cell.trim()))?;
    Some(if *size == "0.5K" { "512" } else { size }.to_owned())
}

fn ratio(cell: &str) -> Option<String> {
    let (ratio, _) = cell::aspect_ratio(cell);
    let (width, height) = ratio.split_once(':')?;
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    (is_number(width) && is_number(height)).then(|| ratio.clone().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(other: ForeignSetting, cell: &str) -> Result<Item, String> {
        let mut item = Item::default();
        set(&mut item, other, "column", cell).map(|()| item)
    }

    #[test]
    fn what_is_certain_is_taken() {
        let text = |text: &str| Some(text.to_owned());
        let nothing = Item::default;
        for (other, cell, item) in [
            (
                ForeignSetting::Size,
                "2k",
                Item {
                    image_size: text("2K"),
                    ..nothing()
                },
            ),
            (
                ForeignSetting::Size,
                "4:5",
                Item {
                    aspect_ratio: text("4:5"),
                    ..nothing()
                },
            ),
            (
                ForeignSetting::Size,
                "1024 x 1536",
                Item {
                    pixels: Some((1024, 1536)),
                    ..nothing()
                },
            ),
            (
                ForeignSetting::Ratio,
                "16:09",
                Item {
                    aspect_ratio: text("16:9"),
                    ..nothing()
                },
            ),
            (
                ForeignSetting::Quality,
                "4K",
                Item {
                    image_size: text("4K"),
                    ..nothing()
                },
            ),
        ] {
            assert_eq!(said(other, cell), Ok(item), "{cell}");
        }
    }

    #[test]
    fn what_is_not_certain_is_refused_with_the_right_name() {
        for (other, cell, name) in [
            (ForeignSetting::Size, "XL", "image_size"),
            (ForeignSetting::Size, "30x40", "image_size"),
            (ForeignSetting::Ratio, "wide", "aspect_ratio"),
            (ForeignSetting::Negative, "blurry", "prompt"),
            (ForeignSetting::Quality, "hd", "image_size"),
            (ForeignSetting::Orientation, "portrait", "aspect_ratio"),
        ] {
            assert!(
                said(other, cell).is_err_and(|message| message.contains(name)),
                "{cell}"
            );
        }
        let mut item = Item::default();
        let one = Sides {
            width: Some(("width", "1024")),
            height: None,
        };
        assert!(one.set(&mut item).is_err());
        let centimeters = Sides {
            width: Some(("width", "30")),
            height: Some(("height", "40")),
        };
        assert!(centimeters.set(&mut item).is_err());
    }
}
