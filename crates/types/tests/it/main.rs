//! Integration tests of the wire types: known answers, and properties over generated values.
#![expect(clippy::unwrap_used, reason = "tests")]

mod arbitrary;
mod properties;
mod vectors;
