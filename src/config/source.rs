//! The file together with what it draws on: read as often as wanted, and looked at for changes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::environment::Environment;
use super::{Faults, Loaded};

/// Where a configuration comes from.
#[derive(Clone)]
pub struct Source {
    path: PathBuf,
    environment: Arc<dyn Environment + Send + Sync>,
    noted: Arc<Mutex<Contents>>,
}

/// What files hold: a digest of each, or that it can't be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Source {
    /// The file at `path`.
    pub fn new(path: &Path, environment: impl Environment + Send + Sync + 'static) -> Self {
        Self { path: path.to_owned(), environment: Arc::new(environment), noted: Arc::default() }
    }

    /// Reads the file, and notes what it and the files that it names hold.
    ///
    /// # Errors
    /// Every fault in it, or that it can't be read.
    pub fn load(&self) -> Result<Loaded, Faults> {
        let noting = Noting { environment: &*self.environment, contents: Mutex::default() };
        let loaded = super::load(&self.path, &noting);
        if let Ok(Loaded { config, .. }) = &loaded
            && let Some(bundle) = &config.proxy.egress.ca_file
        {
            // For what it holds; whoever connects reads it.
            drop(noting.file(bundle));
        }
        *self.noted() = noting.contents.into_inner().unwrap_or_else(PoisonError::into_inner);
        loaded
    }

    /// What the files held when they were last read.
    pub fn known(&self) -> Contents {
        self.noted().clone()
    }

    /// What the same files hold at present.
    pub fn look(&self) -> Contents {
        let known = self.known();
        let looked = known.0.into_keys().map(|path| {
            let read = is_a_file(&path).then(|| self.environment.file(&path));
            let digest = read.and_then(Result::ok).as_deref().map(digest);
            (path, digest)
        });
        Contents(looked.collect())
    }

    fn noted(&self) -> MutexGuard<'_, Contents> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An environment that notes what is read.
struct Noting<'e> {
    environment: &'e dyn Environment,
    contents: Mutex<Contents>,
}

impl Environment for Noting<'_> {
    fn var(&self, name: &str) -> Option<String> {
        self.environment.var(name)
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let read = self.environment.file(path);
        // A pipe can be read only once.
        if is_a_file(path) || read.is_err() {
            let digest = read.as_deref().ok().map(digest);
            let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
            contents.0.insert(path.to_owned(), digest);
        }
        read
    }
}

fn is_a_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file())
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
