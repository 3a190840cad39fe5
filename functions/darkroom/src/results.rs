//! Reading what Gemini made: from the bytes of a result file to images, and to reasons where there
//! is none.
//!
//! A result file is JSONL, one line per request, its images as base64 inside the lines; lines of
//! several megabytes are the rule and files of gigabytes possible. [`Scanner`] takes it in pieces
//! of any size and never holds a line: base64 is decoded as it passes, into buffers of a [`Pool`],
//! and only the little JSON around it is kept, then read into an [`Answer`]. What is wrong with a
//! line is data, a [`BadLine`]; nothing in a file can stop the scan.

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
    BATCH_FAILED, UNMATCHED, UNREAD_LINE, grpc_code, grpc_status, is_error_entry,
    is_image_elsewhere,
};
pub use inline_output::{InlineOutput, OutputPiece};
pub use limits::Limits;
pub use pool::{Pool, PooledBuffer};
pub use result_line::{Lane, ResultLine, StoredImage};
pub use scanner::{Line, Scanner, read_response};
