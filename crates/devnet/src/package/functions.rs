//! Every function of the package: its Move signature, and the adapter that calls the contract.
//!
//! One file per part of the package. An adapter reads the arguments in the signature's order, calls the
//! function of the same name in `atoma-contract`, and puts back what that took mutably.

mod claim;
mod dispute;
mod registry;
mod stack;
mod views;

use super::signature::By::{Mut, Ref, Value};
use super::signature::{Brittle, Function, ObjectKind, Param, PureKind, Returns};
use super::{Machine, PACKAGE, Step, walrus};
use atoma_contract::audit::Proven;
use atoma_contract::stack::Settlement;
use atoma_contract::{AtomaDb, NodeBadge};
use atoma_types::onchain::Stack;

const DB: Param = Param::Object(ObjectKind::Db, Ref);
const DB_MUT: Param = Param::Object(ObjectKind::Db, Mut);
const TREASURY: Param = Param::Object(ObjectKind::Treasury, Ref);
const TREASURY_MUT: Param = Param::Object(ObjectKind::Treasury, Mut);
const BEACON: Param = Param::Object(ObjectKind::Beacon, Ref);
const BEACON_MUT: Param = Param::Object(ObjectKind::Beacon, Mut);
const STACK: Param = Param::Object(ObjectKind::Stack, Ref);
const STACK_MUT: Param = Param::Object(ObjectKind::Stack, Mut);
const STACK_VALUE: Param = Param::Object(ObjectKind::Stack, Value);
const DISPUTE: Param = Param::Object(ObjectKind::Dispute, Ref);
const DISPUTE_MUT: Param = Param::Object(ObjectKind::Dispute, Mut);
const DISPUTE_VALUE: Param = Param::Object(ObjectKind::Dispute, Value);
const ADMIN: Param = Param::Object(ObjectKind::AdminCap, Ref);
const ADMIN_MUT: Param = Param::Object(ObjectKind::AdminCap, Mut);
const NODE_BADGE: Param = Param::Object(ObjectKind::NodeBadge, Ref);
const TASK_BADGE: Param = Param::Object(ObjectKind::TaskBadge, Ref);
const UPGRADE_CAP: Param = Param::Object(ObjectKind::UpgradeCap, Value);
const RECEIPT: Param = Param::Brittle(Brittle::Receipt);
const UPGRADE_LOCK: Param = Param::Object(ObjectKind::UpgradeLock, Mut);
const COIN: Param = Param::Object(ObjectKind::Coin, Value);
const CLOCK: Param = Param::Object(ObjectKind::Clock, Ref);
const RANDOM: Param = Param::Object(ObjectKind::Random, Ref);
const BLOB: Param = Param::Object(ObjectKind::Blob, Ref);
const BOOL: Param = Param::Pure(PureKind::Bool);
const U8: Param = Param::Pure(PureKind::U8);
const U64: Param = Param::Pure(PureKind::U64);
const ADDRESS: Param = Param::Pure(PureKind::Address);
const STRING: Param = Param::Pure(PureKind::String);
const BYTES: Param = Param::Pure(PureKind::Bytes);
const BYTES_LIST: Param = Param::Pure(PureKind::BytesList);
const U64S: Param = Param::Pure(PureKind::U64s);

type Run = fn(&mut Machine) -> Step;

const fn public(module: &'static str, name: &'static str, params: &'static [Param], run: Run) -> Function {
    let returns = Returns::Nothing;
    Function { package: PACKAGE, module, name, private_entry: false, type_arguments: 1, params, returns, run }
}

/// Draws from `Random`: callable in a transaction, not from another package.
const fn private(module: &'static str, name: &'static str, params: &'static [Param], run: Run) -> Function {
    Function { private_entry: true, ..public(module, name, params, run) }
}

const fn view(name: &'static str, params: &'static [Param], returns: Returns, run: Run) -> Function {
    Function { returns, ..public("views", name, params, run) }
}

/// All functions; within a module in the order of the Move source.
pub(crate) fn functions() -> impl Iterator<Item = &'static Function> {
    let parts = [
        registry::FUNCTIONS,
        stack::FUNCTIONS,
        claim::FUNCTIONS,
        dispute::FUNCTIONS,
        views::FUNCTIONS,
        walrus::FUNCTIONS,
    ];
    parts.into_iter().flatten()
}

/// For functions that begin `&mut AtomaDb`.
fn on_db(m: &mut Machine, run: impl FnOnce(&mut AtomaDb, &mut Machine) -> Step) -> Step {
    let mut db = m.db_mut()?;
    run(&mut db, m)?;
    m.put_db(db)
}

/// For functions that begin `&mut AtomaDb, &NodeBadge`.
fn as_node(m: &mut Machine, run: impl FnOnce(&mut AtomaDb, &NodeBadge, &mut Machine) -> Step) -> Step {
    on_db(m, |db, m| {
        let badge = m.object()?;
        run(db, &badge, m)
    })
}

/// For functions that begin `&mut Stack`.
fn on_stack(m: &mut Machine, run: impl FnOnce(&mut Stack, &mut Machine) -> Step) -> Step {
    let mut stack: Stack = m.object()?;
    run(&mut stack, m)?;
    m.put(stack.id, &stack)
}

/// For functions that begin `&AtomaDb, &mut Stack`.
fn on_stack_of_db(m: &mut Machine, run: impl FnOnce(&AtomaDb, &mut Stack, &mut Machine) -> Step) -> Step {
    let db = m.db()?;
    on_stack(m, |stack, m| run(&db, stack, m))
}

/// `node, units, count, root, signature`.
fn settlement(m: &mut Machine) -> Step<Settlement> {
    Ok(Settlement {
        node: m.pure()?,
        units: m.pure()?,
        count: m.pure()?,
        root: m.pure()?,
        signature: m.pure()?,
    })
}

/// `record, index, proof`.
fn proven(m: &mut Machine) -> Step<Proven> {
    Ok(Proven { record: m.pure()?, index: m.pure()?, proof: m.pure()? })
}

#[cfg(test)]
mod tests;
