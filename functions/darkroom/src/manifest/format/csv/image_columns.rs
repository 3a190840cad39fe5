//! Settings of an image under the names that other programs use. An ambiguous value is refused,
//! because an image of the wrong size costs as much as the right one.

use super::{cell, column::ForeignSetting, columns::unmap_example};
use crate::manifest::{diagnostics::quote, dialect::item::Item};

/// The sizes that a cell may name.
const SIZES: [&str; 5] = ["512", "1K", "2K", "4K", "0.5K"];

/// The width and the height of a row, each with the name of its column.
#[derive(Default)]
pub(crate) struct Sides<'a> {
    pub(crate) width: Option<(&'a str, &'a str)>,
    pub(crate) height: Option<(&'a str, &'a str)>,
}

impl Sides<'_> {
    /// Sets the pixels of an item.
    ///
    /// # Errors
    ///
    /// A message, if they can't be set.
    pub(crate) fn set(&self, item: &mut Item) -> Result<(), String> {
        match (self.width, self.height) {
            (None, None) => Ok(()),
            (Some((wide, width)), Some((high, height))) => {
                let (Some(width), Some(height)) = (cell::side(width), cell::side(height)) else {
                    return Err(format!(
                        "{} and {} must be pixels from 64 to 16384, not {} and {}: correct them, \
                         name the columns aspect_ratio and \
                         image_size, or {}",
                        quote(wide),
                        quote(high),
                        quote(width),
                        quote(height),
                        unmap_hint(wide)
                    ));
                };
                set_pixels(item, wide, (width, height))
            }
            (Some((name, _)), None) | (None, Some((name, _))) => Err(format!(
                "{} alone is not a size: add the other side, or name the column aspect_ratio or \
                 image_size, or {}",
                quote(name),
                unmap_hint(name)
            )),
        }
    }
}

/// Applies the cell of such a column to an item.
///
/// # Errors
///
/// A message, if the value is refused.
pub(crate) fn set(
    item: &mut Item,
    other: ForeignSetting,
    name: &str,
    cell: &str,
) -> Result<(), String> {
    // Every refusal explains how to make the column a variable.
    let refused = |what: &str| {
        Err(format!(
            "{} is {}: {what}, or {}",
            quote(name),
            quote(cell),
            unmap_hint(name)
        ))
    };
    match other {
        ForeignSetting::Size => match (size(cell), cell::pixels(cell), ratio(cell)) {
            (Some(size), _, _) => set_once(&mut item.image_size, name, "image_size", size),
            (_, Some(pixels), _) => set_pixels(item, name, pixels),
            (_, _, Some(ratio)) => set_once(&mut item.aspect_ratio, name, "aspect_ratio", ratio),
            (None, None, None) => refused(
                "write image_size (512, 1K, 2K, 4K) and aspect_ratio (such as 4:5), or pixels \
                 such as 1024x1536",
            ),
        },
        ForeignSetting::Ratio => match ratio(cell) {
            Some(ratio) => set_once(&mut item.aspect_ratio, name, "aspect_ratio", ratio),
            None => refused("write aspect_ratio, such as 4:5"),
        },
        ForeignSetting::Quality => match size(cell) {
            Some(size) => set_once(&mut item.image_size, name, "image_size", size),
            None => refused(
                "Gemini has one quality only: write image_size (1K, 2K, 4K) for a larger image",
            ),
        },
        ForeignSetting::Negative => refused(
            "Gemini takes no negative prompt: write into the prompt what the image must not show",
        ),
        ForeignSetting::Orientation => {
            refused("write aspect_ratio, such as 3:4 for portrait or 4:3 for landscape")
        }
        // Both are needed at the same time, so [`Sides`] sets them.
        ForeignSetting::Width | ForeignSetting::Height => Ok(()),
    }
}

fn set_pixels(item: &mut Item, name: &str, pixels: (u32, u32)) -> Result<(), String> {
    if item.pixels.replace(pixels).is_some() {
        return Err(format!(
            "{} and another column both give pixels: keep one",
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
            "{} and another column give different values for {meaning}: keep one",
            quote(name)
        )),
        Some(_) | None => Ok(()),
    }
}

/// Explains how to make the column a variable.
fn unmap_hint(name: &str) -> String {
    format!(
        "if the column is a variable, put this into the job document: {}",
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

    fn item_with(other: ForeignSetting, cell: &str) -> Result<Item, String> {
        let mut item = Item::default();
        set(&mut item, other, "column", cell).map(|()| item)
    }

    #[test]
    fn unambiguous_values_are_accepted() {
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
            assert_eq!(item_with(other, cell), Ok(item), "{cell}");
        }
    }

    #[test]
    fn ambiguous_values_are_refused_with_the_right_field() {
        for (other, cell, name) in [
            (ForeignSetting::Size, "XL", "image_size"),
            (ForeignSetting::Size, "30x40", "image_size"),
            (ForeignSetting::Ratio, "wide", "aspect_ratio"),
            (ForeignSetting::Negative, "blurry", "prompt"),
            (ForeignSetting::Quality, "hd", "image_size"),
            (ForeignSetting::Orientation, "portrait", "aspect_ratio"),
        ] {
            assert!(
                item_with(other, cell).is_err_and(|message| message.contains(name)),
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
