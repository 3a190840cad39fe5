//! The bytes of the output from an offset, in chunks as they arrive, or cut at the end of each line
//! for a reader that works line by line.

use std::fmt;

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream::BoxStream};
use gemini::{ApiError, Download};
use memchr::memchr;

use crate::error::CollectError;

/// The output from a checkpoint to its end.
pub(crate) struct OutputChunks {
    body: BoxStream<'static, Result<Bytes, ApiError>>,
    /// How many bytes before the checkpoint are still to arrive: a server may ignore the requested
    /// offset and begin earlier.
    skip: u64,
    /// Bytes that have arrived and were not returned yet.
    rest: Bytes,
}

impl OutputChunks {
    /// The bytes of `download` from byte `offset` of the output.
    pub(crate) fn new(download: Download, offset: u64) -> Self {
        Self {
            skip: offset.saturating_sub(download.starts_at),
            body: download.body,
            rest: Bytes::new(),
        }
    }

    /// Returns the next chunk, which ends with its line if `one_line` is set; None at the end of the
    /// output. It is safe to cancel: bytes that have arrived stay here.
    ///
    /// # Errors
    /// [`CollectError`] if the download fails, or ends before the checkpoint.
    pub(crate) async fn next(&mut self, one_line: bool) -> Option<Result<Bytes, CollectError>> {
        while self.rest.is_empty() {
            let mut arrived = match self.body.next().await {
                Some(Ok(arrived)) => arrived,
                Some(Err(problem)) => return Some(Err(problem.into())),
                None if self.skip > 0 => return Some(Err(CollectError::Shrunk)),
                None => return None,
            };
            let seen = usize::try_from(self.skip)
                .unwrap_or(usize::MAX)
                .min(arrived.len());
            self.skip -= seen as u64;
            arrived.advance(seen);
            self.rest = arrived;
        }
        let line = memchr(b'\n', &self.rest).filter(|_| one_line);
        Some(Ok(self
            .rest
            .split_to(line.map_or(self.rest.len(), |at| at + 1))))
    }

    /// Skips the first line that is not blank, without keeping any of it. Returns its length in
    /// bytes, including blank lines before it, or None if there is no line.
    ///
    /// # Errors
    /// [`CollectError`] if the download fails.
    pub(crate) async fn skip_line(&mut self) -> Result<Option<u64>, CollectError> {
        let (mut skipped, mut is_blank) = (0, true);
        while let Some(chunk) = self.next(true).await {
            let chunk = chunk?;
            skipped += chunk.len() as u64;
            is_blank &= chunk.trim_ascii().is_empty();
            if !is_blank && chunk.ends_with(b"\n") {
                break;
            }
        }
        Ok((!is_blank).then_some(skipped))
    }
}

impl fmt::Debug for OutputChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputChunks")
            .field("skip", &self.skip)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn output(chunks: &[&'static str], starts_at: u64, offset: u64) -> OutputChunks {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())))
            .collect();
        OutputChunks::new(
            Download {
                starts_at,
                body: stream::iter(chunks).boxed(),
            },
            offset,
        )
    }

    async fn all(mut output: OutputChunks, one_line: bool) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(chunk) = output.next(one_line).await {
            found.push(String::from_utf8(chunk.unwrap().to_vec()).unwrap());
        }
        found
    }

    #[tokio::test]
    async fn chunks_are_cut_at_line_ends_on_request() {
        let chunks = ["a\nbb", "b\n", "\ncc\nd"];
        assert_eq!(all(output(&chunks, 0, 0), false).await, chunks);
        assert_eq!(
            all(output(&chunks, 0, 0), true).await,
            ["a\n", "bb", "b\n", "\n", "cc\n", "d"]
        );
    }

    #[tokio::test]
    async fn bytes_before_the_checkpoint_are_skipped_even_if_the_server_sends_them() {
        for starts_at in [0, 2, 3] {
            let whole = ["ab", "cd", "ef"].concat();
            let sent: &'static str = Box::leak(
                whole[usize::try_from(starts_at).unwrap()..]
                    .to_owned()
                    .into_boxed_str(),
            );
            assert_eq!(all(output(&[sent], starts_at, 3), false).await, ["def"]);
        }
        assert_eq!(
            all(output(&["ab", "cd", "ef"], 0, 3), false).await,
            ["d", "ef"]
        );
    }

    #[tokio::test]
    async fn an_output_that_ends_before_the_checkpoint_is_an_error() {
        let mut short = output(&["ab"], 0, 3);
        assert!(matches!(
            short.next(false).await,
            Some(Err(CollectError::Shrunk))
        ));
    }

    #[tokio::test]
    async fn skipping_a_line_includes_its_newline_and_blank_lines_before_it() {
        for chunks in [
            &["\n \nbad", " line\nnext\n"][..],
            &["\n \nbad line\nnext\n"],
            &["\n", " \nbad line", "\nnext\n"],
        ] {
            let mut output = output(chunks, 0, 0);
            assert_eq!(output.skip_line().await.unwrap(), Some(12));
            assert_eq!(all(output, true).await, ["next\n"]);
        }
        assert_eq!(
            output(&["the last"], 0, 0).skip_line().await.unwrap(),
            Some(8)
        );
        assert_eq!(
            output(&["\n", "\r\n"], 0, 0).skip_line().await.unwrap(),
            None
        );
    }
}
