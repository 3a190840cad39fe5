//! How much of a result file is kept at once.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What one line may make the scanner hold. A line beyond a limit is a record like any other;
/// memory stays flat.
///
/// Nesting needs no limit of its own: what isn't read is skipped without recursion, and the rest is
/// of fixed depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a line without its images and without its long texts: 1 MiB. Half a kilobyte is
    /// usual; thoughts and citations of a reply with 32,768 output tokens
    /// (<https://ai.google.dev/gemini-api/docs/models>, read 2026-11) stay below 200 KiB.
    pub skeleton_bytes: usize,
    /// Bytes of one text, escapes not resolved, beyond which it is left out, as if it were empty:
    /// 64 KiB. Nothing that is read is as long; signatures of thoughts may be megabytes. Of a
    /// part's `text` the first kilobyte is kept, because an image may be written there.
    pub text_bytes: usize,
    /// Decoded bytes of one image: 64 MiB. The largest that Gemini makes, 4096 × 4096 pixels, is 48
    /// MiB uncompressed.
    pub image_bytes: usize,
    /// Images of one line, thoughts included: 32. Replies hold one to four.
    pub images: usize,
    /// Decoded bytes of all images of one line: 96 MiB, which leaves a function of 256 MB room to
    /// write them.
    pub line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            skeleton_bytes: MIB,
            text_bytes: 64 * KIB,
            image_bytes: 64 * MIB,
            images: 32,
            line_bytes: 96 * MIB,
        }
    }
}
