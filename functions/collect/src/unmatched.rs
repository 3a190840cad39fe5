//! An output none of whose lines belongs to a request.
//!
//! Its images were paid for and are stored as unmatched. They are bought again only if an operator
//! has looked at them and approves that.

use darkroom::{
    object_keys,
    state::{Collecting, EndedBatch, HELD_DEADLINE, Outcome, Unmatched},
};
use exchange::expectations::Found;

use crate::reading::Reading;

/// What an output that was read to the end contains.
pub(crate) enum Verdict {
    /// Lines of requests; or there is no output, or none was to be expected.
    Usable,
    /// No line of a request, and no image.
    Nothing,
    /// No line of a request, but images.
    Unmatched(Unmatched),
}

/// Judges what was found in the output of a batch.
pub(crate) fn verdict(ended: &EndedBatch, found: &Found) -> Verdict {
    // A batch that did not succeed may have finished no request, and then its output is empty.
    let may_be_empty = ended.state != "SUCCEEDED" && found.lines == 0;
    if found.matched > 0 || found.skipped_lines > 0 || ended.output.is_none() || may_be_empty {
        Verdict::Usable
    } else if found.unmatched_images > 0 {
        Verdict::Unmatched(Unmatched {
            images: found.unmatched_images,
            buy_again: false,
        })
    } else {
        Verdict::Nothing
    }
}

/// Holds the shard, so that an operator decides about its images.
pub(crate) fn hold(reading: &Reading<'_, '_>, unmatched: Unmatched) -> Outcome {
    let shard = reading.turn.shard();
    let folder = object_keys::shard_unmatched_folder(&shard.job, shard.shard);
    let reason = format!(
        "Gemini made {} images without naming their requests. They are stored in {folder}; {}. \
         Approve to have the images made again, which is paid again; cancel to end without them",
        unmatched.images,
        reading.collecting.ended.describe_output()
    );
    let read = reading.without_lease(Collecting {
        unmatched: Some(unmatched),
        ..reading.collecting.clone()
    });
    Outcome::hold(read.held(reason, reading.deps.clock.now()), HELD_DEADLINE)
}
