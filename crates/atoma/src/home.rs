//! Where this user's files are: `$ATOMA_HOME`, else `~/.atoma`.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn open(explicit: Option<PathBuf>) -> Result<Self> {
        let path = match explicit {
            Some(path) => path,
            None => std::env::home_dir().context("no home folder; name one with --home")?.join(".atoma"),
        };
        create_private(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    pub(crate) fn wallet(&self) -> PathBuf {
        self.0.join("wallet.key")
    }

    /// State of `atoma dev`.
    pub(crate) fn dev(&self) -> PathBuf {
        self.0.join("dev")
    }

    /// What the running or last `atoma dev` announced.
    pub(crate) fn announcement(&self) -> PathBuf {
        self.0.join("dev.json")
    }

    /// Profiles of networks.
    pub(crate) fn networks(&self) -> Result<PathBuf> {
        self.folder("networks")
    }

    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        create_private(&path)?;
        Ok(path)
    }
}

/// Creates a folder that only its owner can read, with its parents.
pub(crate) fn create_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create {}", path.display()))
}

/// Writes a file that only its owner can read, all or nothing.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
