//! The SDK and its endpoint against nodes that are honest, broken or lying.

#![expect(clippy::unwrap_used, reason = "tests")]

mod ask;
mod endpoint;
mod life;
mod lost;
mod route;
mod sim;
mod supply;
