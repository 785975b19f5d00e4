//! OpenAI's wire format: request bodies in, chunks and bodies out.

mod fields;
mod request;
mod response;

pub(crate) use fields::{Fields, wrong};
pub(crate) use request::{Input, Request, parse};
pub(crate) use response::{Finish, Piece, Responder, TokenLogProb};
