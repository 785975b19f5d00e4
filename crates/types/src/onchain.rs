//! What the contract stores, emits and aborts with, as plain data: the layouts (BCS, field for field as in
//! the Move package), the entry points' names and the deployment's addresses.

pub mod abort;
pub mod deployment;
pub mod event;
pub mod object;

pub use abort::Abort;
pub use deployment::Deployment;
pub use event::Event;
pub use object::{Channel, Due, Model, Node, Params, Selection, Stack, Subscription, Task};
