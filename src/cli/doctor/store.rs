//! Whether events can be kept: the folder is written to and synced, as the store does it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Finding;
use crate::store::Settings;

/// Less than this free, and the next busy hour may fill the disk.
const LITTLE_BYTES: u64 = 1 << 30;

pub(super) fn look(store: &Settings) -> Vec<Finding> {
    if store.path.is_dir() {
        let what = format!("store: {} is a folder", store.path.display());
        return vec![Finding::bad(what, "store.path is the file of the index: add a name, as in gateway.db")];
    }
    let folder = folder_of(&store.path);
    let Some(standing) = folder.ancestors().map(or_here).find(|folder| folder.exists()) else {
        let what = format!("store: {} leads nowhere", folder.display());
        return vec![Finding::bad(what, "set store.path to a file in a folder that this user can write to")];
    };
    if let Err(error) = probe(standing) {
        let what = format!("store: cannot write to {}: {error}", standing.display());
        return vec![Finding::bad(what, next_step(&error))];
    }
    let made = if standing == folder { "" } else { ", and will be made" };
    let mut findings =
        vec![Finding::good(format!("store: {} can be written to and synced{made}", folder.display()))];
    findings.extend(index(&store.path));
    findings.extend(room(standing, store.max_size_bytes));
    findings
}

fn next_step(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "run it as the user that the gateway runs as, and give that user the folder (chown)"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room, or put store.path on another disk: until then callbacks are refused and lost"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "put store.path on a disk that can be written to, or remount this one"
        }
        io::ErrorKind::NotADirectory => "a part of store.path is a file: name a folder there",
        _ => "is the disk well (dmesg)? store.path must be in a folder that this user can write to",
    }
}

fn folder_of(path: &Path) -> PathBuf {
    or_here(path.parent().unwrap_or(Path::new(""))).to_owned()
}

fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Writes, syncs and removes a file: a disk that is full or fails shows here and not at the first callback.
fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(&[0; 4096])?;
        file.sync_all()
    });
    let removed = std::fs::remove_file(&path);
    written.and(removed)
}

/// A file that is there already must be an index that this user can write to.
fn index(path: &Path) -> Option<Finding> {
    match File::options().read(true).write(true).open(path) {
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Finding::bad(
            format!("store: cannot open {}: {error}", path.display()),
            "it belongs to another user, perhaps: the gateway must run as the one that owns it",
        )),
    }
}

fn room(folder: &Path, max_size_bytes: u64) -> Option<Finding> {
    let disk = nix::sys::statvfs::statvfs(folder).ok()?;
    let free = disk.blocks_available() as u64 * disk.fragment_size() as u64;
    let what = format!("store: {} free, and store.max_size is {}", gib(free), gib(max_size_bytes));
    let finding = if free < LITTLE_BYTES {
        Finding::bad(what, "a full disk has callbacks refused: make room, or put store.path on another disk")
    } else if free < max_size_bytes {
        Finding::note(
            what,
            "the disk is full before the store is: lower store.max_size, so that it says so first",
        )
    } else {
        Finding::good(what)
    };
    Some(finding)
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(path: PathBuf, max_size_bytes: u64) -> Vec<Finding> {
        look(&Settings { path, retention: Duration::from_secs(1), max_size_bytes, cluster: None })
    }

    #[test]
    fn looking_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let findings = at(folder.path().join("a/b/gateway.db"), 1);
        assert!(findings[0].ok && findings[0].what.contains("will be made"), "{}", findings[0].what);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_store_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let is_a_folder = at(folder.path().to_owned(), 1);
        assert!(!is_a_folder[0].ok && is_a_folder[0].hint.is_some());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let below_a_file = at(file.join("gateway.db"), 1);
        assert!(!below_a_file[0].ok, "{}", below_a_file[0].what);
    }

    #[test]
    fn a_store_larger_than_the_disk_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let findings = at(folder.path().join("gateway.db"), u64::MAX);
        let room = findings.last().unwrap();
        assert!(room.hint.is_some() && room.what.contains("store.max_size"), "{}", room.what);
    }
}
