//! Files with password hashes or keys that other users of the machine have permissions on.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const OTHERS: u32 = 0o007;

const GROUP: u32 = 0o070;

/// A file or folder with permissions for others than its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// Its path.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
}

impl Exposed {
    /// Whether every user of the machine has a permission, not only the group.
    pub fn is_for_everybody(&self) -> bool {
        self.mode & OTHERS != 0
    }
}

/// Exposed files and folders below `folders` in the data directory; those with permissions for everyone
/// first.
pub(super) fn exposed(dir: &Path, folders: &[&str]) -> io::Result<Vec<Exposed>> {
    let mut found = Vec::new();
    let mut paths: Vec<_> = folders.iter().map(|folder| dir.join(folder)).collect();
    while let Some(path) = paths.pop() {
        let there = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // removed meanwhile, or not made yet
            there => there?,
        };
        let mode = there.permissions().mode() & 0o7777;
        if mode & (GROUP | OTHERS) != 0 && !there.is_symlink() {
            found.push(Exposed { path: path.clone(), mode });
        }
        if there.is_dir() {
            for entry in fs::read_dir(&path)? {
                paths.push(entry?.path());
            }
        }
    }
    found.sort_by_key(|exposed| (!exposed.is_for_everybody(), exposed.path.clone()));
    Ok(found)
}

/// Warns of exposed files in the store. Key files are checked where they are read.
pub(super) fn warn(dir: &Path) {
    if let Ok(found) = exposed(dir, &["store"])
        && let Some(first) = found.first()
    {
        log::warn!(
            "others than their owner have permissions on files with password hashes ({} has mode {:04o}; {} in all): run \
             `chmod -R go= {}`",
            first.path.display(),
            first.mode,
            found.len(),
            dir.join("store").display()
        );
    }
}
