//! Thumbnails of every format, of extreme shapes, and of damaged images.

use darkroom::results::image::MediaType;
use image_webp::WebPEncoder;
use jpeg_encoder::{ColorType, Encoder};
use proptest::prelude::*;

use super::*;

/// A lossy WebP of one pixel.
const LOSSY_WEBP: &[u8] =
    b"RIFF$\0\0\0WEBPVP8 \x18\0\0\0\x30\x01\0\x9d\x01*\x01\0\x01\0\x02\0\x34%\xa4\
    \0\x03p\0\xfe\xfb\x94\0\0";

/// What an image shows.
#[derive(Clone, Copy, Debug)]
enum Motif {
    /// A smooth gradient, which compresses well.
    Gradient,
    /// Random pixels, which hardly compress.
    Noise,
}

fn pixels(width: u32, height: u32, motif: Motif) -> Vec<u8> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            rgb.extend(match motif {
                Motif::Gradient => [(255 * x / width) as u8, (255 * y / height) as u8, 128],
                Motif::Noise => [noise(), noise(), noise()],
            });
        }
    }
    rgb
}

fn jpeg(width: u32, height: u32, motif: Motif, progressive: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    encoder.set_progressive(progressive);
    let rgb = pixels(width, height, motif);
    encoder
        .encode(&rgb, width as u16, height as u16, ColorType::Rgb)
        .unwrap();
    bytes
}

fn png_of(
    (width, height): (u32, u32),
    color: png::ColorType,
    depth: png::BitDepth,
    data: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(vec![255, 0, 0, 0, 0, 255]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    bytes
}

fn png(width: u32, height: u32, motif: Motif) -> Vec<u8> {
    let rgb = pixels(width, height, motif);
    let (color, depth) = (png::ColorType::Rgb, png::BitDepth::Eight);
    png_of((width, height), color, depth, &rgb)
}

fn webp(width: u32, height: u32, motif: Motif) -> Vec<u8> {
    let mut bytes = Vec::new();
    let rgb = pixels(width, height, motif);
    WebPEncoder::new(&mut bytes)
        .encode(&rgb, width, height, image_webp::ColorType::Rgb8)
        .unwrap();
    bytes
}

/// Makes a thumbnail, checks what all thumbnails have in common, and returns its size and pixels.
fn made(image: &[u8]) -> ((u32, u32), Vec<u8>) {
    let Encoded { thumbnail, jpeg } = of(image).unwrap();
    assert!(jpeg.len() <= MAX_BYTES, "{} bytes", jpeg.len());
    assert_eq!(thumbnail.bytes, jpeg.len() as u64);
    let header = read_header(&jpeg).unwrap();
    assert_eq!(header.media_type, MediaType::Jpeg);
    let size = (header.width, header.height);
    assert_eq!((thumbnail.width, thumbnail.height), size);
    assert_eq!(Provenance::of(&jpeg).iptc, Provenance::of(image).iptc);
    // The same input gives the same bytes.
    assert_eq!(of(image).unwrap().jpeg, jpeg);
    let picture = decode::decode(&jpeg, MediaType::Jpeg, MAX_SIDE).unwrap();
    (size, picture.rgb)
}

/// Asserts that a pixel has about this color.
fn assert_near(pixel: &[u8], color: [u8; 3]) {
    let is_near = pixel.iter().zip(color).all(|(a, b)| a.abs_diff(b) < 12);
    assert!(is_near, "{pixel:?} is not about {color:?}");
}

#[test]
fn every_format_becomes_a_small_jpeg_of_the_same_picture() {
    for image in [
        jpeg(1024, 768, Motif::Gradient, false),
        jpeg(1024, 768, Motif::Gradient, true),
        png(1024, 768, Motif::Gradient),
        webp(1024, 768, Motif::Gradient),
    ] {
        let (size, rgb) = made(&image);
        assert_eq!(size, (512, 384));
        assert_near(&rgb[..3], [0, 0, 128]);
        assert_near(&rgb[3 * 511..3 * 512], [255, 0, 128]);
        assert_near(&rgb[rgb.len() - 3..], [255, 255, 128]);
    }
    assert_eq!(made(LOSSY_WEBP).0, (1, 1));
}

#[test]
fn extreme_shapes_keep_at_least_one_pixel() {
    for (size, small) in [
        ((1, 1), (1, 1)),
        ((2, 3), (2, 3)),
        ((512, 512), (512, 512)),
        ((3072, 384), (512, 64)),
        ((1, 3000), (1, 512)),
        ((3000, 1), (512, 1)),
    ] {
        let (width, height) = size;
        assert_eq!(made(&png(width, height, Motif::Gradient)).0, small);
        assert_eq!(made(&jpeg(width, height, Motif::Gradient, false)).0, small);
        assert_eq!(made(&webp(width, height, Motif::Gradient)).0, small);
    }
}

#[test]
fn noise_gets_a_lower_quality_and_then_fewer_pixels() {
    // Averaging makes the noise of a large image smoother than that of a small one.
    let (large, _) = made(&png(1400, 1400, Motif::Noise));
    let (small, _) = made(&png(500, 500, Motif::Noise));
    assert!(large.0 >= 256 && small.0 >= 128, "{large:?} {small:?}");
    assert!(small.0 < 500, "{small:?}");
}

#[test]
fn transparent_pixels_are_white() {
    let data = [[255, 0, 0, 0], [255, 0, 0, 255]].concat();
    let image = png_of(
        (2, 1),
        png::ColorType::Rgba,
        png::BitDepth::Eight,
        &data.repeat(1),
    );
    let picture = decode::decode(&image, MediaType::Png, MAX_SIDE).unwrap();
    assert_eq!(picture.rgb, [255, 255, 255, 255, 0, 0]);
    let image = png_of(
        (2, 1),
        png::ColorType::GrayscaleAlpha,
        png::BitDepth::Eight,
        &[0, 128, 9, 255],
    );
    let picture = decode::decode(&image, MediaType::Png, MAX_SIDE).unwrap();
    assert_eq!(picture.rgb, [127, 127, 127, 9, 9, 9]);
}

#[test]
fn every_color_type_and_depth_of_png_is_read() {
    use png::{BitDepth, ColorType};
    for (color, depth, data, first) in [
        (ColorType::Grayscale, BitDepth::One, &[0x40][..], [0; 3]),
        (ColorType::Grayscale, BitDepth::Eight, &[7, 9], [7; 3]),
        (
            ColorType::Grayscale,
            BitDepth::Sixteen,
            &[7, 1, 9, 1],
            [7; 3],
        ),
        (ColorType::Indexed, BitDepth::Eight, &[1, 0], [0, 0, 255]),
        (
            ColorType::Rgb,
            BitDepth::Sixteen,
            &[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0],
            [1, 2, 3],
        ),
    ] {
        let image = png_of((2, 1), color, depth, data);
        let picture = decode::decode(&image, MediaType::Png, MAX_SIDE).unwrap();
        assert_eq!(picture.rgb[..3], first, "{color:?} {depth:?}");
    }
}

#[test]
fn the_mark_of_a_generated_image_is_carried_over() {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 90);
    let packet = b"http://ns.adobe.com/xap/1.0/\0<x DigitalSourceType='http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia'/>";
    encoder.add_app_segment(1, packet.to_vec()).unwrap();
    let rgb = pixels(64, 64, Motif::Gradient);
    encoder.encode(&rgb, 64, 64, ColorType::Rgb).unwrap();
    assert!(Provenance::of(&bytes).iptc);
    made(&bytes);
    let thumbnail = of(&bytes).unwrap().jpeg;
    assert_eq!(
        Provenance::of(&thumbnail),
        Provenance {
            iptc: true,
            c2pa: false
        }
    );
}

/// The decoder would show them in wrong colors.
#[test]
fn a_jpeg_with_separate_scans_has_a_reason() {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 80);
    encoder.set_optimized_huffman_tables(true);
    let rgb = pixels(64, 64, Motif::Gradient);
    encoder.encode(&rgb, 64, 64, ColorType::Rgb).unwrap();
    let flaw = of(&bytes).unwrap_err().to_string();
    assert!(
        flaw.ends_with("a scan for each of its components"),
        "{flaw}"
    );
}

#[test]
fn a_damaged_image_has_a_reason() {
    let whole = png(300, 300, Motif::Noise);
    let mut corrupt = whole.clone();
    corrupt[100..200].fill(0);
    let huge = [
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(),
        &[0xff; 8],
        b"\x08\x02\0\0\0",
    ]
    .concat();
    for (image, reason) in [
        (&b"<svg/>"[..], "neither PNG, JPEG nor WebP"),
        (&whole[..whole.len() / 2], "can't be decoded"),
        (&corrupt[..], "can't be decoded"),
        (&huge[..], "more pixels"),
        (&LOSSY_WEBP[..34], "can't be decoded"),
    ] {
        let flaw = of(image).unwrap_err().to_string();
        assert!(flaw.contains(reason), "{flaw}");
        assert!(flaw.len() < 300, "{flaw}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No damage makes a decoder panic or a thumbnail too large.
    #[test]
    fn damage_never_breaks_a_rule(
        format in 0..4_usize,
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut image = match format {
            0 => jpeg(70, 50, Motif::Gradient, false),
            1 => jpeg(70, 50, Motif::Noise, true),
            2 => png(70, 50, Motif::Gradient),
            _ => webp(70, 50, Motif::Gradient),
        };
        for (place, byte) in at {
            let place = place.index(image.len());
            image[place] = byte;
        }
        if is_cut {
            image.truncate(cut.index(image.len()));
        }
        if let Ok(Encoded { jpeg, .. }) = of(&image) {
            prop_assert!(jpeg.len() <= MAX_BYTES);
        }
    }
}
