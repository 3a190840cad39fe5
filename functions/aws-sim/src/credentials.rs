//! The access key that a program needs to call the stand-ins for S3 and SQS.
//!
//! Every program of every user of the machine can connect to a loopback port, and so can every web
//! page in a browser on it. So each folder has its own secret, and a request without it is refused.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The file that holds a folder's credentials.
const FILE: &str = "credentials.json";

/// The file mode: only the owner can read and write.
const OWNER_ONLY: u32 = 0o600;

/// The alphabet of random access key ids, which is that of AWS.
const ID_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The alphabet of random secrets. None of its characters needs quoting in a shell.
const SECRET_LETTERS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An access key: an id and its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    access_key_id: String,
    secret_access_key: String,
}

/// The reason why credentials can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// They contain characters that have a meaning in a header or in a shell, or are too long.
    #[error("invalid {0}: expected 1 to 128 letters, digits and characters of +/=_.-")]
    Malformed(&'static str),
    /// The file with the folder's credentials can't be read or written.
    #[error("can't read or write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// The file does not contain credentials.
    #[error("{} is not a credentials file: delete it to create new credentials", .0.display())]
    Damaged(PathBuf),
    /// The operating system provides no random numbers.
    #[error("no random numbers for a new access key: {0}")]
    Random(getrandom::Error),
}

impl Credentials {
    /// Creates credentials from an id and a secret.
    ///
    /// # Errors
    /// [`CredentialsError::Malformed`].
    pub fn new(
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<String>,
    ) -> Result<Self, CredentialsError> {
        let credentials = Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
        };
        for (what, text) in [
            ("the access key id", &credentials.access_key_id),
            ("the secret access key", &credentials.secret_access_key),
        ] {
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_.-".contains(&byte);
            if !(1..=128).contains(&text.len()) || !text.bytes().all(is_good) {
                return Err(CredentialsError::Malformed(what));
            }
        }
        Ok(credentials)
    }

    /// Creates random credentials.
    ///
    /// # Errors
    /// [`CredentialsError::Random`].
    pub fn random() -> Result<Self, CredentialsError> {
        let mut bytes = [0; 56];
        getrandom::fill(&mut bytes).map_err(CredentialsError::Random)?;
        let (id, secret) = bytes.split_at(16);
        // The alphabets' sizes are powers of two, so all characters are equally probable.
        let id = id
            .iter()
            .map(|byte| char::from(ID_LETTERS[usize::from(*byte) % ID_LETTERS.len()]));
        let secret = secret
            .iter()
            .map(|byte| char::from(SECRET_LETTERS[usize::from(*byte) % SECRET_LETTERS.len()]));
        Self::new(
            format!("DRKM{}", id.collect::<String>()),
            secret.collect::<String>(),
        )
    }

    /// Loads the credentials in `folder`. Creates and stores new ones the first time.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn load_or_create(folder: &Path) -> Result<Self, CredentialsError> {
        let path = folder.join(FILE);
        let io_error = |source| CredentialsError::Io {
            path: path.clone(),
            source,
        };
        match fs::read(&path) {
            Ok(bytes) => {
                fs::set_permissions(&path, fs::Permissions::from_mode(OWNER_ONLY))
                    .map_err(io_error)?;
                let kept: Self = serde_json::from_slice(&bytes)
                    .map_err(|_| CredentialsError::Damaged(path.clone()))?;
                Self::new(kept.access_key_id, kept.secret_access_key)
                    .map_err(|_| CredentialsError::Damaged(path))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let new = Self::random()?;
                new.save(&path).map_err(io_error)?;
                Ok(new)
            }
            Err(error) => Err(io_error(error)),
        }
    }

    /// Writes a file that no other user can read at any moment. Only one process may use the folder
    /// at a time.
    fn save(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(OWNER_ONLY)
            .open(&unfinished)?;
        file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY))?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(path.parent().unwrap_or(path))?.sync_all()
    }

    /// Returns the id, which is not secret.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// Returns the secret.
    pub fn secret_access_key(&self) -> &str {
        &self.secret_access_key
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn each_folder_has_its_own_credentials_that_only_its_owner_can_read() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Credentials::load_or_create(one.path()).unwrap();
        assert_eq!(mode(&one.path().join(FILE)), OWNER_ONLY);
        assert_eq!(Credentials::load_or_create(one.path()).unwrap(), first);
        assert_ne!(Credentials::load_or_create(other.path()).unwrap(), first);
        assert_eq!(fs::read_dir(one.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_restricted_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = Credentials::load_or_create(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            (
                Credentials::load_or_create(folder.path()).unwrap(),
                mode(&path)
            ),
            (first, OWNER_ONLY)
        );
    }

    #[test]
    fn a_damaged_file_is_reported_and_not_replaced() {
        for damage in [
            "",
            "{",
            r#"{"access_key_id":"a"}"#,
            r#"{"access_key_id":"","secret_access_key":"b"}"#,
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILE), damage).unwrap();
            let error = Credentials::load_or_create(folder.path()).unwrap_err();
            assert!(
                matches!(&error, CredentialsError::Damaged(path) if path.ends_with(FILE)),
                "{error}"
            );
            assert_eq!(
                fs::read_to_string(folder.path().join(FILE)).unwrap(),
                damage
            );
        }
    }

    #[test]
    fn characters_with_a_meaning_in_a_shell_or_a_header_are_refused() {
        for text in [
            "",
            "a b",
            "a'b",
            "a\nb",
            "a$b",
            "a\"b",
            "a;b",
            "ä",
            &"a".repeat(129),
        ] {
            assert!(Credentials::new(text, "secret").is_err(), "{text:?}");
            assert!(Credentials::new("id", text).is_err(), "{text:?}");
        }
        Credentials::new("test", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY=").unwrap();
    }

    #[test]
    fn a_secret_is_long_and_hidden_in_debug_output() {
        let credentials = Credentials::random().unwrap();
        assert_eq!(
            (
                credentials.access_key_id().len(),
                credentials.secret_access_key().len()
            ),
            (20, 40)
        );
        assert!(!format!("{credentials:?}").contains(credentials.secret_access_key()));
    }
}
