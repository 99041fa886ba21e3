//! What the file may draw on beside itself: variables, and the files that hold secrets.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read whole, bytes. A Kubernetes `ConfigMap` holds at most 1 MiB.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Where `${NAME}` and `X_file` are looked up.
pub trait Environment {
    /// The value of variable `name`; `None` when it is not set.
    fn var(&self, name: &str) -> Option<String>;

    /// What the file at `path` says.
    ///
    /// # Errors
    /// Those of the file system; also for a file that is no UTF-8, or larger than 4 MiB.
    fn file(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 4 MiB"));
        }
        Ok(text)
    }
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process;

impl Environment for Process {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

impl Environment for BTreeMap<String, String> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}
