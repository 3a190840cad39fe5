//! The rows of a table are passed on as they were written, each with the line of its images.

use std::cell::RefCell;

use super::*;

/// Reads a manifest and returns its rows, and the lines of its images.
fn rows_of(manifest: &[u8], metadata: &[(&str, &str)]) -> (Vec<TableRow<'static>>, Vec<u64>) {
    let metadata = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sidecar = Sidecar {
        metadata: metadata.collect(),
        ..Sidecar::default()
    };
    let context = Context {
        sidecar: &sidecar,
        ..context()
    };
    let header = Header::read(manifest, &context).unwrap();
    let (rows, lines) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let reading = read_with_rows(
        manifest,
        &header,
        &context,
        |image| {
            // An image never comes before its row.
            let rows = rows.borrow();
            let is_known = rows.iter().any(|row: &TableRow<'_>| row.line == image.line);
            assert_eq!(is_known, header.is_table());
            lines.borrow_mut().push(image.line);
            Ok(())
        },
        |row| {
            let owned = |cell: &std::borrow::Cow<'_, str>| cell.clone().into_owned().into();
            rows.borrow_mut().push(TableRow {
                line: row.line,
                cells: row.cells.iter().map(owned).collect(),
            });
            Ok(())
        },
    );
    let reading = reading.unwrap();
    assert_eq!(reading.errors, 0, "{:#?}", reading.problems);
    (rows.into_inner(), lines.into_inner())
}

/// Returns rows as `line: cell|cell`.
fn shown(rows: &[TableRow<'_>]) -> Vec<String> {
    rows.iter()
        .map(|row| format!("{}: {}", row.line, row.cells.join("|")))
        .collect()
}

#[test]
fn rows_keep_their_texts_and_the_lines_on_which_they_begin() {
    let table = "\u{feff}sep=;\r\n key ;Prompt\r\na;\"two\r\nlines; \"\"x\"\"\"\r\n\r\n;\r\n\
                 =\"0012\"; b \r\nKEY;PROMPT\r\nc;d;\r\n";
    let (rows, lines) = rows_of(table.as_bytes(), &[]);
    assert_eq!(
        shown(&rows),
        [
            "2:  key |Prompt",
            "3: a|two\nlines; \"x\"",
            "6: |",
            "7: =\"0012\"| b ",
            "8: KEY|PROMPT",
            "9: c|d|"
        ]
    );
    assert_eq!(lines, [3, 7, 9]);
}

#[test]
fn rows_of_every_form_of_table_are_text_without_comments_before_the_header() {
    let utf_16: Vec<u8> = "key\tprompt\n1\té\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let (rows, lines) = rows_of(&[b"\xff\xfe", &utf_16[..]].concat(), &[]);
    assert_eq!(
        (&shown(&rows)[..], &lines[..]),
        (&["1: key|prompt".into(), "2: 1|é".into()][..], &[2][..])
    );
    let (rows, _) = rows_of(b"# a,# b\nkey,prompt\nx,y\n", &[]);
    assert_eq!(shown(&rows), ["2: key|prompt", "3: x|y"]);
    let (rows, _) = rows_of(b",prompt\n0,y\n", &[]);
    assert_eq!(shown(&rows), ["1: |prompt", "2: 0|y"]);
}

#[test]
fn rows_that_become_no_item_are_passed_on_and_an_item_with_several_images_has_one_row() {
    let table = "Handle,Title\ntee,Tee\ntee,\nhat,Hat\n";
    let metadata = [("key", "{handle}"), ("template", "{title}")];
    let (rows, lines) = rows_of(table.as_bytes(), &metadata);
    assert_eq!((rows.len(), &lines[..]), (4, &[2, 4][..]));
    let (rows, lines) = rows_of(b"key,prompt,n\na,b,3\n", &[]);
    assert_eq!((rows.len(), &lines[..]), (2, &[2, 2, 2][..]));
}

#[test]
fn a_manifest_that_is_no_table_has_no_rows() {
    let (rows, lines) = rows_of(br#"[{"key": "a", "prompt": "b"}]"#, &[]);
    assert_eq!((rows.len(), lines.len()), (0, 1));
}
