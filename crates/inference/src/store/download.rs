//! Fetching one file over HTTP: resumed, bounded, retried, verified.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use tokio::io::AsyncWriteExt;

use super::Sources;

/// Bytes of a package index page that we are willing to read.
const MAX_INDEX: usize = 4 << 20;

/// What a pull is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Downloading,
    Verifying,
    Unpacking,
}

/// How far a pull has come, in bytes of its current stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub stage: Stage,
    pub done: u64,
    pub total: u64,
}

/// Why a source did not give a file.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("{url} cannot be reached: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error("{url} broke off after {got} of {expected} bytes")]
    Truncated { url: String, got: u64, expected: u64 },
    #[error("{url} has another size than the {expected} bytes it should have")]
    Size { url: String, expected: u64 },
    #[error("{url} is not the file we know: its sha-256 is not {expected}")]
    Hash { url: String, expected: String },
    #[error("{url} does not list {file} with the hash we know")]
    Index { url: String, file: String },
    #[error("{path} cannot be unpacked: {reason}")]
    Archive { path: String, reason: String },
    #[error("{path}: {error}")]
    Io { path: String, error: std::io::Error },
}

impl DownloadError {
    /// Whether the same request may succeed later.
    fn is_transient(&self) -> bool {
        match self {
            Self::Truncated { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..),
            _ => false,
        }
    }
}

/// A file to fetch into `part`, where an earlier attempt may have left its beginning.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) part: PathBuf,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// An HTTP client with our limits.
#[derive(Debug)]
pub(super) struct Client {
    http: Result<reqwest::Client, String>,
    attempts: u32,
    retry_delay: Duration,
}

impl Client {
    pub(super) fn new(sources: &Sources) -> Self {
        let http = reqwest::Client::builder()
            .connect_timeout(sources.connect_timeout)
            .read_timeout(sources.read_timeout)
            .user_agent(concat!("atoma/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string());
        Self { http, attempts: sources.attempts.max(1), retry_delay: sources.retry_delay }
    }

    /// Leaves the whole, verified file in `target.part`.
    pub(super) async fn fetch(&self, target: &Target, progress: OnProgress<'_>) -> Result<(), DownloadError> {
        let mut delay = self.retry_delay;
        let mut attempt = 1;
        loop {
            let resumed = size(&target.part).await > 0;
            let error = match self.try_fetch(target, progress).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // What an earlier run left may have been something else: once more from the start.
            let stale = resumed && matches!(error, DownloadError::Hash { .. } | DownloadError::Size { .. });
            if attempt >= self.attempts || !(error.is_transient() || stale) {
                return Err(error);
            }
            tokio::time::sleep(delay).await;
            delay *= 2;
            attempt += 1;
        }
    }

    async fn try_fetch(&self, target: &Target, progress: OnProgress<'_>) -> Result<(), DownloadError> {
        if size(&target.part).await > target.bytes {
            remove(&target.part).await?;
        }
        if size(&target.part).await < target.bytes {
            self.receive(target, progress).await?;
        }
        progress(Progress { stage: Stage::Verifying, done: 0, total: target.bytes });
        let (part, bytes, sha256) = (target.part.clone(), target.bytes, target.sha256.clone());
        let checked = tokio::task::spawn_blocking(move || super::matches(&part, bytes, &sha256)).await;
        let io = |error| DownloadError::Io { path: target.part.display().to_string(), error };
        if checked.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(io)? {
            return Ok(());
        }
        remove(&target.part).await?;
        Err(DownloadError::Hash { url: target.url.clone(), expected: target.sha256.clone() })
    }

    /// Appends what is missing to the part file, or starts it anew if the server cannot resume.
    async fn receive(&self, target: &Target, progress: OnProgress<'_>) -> Result<(), DownloadError> {
        let io = |error| DownloadError::Io { path: target.part.display().to_string(), error };
        let have = size(&target.part).await;
        let mut response = self.get(&target.url, have).await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            remove(&target.part).await?;
            return Err(DownloadError::Size { url: target.url.clone(), expected: target.bytes });
        }
        let resumes = response.status() == StatusCode::PARTIAL_CONTENT && resumes_at(&response, have);
        let mut got = if resumes { have } else { 0 };
        if response.content_length().is_some_and(|length| got.saturating_add(length) != target.bytes) {
            remove(&target.part).await?;
            return Err(DownloadError::Size { url: target.url.clone(), expected: target.bytes });
        }
        let mut options = tokio::fs::OpenOptions::new();
        options.create(true).write(true).append(resumes).truncate(!resumes);
        let mut file = options.open(&target.part).await.map_err(io)?;
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) | Err(_) => break,
            };
            got = got.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if got > target.bytes {
                remove(&target.part).await?;
                return Err(DownloadError::Size { url: target.url.clone(), expected: target.bytes });
            }
            file.write_all(&chunk).await.map_err(io)?;
            progress(Progress { stage: Stage::Downloading, done: got, total: target.bytes });
        }
        file.flush().await.map_err(io)?;
        if got < target.bytes {
            return Err(DownloadError::Truncated { url: target.url.clone(), got, expected: target.bytes });
        }
        Ok(())
    }

    async fn get(&self, url: &str, from: u64) -> Result<Response, DownloadError> {
        let unreachable = |reason: String| DownloadError::Unreachable { url: url.to_owned(), reason };
        let http = self.http.as_ref().map_err(|error| unreachable(error.clone()))?;
        let mut request = http.get(url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(|error| unreachable(root_cause(&error)))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        Err(DownloadError::Status { url: url.to_owned(), status: status.as_u16() })
    }

    /// A small JSON document in the given media type.
    pub(super) async fn json(&self, url: &str, media: &str) -> Result<serde_json::Value, DownloadError> {
        let unreachable = |reason: String| DownloadError::Unreachable { url: url.to_owned(), reason };
        let http = self.http.as_ref().map_err(|error| unreachable(error.clone()))?;
        let request = http.get(url).header(ACCEPT, media);
        let mut response = request.send().await.map_err(|error| unreachable(root_cause(&error)))?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(DownloadError::Status { url: url.to_owned(), status });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(root_cause(&error)))? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_INDEX {
                return Err(unreachable("its answer is too long".into()));
            }
        }
        serde_json::from_slice(&body).map_err(|error| unreachable(format!("its answer is not JSON: {error}")))
    }
}

/// Whether a partial response starts where our file ends.
fn resumes_at(response: &Response, have: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.trim_start().starts_with(&format!("bytes {have}-")))
}

/// The innermost error, which says what happened in the fewest words.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

async fn size(path: &Path) -> u64 {
    tokio::fs::metadata(path).await.map_or(0, |meta| meta.len())
}

async fn remove(path: &Path) -> Result<(), DownloadError> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DownloadError::Io { path: path.display().to_string(), error })
        }
        _ => Ok(()),
    }
}
