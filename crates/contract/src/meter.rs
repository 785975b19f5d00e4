//! Counting what a call costs on chain: the dynamic fields that it touches, its hashes and its checks of signatures.
//! Nothing is counted outside of [`measure`].

use atoma_types::{Address, hash};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Rows of tables by table and key, each once, whether they were there or not.
    pub fields: BTreeSet<(Address, Vec<u8>)>,
    pub hashes: u64,
    pub signatures: u64,
}

thread_local! {
    static COUNT: RefCell<Option<Count>> = const { RefCell::new(None) };
}

/// Runs it and counts, on this thread.
pub fn measure<T>(run: impl FnOnce() -> T) -> (T, Count) {
    let hashes = hash::finished();
    COUNT.set(Some(Count::default()));
    let done = run();
    let mut count = COUNT.take().unwrap_or_default();
    count.hashes = hash::finished().wrapping_sub(hashes);
    (done, count)
}

/// A row of a table is read or written.
pub(crate) fn touch(table: Address, key: &impl Serialize) {
    COUNT.with_borrow_mut(|count| {
        if let Some(count) = count {
            // Keys are numbers and addresses: their BCS cannot fail.
            count.fields.insert((table, bcs::to_bytes(key).unwrap_or_default()));
        }
    });
}

/// A signature is checked.
pub(crate) fn check_signature() {
    COUNT.with_borrow_mut(|count| {
        if let Some(count) = count {
            count.signatures += 1;
        }
    });
}
