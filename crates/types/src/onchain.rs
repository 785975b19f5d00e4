//! What the contract stores, emits and aborts with, as plain data: the layouts (BCS, field for field as in
//! the Move package), the entry points' names and the deployment's addresses.

pub mod abort;
pub mod deployment;
pub mod event;
pub mod object;
pub mod package;

pub use abort::Abort;
pub use deployment::Deployment;
pub use event::Event;
pub use object::{
    Attestation, Audit, AuditPhase, AuditTerms, AuditedRecord, Blob, Booking, Channel, Claim, ClaimState,
    Dispute, DisputeState, Disputed, Due, Model, Node, Params, PendingParams, Queued, Reserve,
    SLOTS_PER_PAGE, Seal, Seat, SeatState, Selection, Slot, Stack, Subscription, Surcharge, Task,
};
pub use package::{PACKAGE_BYTES_MAX, Package};
