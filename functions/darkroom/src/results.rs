//! Reads the result files of Gemini: from their bytes to images, or to the reasons why an image is
//! missing.
//!
//! A result file is JSONL with one line per request. Images are base64 inside the lines, so a line
//! usually has several megabytes, and a file may have gigabytes. [`Scanner`] accepts the file in
//! pieces of any size and never holds a whole line: it decodes base64 while it arrives, into buffers
//! of a [`Pool`], and keeps only the JSON around it, which is then read into an [`Answer`]. A line
//! that can't be read becomes a [`BadLine`]. No content of a file can stop the scan.

mod answer;
mod bad_line;
mod blob;
mod codes;
pub mod image;
mod inline_output;
mod limits;
mod pool;
#[cfg(test)]
mod properties;
mod reading;
mod result_line;
mod scanner;
mod skeleton;
#[cfg(test)]
mod testing;

pub use answer::{Answer, Image, Outcome, Reason, Status};
pub use bad_line::{BadLine, BadLineReason};
pub use codes::{
    BATCH_FAILED, NO_ANSWER, NO_CAPACITY, UNMATCHED, UNREAD_LINE, grpc_code, grpc_status,
    is_error_entry, is_image_elsewhere,
};
pub use inline_output::{InlineOutput, OutputPiece};
pub use limits::Limits;
pub use pool::{Pool, PooledBuffer};
pub use result_line::{ResultLine, StoredImage};
pub use scanner::{Line, Scanner, read_response};
