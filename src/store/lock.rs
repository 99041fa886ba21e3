//! One process has the store: what keeps people from being called twice is in it.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::StoreError;

/// The right to open the store at a path, until it is dropped; the kernel takes it from a process that dies.
#[derive(Debug)]
pub struct StoreLock(#[expect(dead_code, reason = "open is what it is for")] File);

/// What came of asking for the lock.
#[derive(Debug)]
pub enum Locking {
    /// It is ours.
    Locked(StoreLock),
    /// Another process has it: this one, where it says so.
    Held(Option<u32>),
}

impl StoreLock {
    /// Takes the lock of the store at `path`, if nobody has it.
    ///
    /// # Errors
    /// The lock's file, `gateway.lock` beside `gateway.db`, can't be made or locked.
    pub fn take(path: &Path) -> Result<Locking, StoreError> {
        let path = file(path);
        let about = |error| StoreError::Unavailable(format!("{}: {error}", path.display()));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(about)?;
        }
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(about)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Locking::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(about(error)),
        }
        // For whoever asks in vain; the lock does not depend on it, and a full disk must not keep it back.
        drop(file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())));
        Ok(Locking::Locked(Self(file)))
    }

    /// Likewise; that another process has it is an error.
    pub(super) fn take_now(path: &Path) -> Result<Self, StoreError> {
        match Self::take(path)? {
            Locking::Locked(lock) => Ok(lock),
            Locking::Held(holder) => Err(StoreError::Unavailable(held(holder))),
        }
    }
}

/// Who has it, in words.
pub fn held(holder: Option<u32>) -> String {
    let who = holder.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"));
    format!("{who} has the store open, and only one may")
}

fn file(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_had_once_and_free_again_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("gateway.db");
        let Locking::Locked(lock) = StoreLock::take(&path).unwrap() else { panic!("it is free") };
        let Locking::Held(Some(holder)) = StoreLock::take(&path).unwrap() else { panic!("it is had") };
        assert_eq!(holder, std::process::id());
        assert!(StoreLock::take_now(&path).unwrap_err().to_string().contains(&holder.to_string()));
        drop(lock);
        StoreLock::take_now(&path).unwrap();
    }
}
