//! The folders of stored cases.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The least number of stored cases in a folder, so that the loss of a folder is noticed.
const CASES: usize = 30;

/// A stored case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    expected: PathBuf,
}

impl Case {
    /// Compares the outcome of the case with the expected one.
    ///
    /// The outcome is left in cargo's folder for tests. If it is right and the expectation is
    /// wrong, copy it from there.
    pub(crate) fn check(&self, found: &str) -> Result<(), String> {
        let expected = fs::read_to_string(&self.expected).unwrap_or_default();
        if found == expected {
            return Ok(());
        }
        let mut names = self.expected.iter().rev();
        let (file, folder) = (names.next().unwrap(), names.next().unwrap());
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(folder)
            .join(file);
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::write(&kept, found).unwrap();
        Err(format!(
            "{}: expected\n{expected}\nbut found, as in {},\n{found}",
            self.name,
            kept.display()
        ))
    }
}

/// Returns all cases of a folder of the repository, in order. Each file must have an expectation,
/// and each expectation a file.
pub(crate) fn cases(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(folder);
    let names = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let (expected, files): (BTreeSet<String>, BTreeSet<String>) =
        names.partition(|name| name.ends_with(".expected"));
    let wanted: BTreeSet<String> = files
        .iter()
        .map(|name| format!("{}.expected", stem(name)))
        .collect();
    assert_eq!(wanted.len(), files.len(), "two cases share an expectation");
    assert_eq!(
        expected, wanted,
        "an expectation without a case, or a case without an expectation"
    );
    assert!(files.len() >= CASES, "only {} cases", files.len());
    files
        .into_iter()
        .map(|name| Case {
            bytes: fs::read(folder.join(&name)).unwrap(),
            expected: folder.join(format!("{}.expected", stem(&name))),
            name,
        })
        .collect()
}

fn stem(name: &str) -> &str {
    name.split_once('.').map_or(name, |(stem, _)| stem)
}
