//! How many files a process may have open: every connection is one, and a request that is passed on takes two.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a service has open beside its connections.
const OTHERS: u64 = 256;
/// Files of one connection: itself, and the one on which its request is passed on.
const PER_CONNECTION: u64 = 2;

/// Lets the process open as many files as the system allows it to.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
}

/// Says so if fewer connections can be open than are meant to.
pub(crate) fn check(connections: usize) {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(PER_CONNECTION);
    let wanted = wanted.saturating_add(OTHERS);
    if limit < wanted {
        let enough_for = limit.saturating_sub(OTHERS) / PER_CONNECTION;
        tracing::warn!(
            "{limit} files may be open, enough for some {enough_for} connections, not for {connections}: raise \
             the limit to {wanted} (ulimit -Hn, or LimitNOFILE= of the service), or lower the connections"
        );
    }
}
