//! A Shopify export with products of several rows, as a store writes it.

/// The two forms of the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Older,
    Newer,
}

impl Form {
    /// Returns the names of the handle, of the picture, its position and its alt text, and of the
    /// picture of a variant.
    pub(super) fn names(self) -> [&'static str; 5] {
        match self {
            Self::Older => [
                "Handle",
                "Image Src",
                "Image Position",
                "Image Alt Text",
                "Variant Image",
            ],
            Self::Newer => [
                "URL handle",
                "Product image URL",
                "Image position",
                "Image alt text",
                "Variant image URL",
            ],
        }
    }

    fn header(self) -> Vec<&'static str> {
        let [handle, image, position, alt, variant] = self.names();
        match self {
            Self::Older => vec![
                handle,
                "Title",
                "Body (HTML)",
                "Vendor",
                "Option1 Name",
                "Option1 Value",
                "Variant SKU",
                "Variant Price",
                image,
                position,
                alt,
                variant,
                "Status",
            ],
            Self::Newer => vec![
                "Title",
                handle,
                "Description",
                "Vendor",
                "Option1 name",
                "Option1 value",
                "SKU",
                "Price",
                image,
                position,
                alt,
                variant,
                "Status",
            ],
        }
    }
}

/// Returns an export with this number of products. Each has one to three variants and up to two
/// pictures more. Some have an alt text, some a variant that shows the first picture.
pub(super) fn export(form: Form, products: usize) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = form.header();
    writer.write_record(&header).unwrap();
    let mut write = |cells: &[(usize, String)]| {
        let mut row = vec![String::new(); header.len()];
        for (column, cell) in cells {
            row[*column].clone_from(cell);
        }
        writer.write_record(row).unwrap();
    };
    let (handle, title) = if form == Form::Older { (0, 1) } else { (1, 0) };
    for number in 0..products {
        let name = format!("product-{number:03}");
        let picture =
            |position: usize| format!("https://cdn.shopify.com/{name}-{position}.jpg?v=1");
        let first_alt = if number % 3 == 0 {
            "Seen from the front"
        } else {
            ""
        };
        let mut position = 0;
        for variant in 0..=number % 3 {
            position += 1;
            let mut cells = vec![
                (handle, name.clone()),
                (5, ["S", "M", "L"][variant].to_owned()),
                (6, format!("\"={number}-{variant}\"")),
                (7, "79.00".to_owned()),
                (8, picture(position)),
                (9, position.to_string()),
            ];
            if variant == 0 {
                let body = format!("<p>Woven, \"washed soft\",\nno. {number}.</p>");
                cells.extend([
                    (title, format!("Linen shirt {number}, café")),
                    (2, body),
                    (3, "Acme".to_owned()),
                    (4, "Size".to_owned()),
                    (10, first_alt.to_owned()),
                    (12, "active".to_owned()),
                ]);
            }
            if number % 2 == 0 {
                cells.push((11, picture(1)));
            }
            write(&cells);
        }
        for _ in 0..number / 3 % 3 {
            position += 1;
            write(&[
                (handle, name.clone()),
                (8, picture(position)),
                (9, position.to_string()),
            ]);
        }
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}
