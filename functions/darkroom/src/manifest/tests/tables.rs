//! Tables as they occur in practice: exports of shops, spreadsheets and databases.

use proptest::prelude::*;

use super::*;

/// Reads a table with this metadata. Returns its images, and its problems as `code message`.
fn read_with(
    table: &[u8],
    metadata: &[(&str, &str)],
    job: Option<&str>,
) -> (Vec<PlannedImage>, Vec<String>) {
    let metadata = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let sidecar = Sidecar {
        metadata,
        job: job.map(str::to_owned),
        ..Sidecar::default()
    };
    let (images, reading) = read_all(
        table,
        &Context {
            sidecar: &sidecar,
            ..context()
        },
    );
    let problems = reading
        .problems
        .iter()
        .map(|problem| format!("{} {}", problem.code, problem.message))
        .collect();
    (images, problems)
}

const EXPORT: [(&str, &str); 2] = [("key", "{handle}"), ("template", "a photo of {title}")];

/// An export with a product of three rows, and one of a single row.
const SHOP: &str = "Handle,Title,Color,Image Src\n\
    tee,Tee,red,s3://shop/1.jpg\n\
    tee,,blue,s3://shop/2.jpg\n\
    tee,,,s3://shop/3.jpg\n\
    hat,Hat,red,s3://shop/4.jpg\n";

fn refs(image: &PlannedImage) -> Vec<String> {
    image.refs.iter().map(|uri| uri.key.clone()).collect()
}

#[test]
fn continuation_rows_add_their_pictures_and_are_counted() {
    let job = r#"{"defaults":{"refs":"{image_src}"}}"#;
    let (images, problems) = read_with(SHOP.as_bytes(), &EXPORT, Some(job));
    assert_eq!(keys(&images), ["tee", "hat"]);
    assert_eq!(refs(&images[0]), ["1.jpg", "2.jpg", "3.jpg"]);
    assert_eq!(refs(&images[1]), ["4.jpg"]);
    let found = problems
        .iter()
        .find(|problem| problem.starts_with("continuation_rows"))
        .unwrap();
    assert!(
        found.contains("2 rows continue the row above (the same Handle"),
        "{found}"
    );
}

#[test]
fn continuation_rows_are_skipped_or_filled_if_declared() {
    let job = |choice: &str| {
        format!(
            r#"{{"job":{{"continuation_rows":"{choice}"}},"defaults":{{"refs":"{{image_src}}"}}}}"#
        )
    };
    let (images, _) = read_with(SHOP.as_bytes(), &EXPORT, Some(&job("skip")));
    assert_eq!(
        (keys(&images), refs(&images[0])),
        (vec!["tee", "hat"], vec!["1.jpg".to_owned()])
    );
    let by_color = [("key", "{handle}-{image_src}"), EXPORT[1]];
    let (images, _) = read_with(SHOP.as_bytes(), &by_color, Some(&job("fill")));
    assert_eq!(images.len(), 4);
    assert_eq!(images[1].prompt.as_deref(), Some("a photo of Tee"));
    assert_eq!(refs(&images[1]), ["2.jpg"]);
    let (_, problems) = read_with(SHOP.as_bytes(), &EXPORT, Some(&job("merge")));
    assert!(problems[0].starts_with("bad_value"), "{problems:?}");
}

#[test]
fn a_product_with_more_pictures_than_its_model_accepts_keeps_the_first() {
    let more: String = (2..40)
        .map(|number| format!("tee,,,s3://shop/{number}.jpg\n"))
        .collect();
    let table = format!("Handle,Title,Color,Image Src\ntee,Tee,red,s3://shop/1.jpg\n{more}");
    let (images, problems) = read_with(
        table.as_bytes(),
        &EXPORT,
        Some(r#"{"job":{"columns":{"refs":"Image Src"}}}"#),
    );
    let most = CATALOG.priced(&images[0].model).unwrap().max_references;
    assert_eq!(
        (refs(&images[0]).len(), refs(&images[0])[0].as_str()),
        (most, "1.jpg")
    );
    assert!(
        problems
            .iter()
            .any(|problem| problem.starts_with("spare_references")),
        "{problems:?}"
    );
}

#[test]
fn a_row_without_a_prompt_but_with_another_key_is_not_a_continuation() {
    assert_eq!(
        codes("key,prompt\na,one\nb,\n"),
        [(3, "missing_prompt".to_owned())]
    );
    assert_eq!(
        codes("key,prompt\na,one\n,\"\"\n,x\n").len(),
        1,
        "a blank row, and one without a key"
    );
    assert_eq!(
        codes("key,prompt\na,one\na,two\n"),
        [(3, "duplicate_key".to_owned())]
    );
    assert_eq!(
        codes("key,prompt,refs\na,one,refs/1.png\na,,refs/2.png\n"),
        [(3, "continuation_rows".to_owned())]
    );
}

#[test]
fn references_come_from_a_column() {
    for (cell, expected) in [
        ("s3://x/1.jpg|s3://x/2.jpg", vec!["1.jpg", "2.jpg"]),
        ("\"s3://x/1.jpg, s3://x/2.jpg\"", vec!["1.jpg", "2.jpg"]),
        ("s3://x/1.jpg", vec!["1.jpg"]),
    ] {
        let table = format!("SKU,Name,Picture URL\nA1,Shoe,{cell}\n");
        let key = [("key", "{sku}"), ("template", "a {name}")];
        for job in [
            r#"{"defaults":{"refs":"{picture_url}"}}"#,
            r#"{"defaults":{"refs":["{Picture URL}"]}}"#,
            r#"{"job":{"columns":{"refs":"Picture URL"}}}"#,
            r#"{"job":{"columns":{"refs":"{picture_url}"}}}"#,
        ] {
            let (images, problems) = read_with(table.as_bytes(), &key, Some(job));
            assert_eq!(refs(&images[0]), expected, "{job} {problems:?}");
        }
    }
    let metadata = [
        ("key", "{sku}"),
        ("template", "a {name}"),
        ("refs", "{picture_url}|s3://x/style.png"),
    ];
    let (images, _) = read_with(
        b"SKU,Name,Picture URL\nA1,Shoe,s3://x/1.jpg\n",
        &metadata,
        None,
    );
    assert_eq!(refs(&images[0]), ["1.jpg", "style.png"]);
    let table = "SKU,Name,Picture URL\nA1,Shoe,\n";
    let job = r#"{"defaults":{"key":"{sku}","template":"{name}","refs":"{picture_url}"}}"#;
    let (_, problems) = read_with(table.as_bytes(), &[], Some(job));
    assert!(
        problems[0].starts_with("missing_variable"),
        "a product without its picture is not bought: {problems:?}"
    );
    let (images, _) = read_with(
        table.as_bytes(),
        &[],
        Some(&job.replace("{picture_url}", "{picture_url|}")),
    );
    assert_eq!(refs(&images[0]), [""; 0]);
}

#[test]
fn columns_are_mapped_or_declared_variables() {
    let table =
        "ID,SKU,Name,Model,Count,Image 1,Image 2\n7,A1,Shoe,X-200,12,s3://x/1.jpg,s3://x/2.jpg\n";
    let job = r#"{"job":{"columns":{"key":"SKU","refs":["Image 1","Image 2"],"model":null,"count":null}},
        "defaults":{"template":"a {name} {model}, no. {id}, {sku}"}}"#;
    let (images, problems) = read_with(table.as_bytes(), &[], Some(job));
    assert_eq!(
        (keys(&images), refs(&images[0])),
        (vec!["A1"], vec!["1.jpg".to_owned(), "2.jpg".to_owned()]),
        "{problems:?}"
    );
    assert_eq!(images[0].prompt.as_deref(), Some("a Shoe X-200, no. 7, A1"));
    let (_, problems) = read_with(
        table.as_bytes(),
        &[],
        Some(&job.replace("\"SKU\"", "\"Sku Number\"")),
    );
    assert!(
        problems[0].contains("\"Sku Number\", which the table doesn't have"),
        "{problems:?}"
    );
    let (_, problems) = read_with(
        br#"[{"key":"a","prompt":"x"}]"#,
        &[],
        Some(r#"{"job":{"columns":{"key":"x"}}}"#),
    );
    assert!(
        problems[0].contains("this manifest is JSON"),
        "{problems:?}"
    );
}

#[test]
fn a_key_made_by_a_template_takes_precedence_over_an_id_column() {
    let (images, _) = read_with(
        b"ID,SKU,Name\n1,A1,Shoe\n",
        &[("key", "{sku}"), ("template", "{name} {id}")],
        None,
    );
    assert_eq!(
        (keys(&images), images[0].prompt.as_deref()),
        (vec!["A1"], Some("Shoe 1"))
    );
}

#[test]
fn a_column_that_could_be_the_key_is_suggested() {
    for (table, hint) in [
        ("prompt,SKU\na,1\nb,2\n", "key={sku}"),
        (
            "prompt,Handle,Variant SKU\na,x,1\nb,x,2\n",
            "key={variant_sku}",
        ),
        ("prompt,SKU\na,1\nb,1\n", "add a column key"),
        ("prompt,SKU\na,1\nb,\n", "add a column key"),
        ("prompt,color\na,1\nb,2\n", "add a column key"),
    ] {
        let (_, problems) = read_with(table.as_bytes(), &[], None);
        let found: Vec<&String> = problems
            .iter()
            .filter(|problem| problem.starts_with("missing_key"))
            .collect();
        assert!(
            found.len() == 1 && found[0].contains(hint),
            "{table} {problems:?}"
        );
    }
}

#[test]
fn the_number_of_images_of_a_count_column_is_reported() {
    let (images, problems) = read_with(
        b"sku,title,count,template\nA1,Shoe,7,{title}\nA2,Hat,3,{title}\n",
        &[],
        None,
    );
    assert_eq!(images.len(), 10);
    assert!(
        problems
            .iter()
            .any(|problem| problem.contains("asks for 10 images in 2 rows")),
        "{problems:?}"
    );
    let (_, problems) = read_with(b"key,prompt,n\na,x,7\n", &[], None);
    assert_eq!(problems, [""; 0]);
}

#[test]
fn a_duplicate_column_is_an_error_only_if_it_is_used() {
    assert_eq!(
        images("key,prompt,tag,Tag\na,x,one,two\n")[0].vars["tag"],
        "one"
    );
    for table in [
        "key,template,tag,tag\na,{tag},one,two\n",
        "key,prompt,output.path,tag,tag\na,x,{tag},one,two\n",
    ] {
        assert_eq!(codes(table), [(2, "duplicate_column".to_owned())]);
    }
    let (_, problems) = read_with(b"key,tag,tag\na,one,two\n", &[("template", "{tag}")], None);
    assert!(problems[0].starts_with("duplicate_column"), "{problems:?}");
    assert_eq!(
        codes("key,prompt,Prompt\na,x,y\n"),
        [(1, "duplicate_column".to_owned())]
    );
}

#[test]
fn a_foreign_setting_is_accepted_or_refused_once() {
    let images = images("key,prompt,Size,Ratio\na,x,2K,4:5\nb,x,,1:1\n");
    assert_eq!(
        (
            images[0].image_size.as_deref(),
            images[0].aspect_ratio.as_deref()
        ),
        (Some("2K"), Some("4:5"))
    );
    let images = super::images("key,prompt,width,height\na,x,1024,1024\n");
    assert_eq!(
        (
            images[0].image_size.as_deref(),
            images[0].aspect_ratio.as_deref()
        ),
        (Some("1K"), Some("1:1"))
    );
    for table in [
        "key,prompt,size\na,x,XL\nb,x,L\n",
        "key,prompt,width\na,x,1024\nb,x,1024\n",
        "key,prompt,negative_prompt\na,x,blurry\nb,x,dark\n",
        "key,prompt,quality\na,x,hd\nb,x,hd\n",
    ] {
        assert_eq!(codes(table), [(2, "unknown_setting".to_owned())], "{table}");
    }
    assert_eq!(
        codes("key,prompt,size,aspect_ratio\na,x,1024x1024,1:1\n"),
        [(2, "unknown_setting".to_owned())]
    );
    assert_eq!(
        super::images("key,prompt,negative_prompt,size\na,x,,\n").len(),
        1,
        "empty cells say nothing"
    );
    let (images, _) = read_with(
        b"sku,name,size\n1,Tee,XL\n",
        &[("key", "{sku}"), ("template", "{name} {size}")],
        None,
    );
    assert_eq!(
        images[0].prompt.as_deref(),
        Some("Tee XL"),
        "a shop's own size"
    );
}

#[test]
fn json_accepts_numbers_as_texts_and_repeats_the_callers_members() {
    let lines = r#"{"id":1001,"prompt":"x","n":2.0,"seed":7.0,"vars":{"color":"red"},"metadata":{"sku":"A1","tags":["a","b"],"model":"X"}}"#;
    let images = images(lines);
    assert_eq!(keys(&images), ["1001.v01", "1001.v02"]);
    assert_eq!(images[0].vars["tags"], r#"["a","b"]"#);
    assert_eq!(
        (
            images[0].vars["color"].as_str(),
            images[0].vars["sku"].as_str()
        ),
        ("red", "A1")
    );
    assert_eq!(images[0].vars["model"], "X");
    assert_eq!(
        keys(&super::images(r#"{"prompt":"x","metadata":{"key":"a"}}"#)),
        ["a"]
    );
    assert_eq!(
        codes(r#"{"key":"a","prompt":"x","n":2.5}"#)[0].1,
        "bad_value"
    );
    assert_eq!(
        codes(r#"{"key":"a","prompt":"x","size":"1K"}"#)[0].1,
        "unknown_field"
    );
}

/// How a program may write a table.
#[derive(Clone, Debug)]
struct Dialect {
    delimiter: u8,
    newline: &'static str,
    always_quotes: bool,
    encoding: Encoding,
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Utf8,
    Marked,
    Utf16(bool),
}

fn dialects() -> impl Strategy<Value = Dialect> {
    let encodings = [
        Encoding::Utf8,
        Encoding::Marked,
        Encoding::Utf16(false),
        Encoding::Utf16(true),
    ];
    let delimiters = prop::sample::select(&[b',', b';', b'\t', b'|'][..]);
    let newlines = prop::sample::select(&["\n", "\r\n"][..]);
    (
        delimiters,
        newlines,
        any::<bool>(),
        prop::sample::select(encodings.to_vec()),
    )
        .prop_map(|(delimiter, newline, always_quotes, encoding)| Dialect {
            delimiter,
            newline,
            always_quotes,
            encoding,
        })
}

fn encoded(rows: &[[String; 3]], dialect: &Dialect) -> Vec<u8> {
    let style = if dialect.always_quotes {
        csv::QuoteStyle::Always
    } else {
        csv::QuoteStyle::Necessary
    };
    let mut writer = csv::WriterBuilder::new()
        .delimiter(dialect.delimiter)
        .quote_style(style)
        .from_writer(Vec::new());
    writer.write_record(["Key", "Prompt", "My Color"]).unwrap();
    for row in rows {
        writer.write_record(row).unwrap();
    }
    let text = String::from_utf8(writer.into_inner().unwrap())
        .unwrap()
        .replace('\n', dialect.newline);
    match dialect.encoding {
        Encoding::Utf8 => text.into_bytes(),
        Encoding::Marked => format!("\u{feff}{text}").into_bytes(),
        Encoding::Utf16(big) => {
            let bytes = |unit: u16| {
                if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            };
            format!("\u{feff}{text}")
                .encode_utf16()
                .flat_map(bytes)
                .collect()
        }
    }
}

proptest! {
    /// A table is read as it was meant, whatever its delimiter, quotes, newlines and encoding.
    #[test]
    fn a_table_is_read_in_every_encoding(
        cells in prop::collection::vec(("[a-zäß東 ,;\t|\"'.]{0,8}", "[a-z ,;|\"]{0,6}"), 1..6),
        dialect in dialects(),
    ) {
        let rows: Vec<[String; 3]> = (0..).zip(&cells)
            .map(|(number, (prompt, color))| [format!("k{number}"), format!("p{prompt}p"), format!("c{color}c")])
            .collect();
        let (images, reading) = read_all(&encoded(&rows, &dialect), &context());
        prop_assert_eq!(reading.errors, 0, "{:?}", reading.problems);
        let found: Vec<[String; 3]> = images.iter()
            .map(|image| [image.item.clone(), image.prompt.clone().unwrap(), image.vars["my_color"].clone()])
            .collect();
        prop_assert_eq!(found, rows);
    }
}
