//! Uploads below `inbox/` that are not manifests: temporary files, and files that file managers and
//! other programs keep for themselves.

/// Endings of unfinished downloads and of files that editors keep: WinSCP, Firefox, rclone, Edge,
/// Chrome, Safari, Opera, aria2, Vim, and common conventions.
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
    // Hadoop and EMR mark a folder with this.
    "_$folder$",
];

/// Beginnings of file names: hidden files (`.DS_Store`, `._skus.csv`, `.keep`, `.~lock.skus.csv#`),
/// and the lock files of Office (`~$skus.xlsx`).
const BEGINNINGS: [&str; 2] = [".", "~"];

/// Names of files that file managers and Hadoop write into folders.
const NAMES: [&str; 6] = [
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "icon\r",
    "_success",
];

/// Folders that file managers and Hadoop keep for themselves. Folders whose names begin with a dot
/// are ignored as well.
const FOLDERS: [&str; 6] = [
    "$recycle.bin",
    "system volume information",
    "__macosx",
    "@eadir",
    "#recycle",
    "_temporary",
];

/// Whether the upload with this key is ignored, because it is a temporary file or a file that a
/// program keeps for itself. Upper and lower case make no difference.
pub fn is_ignored(key: &str) -> bool {
    let key = key.strip_prefix("inbox/").unwrap_or(key).to_lowercase();
    let (folders, name) = key.rsplit_once('/').unwrap_or(("", &key));
    let is_reserved = |folder: &str| folder.starts_with('.') || FOLDERS.contains(&folder);
    folders.split('/').any(is_reserved)
        || NAMES.contains(&name)
        || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
        // Emacs keeps unsaved changes in such files.
        || (name.len() > 1 && name.starts_with('#') && name.ends_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignores_temporary_files_and_files_of_file_managers() {
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
                assert!(is_ignored(&key), "{key}");
            }
        }
    }

    #[test]
    fn accepts_the_usual_names_of_manifests() {
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
            assert!(!is_ignored(&format!("inbox/{name}")), "{name}");
        }
    }
}
