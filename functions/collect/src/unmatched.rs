//! An output none of whose lines belongs to a request.
//!
//! Its images were paid for, and lie in the bucket as unmatched. They are never bought again by
//! themselves: a person looks at them and decides.

use darkroom::{
    object_keys,
    state::{Collecting, HELD_DEADLINE, Phase, Shard, Unmatched},
};
use runtime::{deliveries::Disposition, shard_store::StoredShard};
use tracing::warn;

use crate::{
    expected::Found,
    handler::CollectError,
    work::{CONTENDED, Work},
};

/// What was found in an output that was read to its end.
pub(crate) enum Verdict {
    /// Lines of requests; or there is no output, or none was to be expected.
    Usable,
    /// No line of a request, and no image.
    Nothing,
    /// No line of a request, but images.
    Unmatched(Unmatched),
}

/// Judges what was found in the output of a batch.
pub(crate) fn verdict(shard: &Shard, found: &Found) -> Verdict {
    let Some(ended) = shard.phase.ended() else {
        return Verdict::Usable;
    };
    // A batch that did not succeed may have served nothing, and says so with an empty output.
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

/// Has a person decide what becomes of the images.
pub(crate) async fn hold(
    work: &Work<'_>,
    stored: &StoredShard,
    unmatched: Unmatched,
) -> Result<Disposition, CollectError> {
    let Phase::Collecting(collecting) = &stored.shard.phase else {
        return Ok(Disposition::Later(CONTENDED));
    };
    let folder = object_keys::shard_unmatched_folder(&stored.shard.job, stored.shard.shard);
    let reason = format!(
        "Gemini made {} images and does not say for which requests. They are stored in {folder}; {}. Approve to have the \
         images made again, which is paid again; cancel to end without them",
        unmatched.images,
        collecting.ended.whereabouts()
    );
    warn!("held: {reason}");
    let collecting = Collecting {
        lease_until: None,
        unmatched: Some(unmatched),
        ..collecting.clone()
    };
    let read = Shard {
        phase: Phase::Collecting(collecting),
        ..stored.shard.clone()
    };
    work.wait(
        stored,
        read.held(reason, work.deps.clock.now()),
        HELD_DEADLINE,
    )
    .await
}
