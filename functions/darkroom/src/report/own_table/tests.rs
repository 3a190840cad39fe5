//! The user's cells come back as they were, and only the result columns are escaped.

use proptest::prelude::*;

use super::*;
use crate::{
    lane::Lane,
    names::RequestKey,
    report::Unaccounted,
    results::{ResultLine, Status, StoredImage, image::MediaType},
};

fn table(columns: usize) -> OwnTable {
    let base_url = "https://cdn.example.com".parse().unwrap();
    OwnTable::new(&JobId::new("shop-1"), columns, Some(base_url))
}

fn finished(line: ResultLine) -> Finished {
    Finished {
        line,
        lane: Lane::Batch,
        charges: Vec::new(),
        unaccounted: Unaccounted::default(),
    }
}

/// A row with an image at this address.
fn image(uri: &str) -> Finished {
    let image = StoredImage {
        uri: uri.parse().unwrap(),
        etag: "\"e\"".into(),
        mime_type: MediaType::Png,
        width: 928,
        height: 1152,
        bytes: 24,
        provenance: None,
    };
    finished(ResultLine {
        image: Some(image),
        cost_usd: Some("0.0168".parse().unwrap()),
        ..ResultLine::new(RequestKey::new("k"), Status::Succeeded)
    })
}

fn refused(code: &str, message: &str) -> Finished {
    let error = Reason {
        code: code.to_owned(),
        message: message.to_owned(),
        retryable: false,
    };
    finished(ResultLine {
        error: Some(error),
        ..ResultLine::new(RequestKey::new("k"), Status::Blocked)
    })
}

/// Reads one row as another program would.
fn cells(row: &[u8]) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(row);
    let [row] = &reader.records().collect::<Result<Vec<_>, _>>().unwrap()[..] else {
        panic!("not one row")
    };
    row.iter().map(str::to_owned).collect()
}

#[test]
fn a_row_has_the_users_cells_and_then_the_result() {
    let result = image("s3://studio/jobs/shop-1/images/a b/c#1.png");
    let row = table(2)
        .row(&["SKU-1", "two\nlines"], Some(&result))
        .unwrap();
    assert_eq!(
        cells(&row),
        [
            "SKU-1",
            "two\nlines",
            "s3://studio/jobs/shop-1/images/a b/c#1.png",
            "images/a b/c#1.png",
            "https://cdn.example.com/jobs/shop-1/images/a%20b/c%231.png",
            "succeeded",
            "",
            "928",
            "1152",
            "0.0168"
        ]
    );

    // A row of few cells is filled up, and one that became no image has no result.
    let missing = table(2)
        .row(&["SKU-2"], Some(&refused("SAFETY", "no")))
        .unwrap();
    assert_eq!(
        cells(&missing),
        ["SKU-2", "", "", "", "", "blocked", "SAFETY: no", "", "", ""]
    );
    let skipped = table(2).row(&["SKU-3", "x", " "], None).unwrap();
    assert_eq!(
        cells(&skipped),
        ["SKU-3", "x", "", "", "", "", "", "", "", ""]
    );
}

#[test]
fn without_a_base_address_there_are_no_addresses_on_the_web() {
    let table = OwnTable::new(&JobId::new("shop-1"), 1, None);
    let result = image("s3://studio/jobs/shop-1/images/a.png");
    let row = cells(&table.row(&["a"], Some(&result)).unwrap());
    assert_eq!(
        row[1..4],
        [
            result.line.image.unwrap().uri.to_string(),
            "images/a.png".into(),
            String::new()
        ]
    );
}

#[test]
fn a_result_column_makes_way_for_a_column_of_the_user() {
    let names = ["key", " Status ", "result.status", "Width", ""];
    let header = String::from_utf8(table(names.len()).header(&names).unwrap()).unwrap();
    assert_eq!(
        header,
        "\u{feff}key, Status ,result.status,Width,,image_uri,image_path,image_url,\
         result.result.status,error,result.width,height,cost_usd\n"
    );
}

#[test]
fn only_what_others_wrote_is_escaped() {
    let result = refused("=1+1", "x;=cmd");
    let own = ["=\"0012\"", "-5", "+49 30", "@handle"];
    let row = cells(&table(4).row(&own, Some(&result)).unwrap());
    assert_eq!(row[..4], own);
    assert_eq!(row[8], "'=1+1: x;'=cmd");
    let odd = image("s3://studio/jobs/shop-1/images/a;=1.png");
    let row = cells(&table(1).row(&["a"], Some(&odd)).unwrap());
    assert_eq!(row[2], "images/a;'=1.png");
}

proptest! {
    #[test]
    fn every_row_of_cells_comes_back(own in prop::collection::vec(any::<String>(), 1..6)) {
        let row = table(own.len()).row(&own, None).unwrap();
        let read = cells(&row);
        prop_assert_eq!(&read[..own.len()], &own[..]);
        prop_assert_eq!(read.len(), own.len() + COLUMNS.len());
    }
}
