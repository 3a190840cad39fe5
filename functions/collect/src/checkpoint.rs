//! Results that are not recorded yet, and the checkpoints that record them.

use darkroom::{
    chunks::{Chunk, ChunkLine, UnmatchedReason},
    state::Collecting,
};

use crate::{error::CollectError, reading::Reading};

/// Results whose images are stored, but which no chunk holds yet.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// The lines of the next chunk.
    lines: Vec<ChunkLine>,
    /// The offset in the output up to which they reach.
    end: Option<u64>,
    /// Whether any of them belongs to a request of the shard.
    matched: bool,
}

impl Results {
    /// Adds a line whose successor begins at the offset `end`.
    pub(crate) fn add(&mut self, end: u64, line: ChunkLine) {
        self.matched |= match &line {
            ChunkLine::Result(_) => true,
            ChunkLine::Unmatched(unmatched) => matches!(
                unmatched.unmatched,
                UnmatchedReason::RepeatedKey | UnmatchedReason::SkippedLine
            ),
        };
        self.lines.push(line);
        self.end = Some(end);
    }

    /// Whether enough has been read since the last checkpoint, or time runs out.
    pub(crate) fn is_checkpoint_due(&self, reading: &Reading<'_, '_>) -> bool {
        let (pace, offset) = (reading.deps.pace, reading.collecting.offset);
        self.end
            .is_some_and(|end| end.saturating_sub(offset) >= pace.checkpoint_bytes)
            || self.lines.len() >= pace.checkpoint_results
            || reading.is_time_up()
    }

    /// Writes the chunk, then the state that names it, so that no state names a chunk that does not
    /// exist.
    ///
    /// Tries and crashes count from the checkpoint on. A checkpoint without a line of any request
    /// keeps the count of tries, because it may be an output in which nothing is usable.
    ///
    /// # Errors
    /// [`CollectError`]; the results are recorded only if the state was written.
    pub(crate) async fn checkpoint(
        &mut self,
        reading: &mut Reading<'_, '_>,
    ) -> Result<(), CollectError> {
        let Some(end) = self.end.take() else {
            return Ok(());
        };
        let chunk = Chunk::up_to(end, self.lines.len());
        reading.write_chunk(&chunk, &self.lines).await?;
        self.lines.clear();

        let mut collecting = Collecting {
            offset: end,
            crashes: 0,
            ..reading.collecting.clone()
        };
        collecting.chunks.push(chunk);
        let mut errors = reading.turn.shard().errors;
        if std::mem::take(&mut self.matched) {
            (collecting.tries, errors) = (1, 0);
        }
        reading.record(collecting, errors).await
    }

    /// Returns the lines since the last checkpoint.
    pub(crate) fn into_lines(self) -> Vec<ChunkLine> {
        self.lines
    }
}
