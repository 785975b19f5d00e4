/// Models that tasks may name.
module atoma::model;

use atoma::db::AtomaDb;
use atoma_base::errors::{Self, require};
use atoma::events;
use atoma_base::limits;
use atoma_base::rows;
use std::string::String;

/// Adds a model whose creator, and receiver of its fee, is the sender. By anyone.
public fun add<T>(
    db: &mut AtomaDb<T>,
    label: String,
    modality: u8,
    weights_root: vector<u8>,
    creator_fee_permille: u64,
    ctx: &TxContext,
) {
    db.check_version();
    limits::check_label(&label);
    require(modality <= limits::role_max!(), errors::bad_argument!());
    limits::check_hash(&weights_root);
    require(creator_fee_permille <= limits::creator_fee_permille_max!(), errors::bad_argument!());

    let model = db.models() + 1;
    let creator = ctx.sender();
    db.add_model(model, rows::new_model(model, label, creator, modality, weights_root, creator_fee_permille));
    events::model_added(model, label, creator, creator_fee_permille);
}
