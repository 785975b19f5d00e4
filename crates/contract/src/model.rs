//! Models that tasks may name.

use crate::Result;
use crate::context::TxContext;
use crate::db::AtomaDb;
use crate::limits::{self, ensure};
use atoma_types::onchain::event::ModelAdded;
use atoma_types::onchain::{Abort, Model};
use atoma_types::{Hash32, ModelId};

/// Arguments of [`add`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewModel {
    pub label: String,
    pub modality: u8,
    pub weights_root: Vec<u8>,
    pub creator_fee_permille: u64,
}

/// Adds a model whose creator, and receiver of its fee, is the sender.
pub fn add(db: &mut AtomaDb, new: NewModel, ctx: &mut TxContext) -> Result {
    db.check_version()?;
    let NewModel { label, modality, weights_root, creator_fee_permille } = new;
    limits::check_text(&label, limits::LABEL_BYTES_MAX)?;
    ensure(modality <= limits::ROLE_MAX, Abort::BadArgument)?;
    let weights_root = Hash32(limits::check_bytes(&weights_root)?);
    ensure(creator_fee_permille <= limits::CREATOR_FEE_PERMILLE_MAX, Abort::BadArgument)?;

    let model = ModelId(db.models.size() + 1);
    let creator = ctx.sender();
    let row = Model {
        id: model,
        label: label.clone(),
        creator,
        modality,
        weights_root,
        creator_fee_permille,
        disabled: false,
    };
    db.models.set(model.0, row);
    ctx.emit(ModelAdded { model, label, creator, creator_fee_permille });
    Ok(())
}
