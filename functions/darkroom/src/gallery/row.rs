//! One row of the page: an expected image, whether or not it exists.

use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::Value;

use super::Head;
use crate::{
    lane::Lane,
    names::ObjectUri,
    object_keys,
    plan::PlanLine,
    results::{ResultLine, Status, StoredImage, image::Provenance},
    thumbnails::Thumbnails,
};

/// The status of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowStatus {
    /// The image has no result yet.
    Waiting,
    /// It has no result yet, and its shard waits for an approval.
    Held,
    /// It has a result.
    #[serde(untagged)]
    Result(Status),
}

/// One row: an expected image. It is written as an array with one position for each field, in this
/// order, without the trailing positions that are unknown or empty lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// The request key.
    pub key: &'a str,
    /// The manifest item's own key.
    pub item: &'a str,
    /// The number of the image among its item's images, from 1.
    pub variant: u32,
    /// The line of the manifest.
    pub line: u64,
    /// The status.
    pub status: RowStatus,
    /// The image's path, relative to the page.
    pub image: Option<&'a str>,
    /// The image's width in pixels.
    pub width: Option<u32>,
    /// Its height in pixels.
    pub height: Option<u32>,
    /// Its length in bytes.
    pub bytes: Option<u64>,
    /// The path of its thumbnail, relative to the page.
    pub thumbnail: Option<String>,
    /// The position of the model in [`Head::models`].
    pub model: Option<usize>,
    /// The lane that served the image, or in which it is planned.
    pub lane: Lane,
    /// The requested aspect ratio.
    pub ratio: Option<&'a str>,
    /// The requested size.
    pub size: Option<&'a str>,
    /// The number of times that the image was requested.
    pub attempts: Option<u32>,
    /// The cost in millionths of a dollar.
    pub cost: Option<i64>,
    /// The code of the error.
    pub code: Option<&'a str>,
    /// The message of the error.
    pub message: Option<&'a str>,
    /// The prompt.
    pub prompt: Option<&'a str>,
    /// The reference images.
    pub refs: &'a [ObjectUri],
    /// The values of the variables, in the order of [`Head::variables`].
    pub vars: Vec<Option<&'a str>>,
    /// The manifest item that requests this image alone. None if it is too large for the plan.
    pub request: Option<&'a Value>,
    /// The marks of provenance that the image carries. None if that is unknown.
    pub provenance: Option<Vec<&'static str>>,
    /// Warnings for the user.
    pub warnings: &'a [String],
    /// The paths of further images of the same answer, relative to the page.
    pub extras: Vec<&'a str>,
}

impl<'a> Row<'a> {
    /// Returns the row of an image without a result. `is_held` is whether its shard waits for an
    /// approval.
    pub fn waiting(head: &'a Head, plan: &'a PlanLine, is_held: bool) -> Self {
        let status = if is_held {
            RowStatus::Held
        } else {
            RowStatus::Waiting
        };
        Self {
            key: plan.key.as_str(),
            item: &plan.item,
            variant: plan.variant,
            line: plan.line,
            status,
            image: None,
            width: None,
            height: None,
            bytes: None,
            thumbnail: None,
            model: head.model(&plan.model),
            lane: plan.lane,
            ratio: plan.aspect_ratio.as_deref(),
            size: plan.image_size.as_deref(),
            attempts: None,
            cost: None,
            code: None,
            message: None,
            prompt: plan.prompt.as_deref(),
            refs: &plan.refs,
            vars: head
                .variables
                .iter()
                .map(|name| plan.vars.get(name).map(String::as_str))
                .collect(),
            request: plan.retry.as_ref(),
            provenance: None,
            warnings: &[],
            extras: Vec::new(),
        }
    }

    /// Returns the row of an image with a result. `thumbnails` are those of its shard.
    pub fn of_result(
        head: &'a Head,
        plan: &'a PlanLine,
        result: &'a ResultLine,
        thumbnails: &Thumbnails,
    ) -> Self {
        let path = |image: &'a StoredImage| image.uri.key.strip_prefix(&head.folder);
        let stored = result.image.as_ref();
        let image = stored.and_then(path);
        Self {
            status: RowStatus::Result(result.status),
            image,
            width: stored.map(|image| image.width),
            height: stored.map(|image| image.height),
            bytes: stored.map(|image| image.bytes),
            thumbnail: image.and_then(|path| thumbnail(head, path, thumbnails)),
            lane: result.lane.unwrap_or(plan.lane),
            attempts: result.attempts,
            cost: result.cost_usd.map(crate::money::Usd::micros),
            code: result.error.as_ref().map(|reason| reason.code.as_str()),
            message: result.error.as_ref().map(|reason| reason.message.as_str()),
            provenance: stored.and_then(|image| image.provenance).map(marks),
            warnings: &result.warnings,
            extras: result.extras.iter().filter_map(path).collect(),
            ..Self::waiting(head, plan, false)
        }
    }

    /// Returns the values of all positions, in order.
    fn cells(&self) -> [Cell<'_>; 25] {
        [
            Cell::Text(self.key),
            Cell::Text(self.item),
            Cell::Number(self.variant.into()),
            Cell::Number(self.line),
            Cell::Status(self.status),
            text(self.image),
            number(self.width.map(u64::from)),
            number(self.height.map(u64::from)),
            number(self.bytes),
            text(self.thumbnail.as_deref()),
            number(self.model.map(|index| index as u64)),
            Cell::Lane(self.lane),
            text(self.ratio),
            text(self.size),
            number(self.attempts.map(u64::from)),
            self.cost.map_or(Cell::Unknown, Cell::Amount),
            text(self.code),
            text(self.message),
            text(self.prompt),
            Cell::References(self.refs),
            Cell::Values(&self.vars),
            self.request.map_or(Cell::Unknown, Cell::Json),
            self.provenance
                .as_deref()
                .map_or(Cell::Unknown, Cell::Marks),
            Cell::Warnings(self.warnings),
            Cell::Paths(&self.extras),
        ]
    }
}

/// Returns the path of the thumbnail of the image at `path`, relative to the page, if it exists.
fn thumbnail(head: &Head, path: &str, thumbnails: &Thumbnails) -> Option<String> {
    let below = path.strip_prefix("images/")?;
    thumbnails.made.get(below)?;
    let key = object_keys::thumbnail(&head.job, below);
    Some(key.strip_prefix(&head.folder)?.to_owned())
}

/// The value of one position.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Cell<'a> {
    Unknown,
    Text(&'a str),
    Number(u64),
    Amount(i64),
    Status(RowStatus),
    Lane(Lane),
    Json(&'a Value),
    References(&'a [ObjectUri]),
    Values(&'a [Option<&'a str>]),
    /// An empty list means that the image carries no mark.
    Marks(&'a [&'static str]),
    Warnings(&'a [String]),
    Paths(&'a [&'a str]),
}

fn text(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::Unknown, Cell::Text)
}

fn number(value: Option<u64>) -> Cell<'static> {
    value.map_or(Cell::Unknown, Cell::Number)
}

impl Cell<'_> {
    /// Whether a reader of the row learns the same if the position is missing.
    fn is_blank(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::References(list) => list.is_empty(),
            Self::Warnings(list) => list.is_empty(),
            Self::Paths(list) => list.is_empty(),
            Self::Values(list) => list.iter().all(Option::is_none),
            Self::Text(_)
            | Self::Number(_)
            | Self::Amount(_)
            | Self::Status(_)
            | Self::Lane(_)
            | Self::Json(_)
            | Self::Marks(_) => false,
        }
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cells = self.cells();
        let length = cells.iter().rposition(|cell| !cell.is_blank());
        let length = length.map_or(0, |last| last + 1);
        let mut array = serializer.serialize_seq(Some(length))?;
        for cell in &cells[..length] {
            array.serialize_element(cell)?;
        }
        array.end()
    }
}

/// Returns the names of the marks that an image carries.
fn marks(Provenance { iptc, c2pa }: Provenance) -> Vec<&'static str> {
    let named = [("iptc", iptc), ("c2pa", c2pa)];
    let carried = named.into_iter().filter(|(_, is_there)| *is_there);
    carried.map(|(name, _)| name).collect()
}
