//! The marks of generated images, in the bytes of a file.
//!
//! Whether the real service marks its images is not documented for the API. The forms follow the
//! specifications: XMP Specification Part 3 (2020) §1.1.3 and §1.1.5 with the IPTC property "Digital
//! Source Type", and C2PA Specification 2.2 §A.3, both read 2026-11. The manifest store has no
//! content, because nothing here checks a signature.

use jpeg_encoder::{Encoder, EncodingError, JfifWrite};
use serde::{Deserialize, Serialize};

/// Which marks an image has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Marks {
    /// XMP with the digital source type `trainedAlgorithmicMedia`.
    pub(crate) iptc: bool,
    /// C2PA content credentials.
    pub(crate) c2pa: bool,
}

/// The XMP packet of a generated image.
const PACKET: &str = "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n\
<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\
<rdf:Description rdf:about=\"\" xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\">\
<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia\
</Iptc4xmpExt:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta>\n<?xpacket end=\"w\"?>";

/// The name of the segment of a JPEG with XMP.
const XMP_SEGMENT: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// The keyword of the text chunk of a PNG with XMP. It is not compressed and has no language.
const XMP_CHUNK: &[u8] = b"XML:com.adobe.xmp\0\0\0\0\0";

/// An empty manifest store: a JUMBF superbox with its description box.
const MANIFEST_STORE: &[u8] = b"\0\0\0\x26jumb\0\0\0\x1ejumd\
c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0";

/// What precedes the box in a segment of a JPEG: the identifier, the instance, the sequence number.
const JUMBF_SEGMENT: &[u8] = b"JP\0\x01\0\0\0\x01";

impl Marks {
    /// Adds the marks to a JPEG.
    ///
    /// # Errors
    /// When the encoder refuses a segment.
    pub(crate) fn add_to_jpeg<W: JfifWrite>(
        self,
        encoder: &mut Encoder<W>,
    ) -> Result<(), EncodingError> {
        if self.iptc {
            encoder.add_app_segment(1, [XMP_SEGMENT, PACKET.as_bytes()].concat())?;
        }
        if self.c2pa {
            encoder.add_app_segment(11, [JUMBF_SEGMENT, MANIFEST_STORE].concat())?;
        }
        Ok(())
    }

    /// Adds the marks to a PNG, before its pixels.
    ///
    /// # Errors
    /// When the encoder refuses a chunk.
    pub(crate) fn add_to_png<W: std::io::Write>(
        self,
        writer: &mut png::Writer<W>,
    ) -> Result<(), png::EncodingError> {
        if self.iptc {
            let content = [XMP_CHUNK, PACKET.as_bytes()].concat();
            writer.write_chunk(png::chunk::iTXt, &content)?;
        }
        if self.c2pa {
            writer.write_chunk(png::chunk::ChunkType(*b"caBX"), MANIFEST_STORE)?;
        }
        Ok(())
    }
}
