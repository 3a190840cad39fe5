//! The bytes of the output from one place on, in pieces as large as whoever reads them dares to
//! take.

use std::fmt;

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream::BoxStream};
use gemini::{ApiError, Download};
use memchr::memchr;

use crate::handler::CollectError;

/// The output from a checkpoint on.
pub(crate) struct Pieces {
    body: BoxStream<'static, Result<Bytes, ApiError>>,
    /// Bytes before the checkpoint that are still to come: the server began earlier than it was
    /// asked to.
    skip: u64,
    /// What has come and was not yet taken.
    rest: Bytes,
}

impl Pieces {
    /// What `download` brings from byte `offset` of the output on.
    pub(crate) fn new(download: Download, offset: u64) -> Self {
        Self {
            skip: offset.saturating_sub(download.starts_at),
            body: download.body,
            rest: Bytes::new(),
        }
    }

    /// The next piece, which ends with its line where only `one_line` is wanted; none at the end of
    /// the output. Nothing is lost when it is not waited for to the end.
    pub(crate) async fn next(&mut self, one_line: bool) -> Option<Result<Bytes, CollectError>> {
        while self.rest.is_empty() {
            let mut chunk = match self.body.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(problem)) => return Some(Err(problem.into())),
                None if self.skip > 0 => return Some(Err(CollectError::Shrunk)),
                None => return None,
            };
            let seen = usize::try_from(self.skip)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            self.skip -= seen as u64;
            chunk.advance(seen);
            self.rest = chunk;
        }
        let line = memchr(b'\n', &self.rest).filter(|_| one_line);
        Some(Ok(self
            .rest
            .split_to(line.map_or(self.rest.len(), |at| at + 1))))
    }

    /// Passes over the first line that isn't blank, whatever it holds; nothing of it is kept.
    /// Answers with how many bytes that were, blank lines before it included, or with nothing if
    /// there is no line.
    ///
    /// # Errors
    /// [`CollectError`] when the download breaks off.
    pub(crate) async fn pass_line(&mut self) -> Result<Option<u64>, CollectError> {
        let (mut passed, mut is_blank) = (0, true);
        while let Some(piece) = self.next(true).await {
            let piece = piece?;
            passed += piece.len() as u64;
            is_blank &= piece.trim_ascii().is_empty();
            if !is_blank && piece.ends_with(b"\n") {
                break;
            }
        }
        Ok((!is_blank).then_some(passed))
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces")
            .field("skip", &self.skip)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn pieces(chunks: &[&'static str], starts_at: u64, offset: u64) -> Pieces {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())))
            .collect();
        Pieces::new(
            Download {
                starts_at,
                body: stream::iter(chunks).boxed(),
            },
            offset,
        )
    }

    async fn all(mut pieces: Pieces, one_line: bool) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(piece) = pieces.next(one_line).await {
            found.push(String::from_utf8(piece.unwrap().to_vec()).unwrap());
        }
        found
    }

    #[tokio::test]
    async fn careful_pieces_end_with_their_lines() {
        let chunks = ["a\nbb", "b\n", "\ncc\nd"];
        assert_eq!(all(pieces(&chunks, 0, 0), false).await, chunks);
        assert_eq!(
            all(pieces(&chunks, 0, 0), true).await,
            ["a\n", "bb", "b\n", "\n", "cc\n", "d"]
        );
    }

    #[tokio::test]
    async fn what_was_read_before_is_left_out_whether_or_not_the_server_did() {
        for starts_at in [0, 2, 3] {
            let whole = ["ab", "cd", "ef"].concat();
            let sent: &'static str = Box::leak(
                whole[usize::try_from(starts_at).unwrap()..]
                    .to_owned()
                    .into_boxed_str(),
            );
            assert_eq!(all(pieces(&[sent], starts_at, 3), false).await, ["def"]);
        }
        assert_eq!(
            all(pieces(&["ab", "cd", "ef"], 0, 3), false).await,
            ["d", "ef"]
        );
    }

    #[tokio::test]
    async fn output_that_ends_before_the_checkpoint_is_no_end() {
        let mut short = pieces(&["ab"], 0, 3);
        assert!(matches!(
            short.next(false).await,
            Some(Err(CollectError::Shrunk))
        ));
    }

    #[tokio::test]
    async fn a_passed_line_takes_its_newline_and_blank_lines_before_it_along() {
        for chunks in [
            &["\n \nbad", " line\nnext\n"][..],
            &["\n \nbad line\nnext\n"],
            &["\n", " \nbad line", "\nnext\n"],
        ] {
            let mut pieces = pieces(chunks, 0, 0);
            assert_eq!(pieces.pass_line().await.unwrap(), Some(12));
            assert_eq!(all(pieces, true).await, ["next\n"]);
        }
        assert_eq!(
            pieces(&["the last"], 0, 0).pass_line().await.unwrap(),
            Some(8)
        );
        assert_eq!(
            pieces(&["\n", "\r\n"], 0, 0).pass_line().await.unwrap(),
            None
        );
    }
}
