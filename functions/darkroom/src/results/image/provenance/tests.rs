//! Containers with and without marks, truncated and hostile ones.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

const NONE: Provenance = Provenance {
    iptc: false,
    c2pa: false,
};
const IPTC: Provenance = Provenance {
    iptc: true,
    c2pa: false,
};
const C2PA: Provenance = Provenance {
    iptc: false,
    c2pa: true,
};
const BOTH: Provenance = Provenance {
    iptc: true,
    c2pa: true,
};

fn packet(source: &str) -> Vec<u8> {
    format!(
        "<rdf:Description Iptc4xmpExt:DigitalSourceType=\"http://cv.iptc.org/newscodes/digitalsourcetype/{source}\"/>"
    )
    .into_bytes()
}

fn generated() -> Vec<u8> {
    packet("trainedAlgorithmicMedia")
}

/// A superbox of this type with a description box.
fn superbox(kind: &[u8; 4]) -> Vec<u8> {
    [
        b"\0\0\0\x40jumb\0\0\0\x1ejumd".as_slice(),
        kind,
        b"\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0",
    ]
    .concat()
}

fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap();
    [&[0xff, marker], &length.to_be_bytes()[..], content].concat()
}

fn jpeg(segments: &[Vec<u8>]) -> Vec<u8> {
    let pixels = [segment(0xda, b"\x01\x01\0\0\x3f\0"), vec![7; 100]].concat();
    [
        b"\xff\xd8".as_slice(),
        &segments.concat(),
        &pixels,
        b"\xff\xd9",
    ]
    .concat()
}

fn jpeg_xmp(packet: &[u8]) -> Vec<u8> {
    segment(0xe1, &[JPEG_XMP, packet].concat())
}

fn jpeg_c2pa(superbox: &[u8]) -> Vec<u8> {
    segment(0xeb, &[b"JP\0\x01\0\0\0\x01".as_slice(), superbox].concat())
}

fn png_chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_be_bytes()[..], kind, content, b"\0\0\0\0"].concat()
}

fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    let header = png_chunk(b"IHDR", &[0; 13]);
    let end = png_chunk(b"IEND", b"");
    [
        b"\x89PNG\r\n\x1a\n".as_slice(),
        &header,
        &chunks.concat(),
        &end,
    ]
    .concat()
}

fn png_xmp(packet: &[u8]) -> Vec<u8> {
    png_chunk(b"iTXt", &[PNG_XMP, b"\0\0\0\0", packet].concat())
}

fn webp_chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    let padding = vec![0; content.len() % 2];
    [kind, &length.to_le_bytes()[..], content, &padding].concat()
}

fn webp(chunks: &[Vec<u8>]) -> Vec<u8> {
    let pixels = webp_chunk(b"VP8L", &[7; 31]);
    [b"RIFF\0\0\0\0WEBP".as_slice(), &pixels, &chunks.concat()].concat()
}

#[test]
fn each_container_holds_each_mark() {
    let (xmp, boxed) = (generated(), superbox(b"c2pa"));
    for (image, marks) in [
        (jpeg(&[]), NONE),
        (jpeg(&[jpeg_xmp(&xmp)]), IPTC),
        (jpeg(&[jpeg_c2pa(&boxed)]), C2PA),
        (jpeg(&[jpeg_c2pa(&boxed), jpeg_xmp(&xmp)]), BOTH),
        (png(&[]), NONE),
        (png(&[png_xmp(&xmp)]), IPTC),
        (png(&[png_chunk(b"caBX", &boxed)]), C2PA),
        (png(&[png_xmp(&xmp), png_chunk(b"caBX", &boxed)]), BOTH),
        (webp(&[]), NONE),
        (webp(&[webp_chunk(b"XMP ", &xmp)]), IPTC),
        (webp(&[webp_chunk(b"C2PA", &boxed)]), C2PA),
        (
            webp(&[webp_chunk(b"C2PA", &boxed), webp_chunk(b"XMP ", &xmp)]),
            BOTH,
        ),
    ] {
        assert_eq!(Provenance::of(&image), marks, "{image:?}");
    }
}

#[test]
fn marks_after_the_pixels_of_a_png_and_in_a_second_part_of_a_jpegs_xmp_are_found() {
    let pixels = png_chunk(b"IDAT", &[7; 1_000]);
    let image = png(&[pixels.clone(), pixels, png_xmp(&generated())]);
    assert_eq!(Provenance::of(&image), IPTC);
    let part = [JPEG_EXTENDED_XMP, &[b'0'; 40], &generated()].concat();
    let image = jpeg(&[jpeg_xmp(b"<x/>"), segment(0xe1, &part)]);
    assert_eq!(Provenance::of(&image), IPTC);
}

#[test]
fn other_source_types_and_other_boxes_are_no_mark() {
    for source in [
        "compositeWithTrainedAlgorithmicMedia",
        "digitalCapture",
        "algorithmicMedia",
    ] {
        let xmp = packet(source);
        assert_eq!(Provenance::of(&jpeg(&[jpeg_xmp(&xmp)])), NONE, "{source}");
    }
    let unnamed = b"<dc:source>http://example.com/trainedAlgorithmicMedia</dc:source>";
    assert_eq!(Provenance::of(&jpeg(&[jpeg_xmp(unnamed)])), NONE);
    let image = jpeg(&[jpeg_c2pa(&superbox(b"cgbr"))]);
    assert_eq!(Provenance::of(&image), NONE);
}

#[test]
fn marks_in_pixels_comments_and_other_segments_do_not_count() {
    let (xmp, boxed) = (generated(), superbox(b"c2pa"));
    let all = [JPEG_XMP, PNG_XMP, &xmp, &boxed].concat();
    for image in [
        [jpeg(&[]), jpeg_xmp(&xmp), jpeg_c2pa(&boxed)].concat(),
        jpeg(&[
            segment(0xfe, &all),
            segment(0xe2, &all),
            segment(0xe1, &xmp),
        ]),
        png(&[png_chunk(b"IDAT", &all), png_chunk(b"tEXt", &all)]),
        [png(&[]), png_xmp(&xmp)].concat(),
        webp(&[webp_chunk(b"VP8 ", &all), webp_chunk(b"EXIF", &all)]),
    ] {
        assert_eq!(Provenance::of(&image), NONE);
    }
}

#[test]
fn a_box_with_a_long_length_is_c2pa_too() {
    let boxed = superbox(b"c2pa");
    let long = [b"\0\0\0\x01jumb\0\0\0\0\0\0\0\x48".as_slice(), &boxed[8..]].concat();
    assert_eq!(Provenance::of(&png(&[png_chunk(b"caBX", &long)])), C2PA);
}

#[test]
fn a_truncated_image_has_the_marks_before_its_end() {
    let (xmp, boxed) = (generated(), superbox(b"c2pa"));
    for image in [
        jpeg(&[jpeg_xmp(&xmp), jpeg_c2pa(&boxed)]),
        png(&[png_xmp(&xmp), png_chunk(b"caBX", &boxed)]),
        webp(&[webp_chunk(b"XMP ", &xmp), webp_chunk(b"C2PA", &boxed)]),
    ] {
        let mut seen = NONE;
        for end in 0..=image.len() {
            let marks = Provenance::of(&image[..end]);
            assert!(marks.iptc || !seen.iptc, "{end} bytes");
            assert!(marks.c2pa || !seen.c2pa, "{end} bytes");
            seen = marks;
        }
        assert_eq!(seen, BOTH);
    }
}

#[test]
fn lengths_beyond_the_end_are_refused() {
    let huge_png = [
        b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffiTXt".as_slice(),
        PNG_XMP,
        &generated(),
    ]
    .concat();
    let huge_webp = [
        b"RIFF\0\0\0\0WEBPXMP \xff\xff\xff\xff".as_slice(),
        &generated(),
    ]
    .concat();
    for image in [huge_png, huge_webp] {
        assert_eq!(Provenance::of(&image), NONE);
    }
    assert_eq!(Provenance::of(b"<svg/>"), NONE);
    assert_eq!(Provenance::of(b""), NONE);
}

/// The number of steps is at most the number of bytes, even if every chunk is empty or every byte
/// fills. With quadratic time, this test would take minutes.
#[test]
fn the_time_is_linear() {
    let size = 20_000_000;
    let started = Instant::now();
    for image in [
        png(&[png_chunk(b"abcd", b"").repeat(size / 12)]),
        webp(&[webp_chunk(b"abcd", b"").repeat(size / 8)]),
        [b"\xff\xd8".as_slice(), &vec![0xff; size]].concat(),
        [b"\xff\xd8".as_slice(), &b"\xff\xe1\0\0".repeat(size / 4)].concat(),
        jpeg(&[jpeg_xmp(&[b'/'; 60_000]).repeat(size / 60_000)]),
        png(&[png_xmp(&vec![b'D'; size])]),
    ] {
        assert_eq!(Provenance::of(&image), NONE);
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn no_bytes_panic(
        start in prop::sample::select(vec![
            &b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"\xff\xd8\xff\xeb\0\x10JP", b"",
        ]),
        rest in prop::collection::vec(prop_oneof![Just(0xff_u8), Just(0), any::<u8>()], 0..120),
    ) {
        let _ = Provenance::of(&[start, &rest].concat());
    }
}
