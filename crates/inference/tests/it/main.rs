//! The engines from the outside. Tests that need weights take them from `$ATOMA_HOME/models` (default
//! `~/.atoma/models`), pulling them first where they are absent.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod chat;
mod determinism;
mod fake;
mod minilm;
mod mock;
mod scheduling;
mod store;
mod support;
mod upstream;
