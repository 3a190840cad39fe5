//! A strict reader of Shopify's product table, by the rules of
//! <https://help.shopify.com/en/manual/products/import-export/using-csv>, read 2026-11. It knows
//! nothing of the code that writes the table.

use std::collections::{BTreeSet, HashSet};

/// The columns of the two forms: handle, title, first option, picture, position, alt text, and
/// picture of a variant.
const FORMS: [[&str; 7]; 2] = [
    [
        "Handle",
        "Title",
        "Option1 Value",
        "Image Src",
        "Image Position",
        "Image Alt Text",
        "Variant Image",
    ],
    [
        "URL handle",
        "Title",
        "Option1 value",
        "Product image URL",
        "Image position",
        "Image alt text",
        "Variant image URL",
    ],
];

/// Reads a table of equal rows. The header is the first.
pub(super) fn rows(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes());
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| row.iter().map(str::to_owned).collect())
        .collect()
}

/// Checks that a store would import the table.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.starts_with('\u{feff}') {
        return Err("a byte order mark hides the first column".to_owned());
    }
    let rows = rows(text);
    let (header, rows) = rows.split_first().ok_or("the table is empty")?;
    let column = |name: &str| header.iter().position(|column| column == name);
    let columns: [usize; 7] = FORMS
        .iter()
        .find_map(|form| {
            let found: Option<Vec<usize>> = form.iter().map(|name| column(name)).collect();
            found?.try_into().ok()
        })
        .ok_or("the columns are those of neither form")?;

    let mut seen = HashSet::new();
    let handle = columns[0];
    for product in rows.chunk_by(|above, row| above[handle] == row[handle]) {
        let name = &product[0][handle];
        let is_handle =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        if name.is_empty() || !name.chars().all(is_handle) {
            return Err(format!("{name:?} is no handle"));
        }
        if !seen.insert(name) {
            return Err(format!("the rows of {name} are not together"));
        }
        check_product(product, columns).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Checks the rows of one product.
fn check_product(rows: &[Vec<String>], columns: [usize; 7]) -> Result<(), String> {
    let [handle, title, option, image, position, alt, variant] = columns;
    let (mut pictures, mut positions) = (HashSet::new(), BTreeSet::new());
    for (number, row) in rows.iter().enumerate() {
        if (number == 0) == row[title].is_empty() {
            return Err("the first row, and no other, has the title".to_owned());
        }
        // A row without a variant is one more picture.
        let filled = (0..row.len()).filter(|column| !row[*column].is_empty());
        if row[option].is_empty() {
            let mut others =
                filled.filter(|column| ![handle, image, position, alt].contains(column));
            if row[image].is_empty() || others.next().is_some() {
                return Err(format!("row {number} is neither a variant nor a picture"));
            }
        }
        if row[image].is_empty() {
            continue;
        }
        if !is_address(&row[image]) {
            return Err(format!("{:?} can't be fetched", row[image]));
        }
        pictures.insert(&row[image]);
        let place: usize = row[position]
            .parse()
            .map_err(|_| format!("{:?} is no position", row[position]))?;
        if !positions.insert(place) {
            return Err(format!("position {place} is taken twice"));
        }
        if row[alt].chars().count() > 512 || row[alt].contains('\n') {
            return Err("an alt text has one line of at most 512 characters".to_owned());
        }
    }
    if !positions.iter().copied().eq(1..=positions.len()) {
        return Err(format!("the positions are {positions:?}"));
    }
    let is_shown =
        |row: &&Vec<String>| !row[variant].is_empty() && !pictures.contains(&row[variant]);
    match rows.iter().find(is_shown) {
        Some(row) => Err(format!("{:?} is no picture of the product", row[variant])),
        None => Ok(()),
    }
}

/// Whether a store can fetch a picture from this text.
fn is_address(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%/?=:".contains(&byte);
    let path = text.strip_prefix("https://");
    let path = path.map(|path| path.split('?').next().unwrap_or_default());
    let extensions = [".jpg", ".jpeg", ".png", ".webp"];
    path.is_some_and(|path| extensions.iter().any(|end| path.ends_with(end)))
        && text.bytes().all(allowed)
}

#[test]
fn the_reader_refuses_what_a_store_refuses() {
    let header = "Handle,Title,Option1 Value,Image Src,Image Position,Image Alt Text,Variant Image";
    let first = "tee,Tee,M,https://x.org/1.jpg,1,,";
    let good = format!("{header}\n{first}\ntee,,,https://x.org/2.jpg,2,,\n");
    check(&good).unwrap();
    for (bad, why) in [
        (format!("\u{feff}{good}"), "byte order mark"),
        (good.replace("Handle", "Name"), "neither form"),
        (good.replace("\ntee,,", "\n,,"), "no handle"),
        (good.replace("\ntee,,", "\nhat,,"), "the title"),
        (format!("{good}hat,Hat,M,,,,\n{first}\n"), "not together"),
        (good.replace("2.jpg,2", "2.jpg,1"), "taken twice"),
        (good.replace("2.jpg,2", "2.jpg,3"), "positions are"),
        (good.replace("2.jpg,2", "2.jpg,"), "no position"),
        (good.replace("https://x.org/2", "s3://x/2"), "fetched"),
        (
            good.replace("https://x.org/2", "https://x.org/a b"),
            "fetched",
        ),
        (
            good.replace(",2,,", ",2,,https://x.org/1.jpg"),
            "neither a variant",
        ),
        (
            good.replace(",1,,", ",1,,https://x.org/9.jpg"),
            "no picture of",
        ),
    ] {
        let error = check(&bad).unwrap_err();
        assert!(error.contains(why), "{error}: {bad}");
    }
}
