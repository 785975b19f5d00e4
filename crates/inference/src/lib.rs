//! Engines that turn a request into tokens, and the bit-reproducible reference engine among them.
//!
//! [`Engine`] is the interface that a node serves; [`ReferenceEngine`] implements it with a llama-architecture model on
//! the CPU, such that tokens and logits are a function of the request alone: not of threads, batching, processor or
//! run. [`ReferenceEngine::replay`] checks anyone's answer against that, for a fraction of the cost of generating it.
//! [`ModelStore`] fetches and verifies weights. [`mock::MockEngine`] is for tests and benchmarks.
//!
//! This crate knows nothing of money, signatures, chains or HTTP servers, and it never lets timing, batching or
//! hardware reach a result. Start reading at [`engine`], then `reference/scheduler.rs` for batching and `kernels` for
//! the arithmetic.

mod api;
mod digest;
pub mod engine;
mod gguf;
mod kernels;
pub mod minilm;
pub mod mock;
mod model;
mod reference;
mod sampling;
pub mod store;
mod stream;
mod template;
mod tokenizer;
pub mod upstream;

pub use digest::Work;
pub use engine::{
    Endpoint, Engine, EngineError, Frame, Generation, GenerationSink, Load, Outcome, Prepared, Replaceable,
    Summary,
};
pub use gguf::GgufError;
pub use model::ModelError;
pub use reference::{LoadError, Mismatch, Queue, ReferenceConfig, ReferenceEngine, Replay, ReplayError};
pub use sampling::Sampling;
pub use store::{ModelSpec, ModelState, ModelStatus, ModelStore, StoreError};
pub use tokenizer::TokenizerError;
