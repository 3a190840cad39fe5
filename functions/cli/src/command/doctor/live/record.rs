//! What an examination of Gemini has requested and seen so far, stored in its folder after every
//! step.
//!
//! Whatever costs money has its stage stored before the call is made. A call that may have been
//! made is never repeated: its batch is looked up instead, and its image counts as lost.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use darkroom::{cost::Usage, lane::Lane, money::Usd, names::BatchName, results::Status};
use disk::Disk;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The name of the file.
const FILE: &str = "doctor.json";

/// An examination of Gemini.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// 16 hex digits that no other examination has. The names of its batches begin with it.
    pub(super) id: String,
    /// The address of the Gemini API.
    pub(super) service: String,
    pub(super) started: Timestamp,
    /// What the user has agreed to spend at most.
    pub(super) agreed_usd: Usd,
    /// The model of the batches.
    pub(super) model: String,
    /// The model of the flex call.
    pub(super) flex_model: Option<String>,
    #[serde(default)]
    pub(super) key: Option<KeySeen>,
    #[serde(default)]
    pub(super) models: Option<ModelsSeen>,
    #[serde(default)]
    pub(super) batch: BatchRecord,
    #[serde(default)]
    pub(super) canceled: BatchRecord,
    #[serde(default)]
    pub(super) flex: FlexRecord,
}

/// How Gemini answered to the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeySeen {
    Accepted,
    Rejected(String),
}

/// The list of models, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ModelsSeen {
    Listed(Vec<ModelSeen>),
    Unreadable(String),
}

/// A model in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ModelSeen {
    pub(super) id: String,
    /// Whether it supports batches.
    pub(super) batches: bool,
}

/// How far a batch has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// No create call was made.
    #[default]
    Planned,
    /// The create call may have been made.
    Creating,
    /// The batch exists.
    Live,
    /// Nothing more is expected from the batch.
    Ended,
    /// Gemini refused to create it.
    Refused,
    /// The create call was not answered, and no batch appeared.
    Lost,
}

/// One batch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct BatchRecord {
    pub(super) stage: Stage,
    /// When the create call was made.
    pub(super) creating_since: Option<Timestamp>,
    /// Whether the create call was not answered, so that the batch had to be looked up.
    #[serde(default)]
    pub(super) adopted: bool,
    pub(super) name: Option<BatchName>,
    /// Why it was refused, or what was wrong with the last answer about it.
    pub(super) problem: Option<String>,
    /// When lists began to show it.
    pub(super) listed: Option<Listed>,
    /// The states that were seen, each once.
    #[serde(default)]
    pub(super) looks: Vec<Look>,
    /// The request to cancel it.
    pub(super) cancel: Option<CancelSeen>,
    pub(super) output: Option<Output>,
    /// How often its output could not be read.
    #[serde(default)]
    pub(super) unreadable: u32,
}

/// When lists began to show a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    /// Whether the first list after its creation showed it.
    pub(super) at_first: bool,
    /// The seconds from its creation to the first list that showed it.
    pub(super) after_seconds: Option<i64>,
}

/// The state of a batch at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Look {
    pub(super) at: Timestamp,
    pub(super) state: String,
    pub(super) succeeded: bool,
    pub(super) terminal: bool,
    pub(super) done: bool,
    pub(super) has_output: bool,
}

/// What a request to cancel came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CancelSeen {
    pub(super) at: Timestamp,
    pub(super) problem: Option<String>,
}

/// The output of the batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Output {
    pub(super) bytes: u64,
    pub(super) range: RangeSeen,
    pub(super) lines: Vec<LineSeen>,
}

/// Whether the result file honors `Range`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RangeSeen {
    Honored,
    Ignored,
    /// The range began elsewhere, had other bytes, or failed.
    Wrong(String),
    /// There was no result file.
    Inline,
}

/// The answer to one request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LineSeen {
    pub(super) key: Option<String>,
    /// None for a line that can't be read.
    pub(super) status: Option<Status>,
    /// Why there is no image.
    pub(super) code: Option<String>,
    pub(super) image: Option<ImageSeen>,
    pub(super) usage: Option<Usage>,
    pub(super) model_version: Option<String>,
    /// The paths of the members of the line, without values. Empty for a line with an image.
    #[serde(default)]
    pub(super) shape: Vec<String>,
}

/// The header of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ImageSeen {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) mime_type: String,
}

/// How far the flex call has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FlexStage {
    /// No call was made, or Gemini had no capacity for it.
    #[default]
    Planned,
    /// A call may have been made.
    Calling,
    Answered,
    Refused,
    /// Gemini had no capacity, several times.
    NoCapacity,
    /// The answer was lost, and Gemini may have charged for it.
    Lost,
}

/// The flex call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct FlexRecord {
    pub(super) stage: FlexStage,
    /// How often Gemini had no capacity.
    #[serde(default)]
    pub(super) without_capacity: u32,
    pub(super) problem: Option<String>,
    /// The tier that the answer names.
    pub(super) tier: Option<String>,
    /// The lane by which it is charged for.
    pub(super) lane: Option<Lane>,
    pub(super) answer: Option<LineSeen>,
}

impl BatchRecord {
    /// Whether nothing more is expected from the batch.
    pub(super) fn is_settled(&self) -> bool {
        match self.stage {
            Stage::Planned | Stage::Creating | Stage::Live => false,
            Stage::Ended | Stage::Refused | Stage::Lost => true,
        }
    }

    /// Returns the first look at which the batch had ended.
    pub(super) fn first_terminal(&self) -> Option<&Look> {
        self.looks.iter().find(|look| look.terminal)
    }
}

impl FlexRecord {
    /// Whether nothing more is expected from the call.
    pub(super) fn is_settled(&self) -> bool {
        !matches!(self.stage, FlexStage::Planned | FlexStage::Calling)
    }
}

impl Record {
    /// Whether everything has been seen that will be.
    pub(super) fn is_complete(&self) -> bool {
        self.batch.is_settled() && self.canceled.is_settled() && self.flex.is_settled()
    }

    /// Returns the display name of one of its batches.
    pub(super) fn display_name(&self, batch: &str) -> String {
        format!("darkroom-doctor-{}/{batch}", self.id)
    }

    /// Reads the record in a folder. Returns none if there is none.
    ///
    /// # Errors
    /// Returns an error if the file can't be read.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = path_in(folder);
        let problem = || {
            format!(
                "can't read {}: choose another folder with --out",
                path.display()
            )
        };
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(problem),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(problem),
        }
    }

    /// Stores the record.
    ///
    /// # Errors
    /// Returns an error if the file can't be written.
    pub(super) fn store(&self, disk: &Disk, folder: &Path) -> anyhow::Result<()> {
        let path = path_in(folder);
        let stored = disk.replace(&path, &serde_json::to_vec_pretty(self)?);
        stored.with_context(|| format!("can't write {}", path.display()))
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}
