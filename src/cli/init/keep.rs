//! Files that are written once: secrets that only their owner reads, and the configuration.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use tokio_rustls::rustls::crypto::aws_lc_rs;

use crate::config::{Environment, Process};

/// Secrets that are about to be written, and those that are there.
pub(super) struct Secrets {
    folder: PathBuf,
    new: BTreeMap<&'static str, SecretString>,
}

impl Secrets {
    /// In the folder `secrets` beside `file`.
    pub(super) fn beside(file: &Path) -> Self {
        Self { folder: file.with_file_name("secrets"), new: BTreeMap::new() }
    }

    /// Where a secret is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether it is known, or was written before.
    pub(super) fn has(&self, name: &str) -> bool {
        self.new.contains_key(name) || self.path(name).exists()
    }

    /// Will write it, whatever is there.
    pub(super) fn set(&mut self, name: &'static str, secret: SecretString) {
        self.new.insert(name, secret);
    }

    /// Makes up one of 256 bits, unless it is there: URLs that were given out go on being good.
    pub(super) fn generate(&mut self, name: &'static str) -> anyhow::Result<()> {
        if !self.has(name) {
            let mut bytes = [0; 32];
            let filled = aws_lc_rs::default_provider().secure_random.fill(&mut bytes);
            filled.map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
            self.set(name, hex::encode(bytes).into());
        }
        Ok(())
    }

    /// Writes those that are new; where they are.
    pub(super) fn write(&self) -> anyhow::Result<Vec<PathBuf>> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.with_context(|| format!("cannot make the folder {}", self.folder.display()))?;
        let new = self.new.iter().map(|(name, secret)| {
            let path = self.path(name);
            let written = write_over(&path, &format!("{}\n", secret.expose_secret()), 0o600);
            written.with_context(|| format!("cannot write {}", path.display())).map(|()| path)
        });
        new.collect()
    }
}

/// The configuration is read as it will be.
impl Environment for Secrets {
    fn var(&self, name: &str) -> Option<String> {
        Process.var(name)
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let new = self.new.iter().find(|(name, _)| self.path(name) == path);
        new.map_or_else(|| Process.file(path), |(_, secret)| Ok(secret.expose_secret().to_owned()))
    }
}

/// Writes the configuration, over what is there if `force`.
pub(super) fn write(file: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let written = if force {
        write_over(file, text, 0o644)
    } else {
        let created = OpenOptions::new().write(true).create_new(true).mode(0o644).open(file);
        created.and_then(|mut file| file.write_all(text.as_bytes()))
    };
    written.with_context(|| format!("cannot write {}", file.display()))
}

/// Puts a whole file in the place of what is there, and never a part of one.
fn write_over(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}
