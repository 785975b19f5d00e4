//! The node's own time, and its estimate of the chain's.

use crate::ledger::Now;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Remembers how far the chain's clock is from ours. Windows of a stack are judged by the chain's.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    chain_ahead_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn now(&self) -> Now {
        let wall_ms = wall_ms();
        Now { wall_ms, chain_ms: wall_ms.saturating_add_signed(self.chain_ahead_ms.load(Ordering::Relaxed)) }
    }

    pub(crate) fn observe_chain(&self, chain_ms: u64) {
        let ahead = i128::from(chain_ms) - i128::from(wall_ms());
        self.chain_ahead_ms.store(i64::try_from(ahead).unwrap_or(0), Ordering::Relaxed);
    }
}

pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
