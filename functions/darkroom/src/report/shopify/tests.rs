//! New pictures take the place of the old ones, and everything else stays.

use super::*;

const OLDER: [&str; 7] = [
    "Handle",
    "Title",
    "Option1 Value",
    "Image Src",
    "Image Position",
    "Image Alt Text",
    "Variant Image",
];

fn image(name: &str) -> NewImage {
    let url = format!("https://cdn.example.com/{name}.png");
    NewImage::new(url, Some(&format!("a photo of {name}")))
}

/// Writes a table in which each row has these images. Returns its rows without the header.
fn written(header: &[&str], rows: &[(&[&str], &[&str])]) -> Vec<Vec<String>> {
    let mut table = ShopifyTable::recognize(header).unwrap();
    let mut text = Vec::new();
    for (cells, images) in rows {
        let images = images.iter().map(|name| image(name)).collect();
        text.extend(table.add(cells, images).unwrap());
    }
    text.extend(table.finish().unwrap());
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(&*text);
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| row.iter().map(str::to_owned).collect())
        .collect()
}

#[test]
fn both_forms_of_the_export_are_recognized_and_nothing_else() {
    for header in [
        &["Handle", "Title", "Image Src"][..],
        &["Title", "URL handle", "Product image URL"],
        &["\u{feff}handle", "IMAGE SRC", "prompt"],
    ] {
        assert!(ShopifyTable::recognize(header).is_some(), "{header:?}");
    }
    for header in [
        &["Handle", "Title"][..],
        &["Handle", "Product image URL"],
        &["URL handle", "Image Src"],
        &["key", "prompt"],
        &[],
    ] {
        assert!(ShopifyTable::recognize(header).is_none(), "{header:?}");
    }
}

#[test]
fn a_new_image_takes_the_place_of_the_picture_of_its_row() {
    let old = "https://cdn.example.com/old-1.jpg";
    let rows = written(
        &OLDER,
        &[
            (&["tee", "Tee", "M", old, "1", "front", "x.jpg"], &["new"]),
            (&["tee", "", "L", "old-2.jpg", "2", "", old], &[]),
            (&["tee", "", "", "old-3.jpg", "3"], &[]),
            (&["hat", "Hat", "", "old-4.jpg", "1", "", ""], &[]),
        ],
    );
    let new = "https://cdn.example.com/new.png";
    assert_eq!(
        rows,
        [
            ["tee", "Tee", "M", new, "1", "front", "x.jpg"],
            ["tee", "", "L", "old-2.jpg", "2", "", new],
            ["tee", "", "", "old-3.jpg", "3", "", ""],
            ["hat", "Hat", "", "old-4.jpg", "1", "", ""],
        ]
    );
}

#[test]
fn further_images_follow_the_rows_of_their_product() {
    let rows = written(
        &OLDER,
        &[
            (
                &["tee", "Tee", "M", "1.jpg", "1.0", "", ""],
                &["a", "b", "c"],
            ),
            (&["tee", "", "L", "2.jpg", "2", "", ""], &[]),
            (&["hat", "", "", "", "", "", ""], &["d", "e"]),
        ],
    );
    let url = |name: &str| image(name).url;
    assert_eq!(
        rows,
        [
            ["tee", "Tee", "M", &url("a"), "1.0", "Tee", ""],
            ["tee", "", "L", "2.jpg", "2", "", ""],
            ["tee", "", "", &url("b"), "3", "Tee", ""],
            ["tee", "", "", &url("c"), "4", "Tee", ""],
            ["hat", "", "", &url("d"), "1", "a photo of d", ""],
            ["hat", "", "", &url("e"), "2", "a photo of d", ""],
        ]
    );
}

#[test]
fn the_newer_form_may_lack_columns() {
    let header = [
        "Title",
        "URL handle",
        "Product image URL",
        "Variant image URL",
    ];
    let rows = written(
        &header,
        &[(&["Tee", "tee", " 1.jpg ", "1.jpg"], &["a", "b"])],
    );
    let [a, b] = ["a", "b"].map(|name| image(name).url);
    assert_eq!(rows, [["Tee", "tee", &a, &a], ["", "tee", &b, ""]]);
}

#[test]
fn rows_that_hold_no_product_are_left_out() {
    let rows = written(
        &["Handle", "Image Src"],
        &[
            (&["tee", "1.jpg"], &[]),
            (&["", " "], &[]),
            (&["handle", "IMAGE SRC"], &[]),
            (&["", "2.jpg"], &[]),
        ],
    );
    assert_eq!(rows, [["tee", "1.jpg"], ["", "2.jpg"]]);
}

#[test]
fn an_alt_text_is_one_line_of_at_most_512_characters() {
    let long = "Tee \n shirt ".repeat(100);
    let rows = written(
        &["Handle", "Title", "Image Src", "Image Alt Text"],
        &[(&["tee", &long, "1.jpg", ""], &["a"])],
    );
    assert!(rows[0][3].starts_with("Tee shirt Tee"));
    assert_eq!(rows[0][3].chars().count(), MAX_ALT_CHARACTERS);
    assert_eq!(rows[0][1], long);
}

#[test]
fn a_product_that_never_ends_takes_flat_memory() {
    let mut table = ShopifyTable::recognize(&["Handle", "Image Src", "Image Position"]).unwrap();
    let (mut rows, mut most) = (0, 0);
    let body = "x".repeat(100_000);
    for _ in 0..1_000 {
        let written = table.add(&["tee", &body, ""], vec![image("a"), image("b")]);
        let written = written.unwrap();
        most = most.max(written.len());
        rows += written.iter().filter(|byte| **byte == b'\n').count();
    }
    let last = String::from_utf8(table.finish().unwrap()).unwrap();
    rows += last.lines().count();
    assert_eq!(rows, 2_000);
    assert!(most < MAX_PRODUCT_BYTES + (1 << 20), "{most} bytes");
    assert!(last.ends_with(",2000\n"), "{last}");
}
