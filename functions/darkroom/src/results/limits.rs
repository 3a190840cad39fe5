//! The limits on the memory for one line of a result file.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The limits on what the scanner keeps of one line. A line that exceeds a limit is reported like
/// any other line, and memory stays bounded.
///
/// Nesting needs no limit: JSON that isn't read is skipped without recursion, and the rest has a
/// fixed depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a line without its images and long texts; 1 MiB by default. Half a kilobyte is
    /// usual. Thoughts and citations of a reply with 32,768 output tokens
    /// (<https://ai.google.dev/gemini-api/docs/models>, read 2026-11) stay below 200 KiB.
    pub skeleton_bytes: usize,
    /// Bytes of one text with its escapes; 64 KiB by default. A longer text is treated as empty. No
    /// text that is read is as long, while signatures of thoughts may have megabytes. The first
    /// kilobyte of a part's `text` is always kept, because it may contain an image.
    pub text_bytes: usize,
    /// Decoded bytes of one image; 64 MiB by default. Gemini's largest image, 4096 × 4096 pixels,
    /// has 48 MiB uncompressed.
    pub image_bytes: usize,
    /// Images of one line, including thoughts; 32 by default. Replies have one to four.
    pub images: usize,
    /// Decoded bytes of all images of one line; 96 MiB by default, which leaves a function with
    /// 256 MB enough memory to write them.
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
