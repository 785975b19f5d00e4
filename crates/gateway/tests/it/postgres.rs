//! A PostgreSQL server of the tests' own, or the one that `ATOMA_TEST_DATABASE_URL` names.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const URL: &str = "ATOMA_TEST_DATABASE_URL";
const REQUIRE: &str = "ATOMA_REQUIRE_POSTGRES";
/// How often, and after which pauses, a starting server is asked.
const TRIES: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the server as long as the tests' process is there, however that ends; then server and data go. (A shell has its
/// background jobs ignore SIGQUIT until they say otherwise.)
const SCRIPT: &str = r#"
"$0" -D "$1/data" -k "$1" -h '' -c fsync=off -c log_min_messages=panic &
server=$!
while [ -d "/proc/$2" ] && kill -0 "$server" 2>/dev/null; do sleep 1; done
kill "$server" 2>/dev/null
wait "$server"
rm -rf "$1"
"#;

static SERVER: OnceLock<Option<String>> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The URL of a fresh database; `None`, loudly, where there is no PostgreSQL.
pub(crate) async fn fresh_database() -> Option<String> {
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(server).clone()).await.unwrap()?;
    sqlx::any::install_default_drivers();
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    let name = format!("atoma_test_{}_{number}", std::process::id());
    let mut connection = connect(&server).await;
    sqlx::query(&format!("DROP DATABASE IF EXISTS {name}")).execute(&mut connection).await.unwrap();
    sqlx::query(&format!("CREATE DATABASE {name}")).execute(&mut connection).await.unwrap();
    let (before, parameters) = server.split_once('?').unwrap_or((server.as_str(), ""));
    let base = before.rsplit_once('/').map_or(before, |(base, _)| base);
    Some(format!("{base}/{name}?{parameters}"))
}

/// Lets nobody in and throws everybody out, or lets them in again: what they see is a database that is away.
pub(crate) async fn set_away(database: &str, is_away: bool) {
    let server = SERVER.get().cloned().flatten().unwrap();
    let name = database.split('?').next().and_then(|url| url.rsplit('/').next()).unwrap();
    let mut connection = connect(&server).await;
    let allow = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {}", !is_away);
    sqlx::query(&allow).execute(&mut connection).await.unwrap();
    let end = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
    if is_away {
        sqlx::query(end).bind(name.to_owned()).execute(&mut connection).await.unwrap();
    }
}

async fn connect(url: &str) -> sqlx::AnyConnection {
    let mut last = None;
    for _ in 0..TRIES {
        match <sqlx::AnyConnection as sqlx::Connection>::connect(url).await {
            Ok(connection) => return connection,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("PostgreSQL does not answer: {last:?}");
}

fn server() -> Option<String> {
    if let Ok(url) = std::env::var(URL) {
        return Some(url);
    }
    let started = find("initdb").zip(find("postgres")).map(|(initdb, postgres)| start(&initdb, &postgres));
    if started.is_none() {
        let message = format!("NOT TESTED: PostgreSQL is not installed, and {URL} is not set");
        assert!(std::env::var_os(REQUIRE).is_none(), "{message}");
        // Past the test's captured output.
        let _ = writeln!(std::io::stderr(), "{message}");
    }
    started
}

fn find(name: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    folders.push("/usr/local/bin".into());
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|one| one.path())
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev().map(|version| version.join("bin")));
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.exists())
}

fn start(initdb: &Path, postgres: &Path) -> String {
    let folder = tempfile::Builder::new().prefix("atoma-pg-").tempdir().unwrap().keep();
    // PostgreSQL refuses to run as root.
    let user = is_root().then(unprivileged);
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).unwrap();
    }
    let made = run_as(user, initdb)
        .args(["-D".as_ref(), folder.join("data").as_os_str()])
        .args(["-U", "atoma", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
        .output()
        .unwrap();
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let mut command = run_as(user, Path::new("sh"));
    command.args(["-c".as_ref(), SCRIPT.as_ref(), postgres.as_os_str(), folder.as_os_str()]);
    command.arg(std::process::id().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    std::thread::spawn(move || command.spawn().unwrap().wait());
    format!("postgres://atoma@localhost/postgres?host={}", folder.display())
}

/// A command run by somebody else if need be.
fn run_as(user: Option<(u32, u32)>, program: &Path) -> Command {
    let mut command = match user {
        None => Command::new(program),
        Some((uid, gid)) => {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
            command.arg(program);
            command
        }
    };
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    let mut status = String::new();
    let read = std::fs::File::open("/proc/self/status").and_then(|mut file| file.read_to_string(&mut status));
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    read.is_ok() && uids.is_some_and(|uids| uids.split_whitespace().nth(1) == Some("0"))
}

/// User and group of `postgres`, or else of `nobody`.
fn unprivileged() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let found = fields.find(|fields| fields.first() == Some(&name))?;
        Some((found.get(2)?.parse().ok()?, found.get(3)?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody")).unwrap()
}
