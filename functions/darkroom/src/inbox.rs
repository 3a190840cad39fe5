//! Which uploads below `inbox/` are manifests: files that programs leave there for a while, or for
//! themselves, are not.

/// Endings of files that are still being written, or that an editor keeps: WinSCP, Firefox, rclone,
/// Edge, Chrome, Safari, Opera, aria2, Vim, and what programs agree upon.
const ENDINGS: [&str; 21] = [
    ".filepart",
    ".part",
    ".partial",
    ".tmp",
    ".temp",
    ".crdownload",
    ".download",
    ".opdownload",
    ".aria2",
    ".upload",
    ".uploading",
    ".incomplete",
    ".inprogress",
    ".swp",
    ".swo",
    ".swx",
    ".bak",
    ".lock",
    ".lck",
    "~",
    // How Hadoop and EMR write a folder.
    "_$folder$",
];

/// What the names of such files begin with: hidden files (`.DS_Store`, `._skus.csv`, `.keep`,
/// `.~lock.skus.csv#`), and those that Office keeps beside an open document (`~$skus.xlsx`).
const BEGINNINGS: [&str; 2] = [".", "~"];

/// What file managers and Hadoop write into folders.
const NAMES: [&str; 6] = [
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "icon\r",
    "_success",
];

/// Folders in which file managers and Hadoop keep files of their own, beside those whose names
/// begin with a dot.
const FOLDERS: [&str; 6] = [
    "$recycle.bin",
    "system volume information",
    "__macosx",
    "@eadir",
    "#recycle",
    "_temporary",
];

/// Whether an upload is left alone, by its key: it is a temporary file, or one of a file manager's
/// own. Upper and lower case are alike.
pub fn is_left_alone(key: &str) -> bool {
    let key = key.strip_prefix("inbox/").unwrap_or(key).to_lowercase();
    let (folders, name) = key.rsplit_once('/').unwrap_or(("", &key));
    let is_of_programs = |folder: &str| folder.starts_with('.') || FOLDERS.contains(&folder);
    folders.split('/').any(is_of_programs)
        || NAMES.contains(&name)
        || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
        // Emacs saves so what isn't saved yet.
        || (name.len() > 1 && name.starts_with('#') && name.ends_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_and_those_of_file_managers_are_left_alone() {
        for name in [
            "skus.csv.filepart",
            "skus.csv.part",
            "skus.csv.1a2b3c4d.partial",
            "skus.csv.tmp",
            "skus.csv.TMP",
            "Unconfirmed 12.crdownload",
            ".skus.csv.swp",
            "skus.csv.swp",
            "~$skus.xlsx",
            "._skus.csv",
            ".DS_Store",
            ".ds_store",
            "Thumbs.db",
            "THUMBS.DB",
            "desktop.ini",
            "Desktop.ini",
            ".keep",
            ".gitkeep",
            "skus.csv~",
            "#skus.csv#",
            ".~lock.skus.csv#",
            "_SUCCESS",
            "fall_$folder$",
            "__MACOSX/skus.csv",
            ".Trash-1000/files/skus.csv",
            "$RECYCLE.BIN/skus.csv",
        ] {
            for key in [
                format!("inbox/{name}"),
                format!("inbox/acme/fall/{name}"),
                name.to_owned(),
            ] {
                assert!(is_left_alone(&key), "{key}");
            }
        }
    }

    #[test]
    fn whatever_a_person_would_call_a_manifest_is_one() {
        for name in [
            "skus.csv",
            "SKUS.CSV",
            "skus",
            "skus.part.csv",
            "skus.tmp.jsonl",
            "part-00000.csv",
            "partial",
            "tmp",
            "keep",
            "backup.csv",
            "v1.2/skus.csv.gz",
            "a~b.csv",
            "#.csv",
            "#",
            "tmp/skus.csv",
            "$5 each.csv",
            "_skus.csv",
            "日本.csv",
        ] {
            assert!(!is_left_alone(&format!("inbox/{name}")), "{name}");
        }
    }
}
