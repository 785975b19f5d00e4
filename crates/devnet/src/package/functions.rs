//! Every function of the package: its Move signature, and the adapter that calls the contract.

use super::signature::By::{Mut, Ref, Value};
use super::signature::{Function, ObjectKind, Param, PureKind, Returns};
use super::{Machine, Step};
use atoma_contract::node::{self, Registration};
use atoma_contract::stack::{self, Opening, Purchase, Settlement};
use atoma_contract::task::{self, NewTask, Offer};
use atoma_contract::{Coin, NodeBadge, Treasury, model, model::NewModel, views};
use atoma_types::amount::UnitWeights;
use atoma_types::onchain::Stack;
use atoma_types::{ModelId, NodeId, TaskId};

const DB: Param = Param::Object(ObjectKind::Db, Ref);
const DB_MUT: Param = Param::Object(ObjectKind::Db, Mut);
const TREASURY: Param = Param::Object(ObjectKind::Treasury, Ref);
const TREASURY_MUT: Param = Param::Object(ObjectKind::Treasury, Mut);
const STACK_MUT: Param = Param::Object(ObjectKind::Stack, Mut);
const NODE_BADGE: Param = Param::Object(ObjectKind::NodeBadge, Ref);
const COIN: Param = Param::Object(ObjectKind::Coin, Value);
const CLOCK: Param = Param::Object(ObjectKind::Clock, Ref);
const RANDOM: Param = Param::Object(ObjectKind::Random, Ref);
const U8: Param = Param::Pure(PureKind::U8);
const U64: Param = Param::Pure(PureKind::U64);
const ADDRESS: Param = Param::Pure(PureKind::Address);
const STRING: Param = Param::Pure(PureKind::String);
const BYTES: Param = Param::Pure(PureKind::Bytes);
const U64S: Param = Param::Pure(PureKind::U64s);

type Run = fn(&mut Machine) -> Step;

const fn entry(module: &'static str, name: &'static str, params: &'static [Param], run: Run) -> Function {
    Function { module, name, private_entry: false, type_arguments: 1, params, returns: Returns::Nothing, run }
}

const fn view(name: &'static str, params: &'static [Param], returns: Returns, run: Run) -> Function {
    Function { module: "views", name, private_entry: false, type_arguments: 1, params, returns, run }
}

/// All functions; within a module in the order of the Move source.
pub(crate) fn functions() -> &'static [Function] {
    FUNCTIONS
}

static FUNCTIONS: &[Function] = &[
    entry("node", "register", &[DB_MUT, TREASURY_MUT, COIN, ADDRESS, STRING, BYTES], node_register),
    entry("node", "set_endpoint", &[DB_MUT, NODE_BADGE, STRING], node_set_endpoint),
    entry("node", "disable", &[DB_MUT, NODE_BADGE, CLOCK], node_disable),
    entry("node", "withdraw_collateral", &[DB_MUT, NODE_BADGE, CLOCK], node_withdraw_collateral),
    entry("model", "add", &[DB_MUT, STRING, U8, BYTES, U64], model_add),
    entry("task", "create", &[DB_MUT, U8, U64, U8, U64, U64, U64, U64, U64, U64, U64S], task_create),
    entry("task", "subscribe", &[DB_MUT, NODE_BADGE, U64, U64, U64, U64], task_subscribe),
    Function {
        private_entry: true,
        ..entry(
            "stack",
            "acquire",
            &[DB, RANDOM, COIN, U64, BYTES, U64, U64, U8, U64, U64, CLOCK],
            stack_acquire,
        )
    },
    entry("stack", "open_channel", &[DB, STACK_MUT, U64, U64, U64, U64, BYTES, CLOCK], stack_open_channel),
    entry("stack", "settle", &[DB, STACK_MUT, U64, U64, U64, BYTES, BYTES, CLOCK], stack_settle),
    entry("stack", "release_channel", &[DB, STACK_MUT, NODE_BADGE], stack_release_channel),
    entry("stack", "request_close", &[STACK_MUT, CLOCK], stack_request_close),
    entry("stack", "refund", &[STACK_MUT, CLOCK], stack_refund),
    entry("stack", "withdraw", &[STACK_MUT], stack_withdraw),
    entry("stack", "sweep", &[STACK_MUT, TREASURY_MUT], stack_sweep),
    view("node", &[DB, U64], Returns::One("node", "Node"), view_node),
    view("model", &[DB, U64], Returns::One("model", "Model"), view_model),
    view("task", &[DB, U64], Returns::One("task", "Task"), view_task),
    view("subscriptions", &[DB, U64], Returns::Many("task", "Subscription"), view_subscriptions),
    view("nodes", &[DB], Returns::Many("node", "Node"), view_nodes),
    view("tasks", &[DB], Returns::Many("task", "Task"), view_tasks),
    view("models", &[DB], Returns::Many("model", "Model"), view_models),
    view("params", &[DB], Returns::One("params", "Params"), view_params),
    view("treasury", &[TREASURY], Returns::U64, view_treasury),
];

fn node_register(m: &mut Machine) -> Step {
    let mut db = m.db_mut()?;
    let mut treasury: Treasury = m.object()?;
    let coin: Coin = m.object()?;
    let registration = Registration { payout: m.pure()?, endpoint: m.pure()?, receipt_key: m.pure()? };
    node::register(&mut db, &mut treasury, coin, registration, &mut m.ctx)?;
    m.put(treasury.id, &treasury)?;
    m.put_db(db)
}

fn node_set_endpoint(m: &mut Machine) -> Step {
    let mut db = m.db_mut()?;
    let badge: NodeBadge = m.object()?;
    let endpoint = m.pure()?;
    node::set_endpoint(&mut db, &badge, endpoint, &mut m.ctx)?;
    m.put_db(db)
}

fn node_disable(m: &mut Machine) -> Step {
    let mut db = m.db_mut()?;
    let badge: NodeBadge = m.object()?;
    let clock_ms = m.clock()?;
    node::disable(&mut db, &badge, clock_ms, &mut m.ctx)?;
    m.put_db(db)
}

fn node_withdraw_collateral(m: &mut Machine) -> Step {
    let mut db = m.db_mut()?;
    let badge: NodeBadge = m.object()?;
    let clock_ms = m.clock()?;
    node::withdraw_collateral(&mut db, &badge, clock_ms, &mut m.ctx)?;
    m.put_db(db)
}

fn model_add(m: &mut Machine) -> Step {
    let mut db = m.db_mut()?;
    let new = NewModel {
        label: m.pure()?,
        modality: m.pure()?,
        weights_root: m.pure()?,
        creator_fee_permille: m.pure()?,
    };
    model::add(&mut db, new, &mut m.ctx)?;
    m.put_db(db)
}

fn task_create(m: &mut Machine) -> Step {
    let mut db = m.db_mut()?;
    let new = NewTask {
        role: m.pure()?,
        model: ModelId(m.pure()?),
        level: m.pure()?,
        price_ceiling: m.pure()?,
        weights: UnitWeights { input: m.pure()?, output: m.pure()? },
        surcharge_permille: m.pure()?,
        min_collateral: m.pure()?,
        min_reputation: m.pure()?,
        whitelist: m.pure::<Vec<u64>>()?.into_iter().map(NodeId).collect(),
    };
    task::create(&mut db, new, &mut m.ctx)?;
    m.put_db(db)
}

fn task_subscribe(m: &mut Machine) -> Step {
    let mut db = m.db_mut()?;
    let badge: NodeBadge = m.object()?;
    let offer = Offer { task: m.pure()?, price: m.pure()?, max_units: m.pure()?, echelon: m.pure()? };
    task::subscribe(&mut db, &badge, offer, &mut m.ctx)?;
    m.put_db(db)
}

fn stack_acquire(m: &mut Machine) -> Step {
    let db = m.db()?;
    let seed = m.random()?;
    let coin: Coin = m.object()?;
    let purchase = Purchase {
        task: m.pure()?,
        request_key: m.pure()?,
        units: m.pure()?,
        max_price: m.pure()?,
        selection: m.pure()?,
        nodes: m.pure()?,
        max_opens: m.pure()?,
    };
    let clock_ms = m.clock()?;
    stack::acquire(&db, &seed, coin, purchase, clock_ms, &mut m.ctx)
}

fn stack_open_channel(m: &mut Machine) -> Step {
    let db = m.db()?;
    let mut stack: Stack = m.object()?;
    let opening = Opening {
        node: m.pure()?,
        units: m.pure()?,
        max_price: m.pure()?,
        nonce: m.pure()?,
        signature: m.pure()?,
    };
    let clock_ms = m.clock()?;
    stack::open_channel(&db, &mut stack, opening, clock_ms, &mut m.ctx)?;
    m.put(stack.id, &stack)
}

fn stack_settle(m: &mut Machine) -> Step {
    let db = m.db()?;
    let mut stack: Stack = m.object()?;
    let settlement = Settlement {
        node: m.pure()?,
        units: m.pure()?,
        count: m.pure()?,
        root: m.pure()?,
        signature: m.pure()?,
    };
    let clock_ms = m.clock()?;
    stack::settle(&db, &mut stack, settlement, clock_ms, &mut m.ctx)?;
    m.put(stack.id, &stack)
}

fn stack_release_channel(m: &mut Machine) -> Step {
    let db = m.db()?;
    let mut stack: Stack = m.object()?;
    let badge: NodeBadge = m.object()?;
    stack::release_channel(&db, &mut stack, &badge, &mut m.ctx)?;
    m.put(stack.id, &stack)
}

fn stack_request_close(m: &mut Machine) -> Step {
    let mut stack: Stack = m.object()?;
    let clock_ms = m.clock()?;
    stack::request_close(&mut stack, clock_ms, &mut m.ctx)?;
    m.put(stack.id, &stack)
}

fn stack_refund(m: &mut Machine) -> Step {
    let mut stack: Stack = m.object()?;
    let clock_ms = m.clock()?;
    stack::refund(&mut stack, clock_ms, &mut m.ctx)?;
    m.put(stack.id, &stack)
}

fn stack_withdraw(m: &mut Machine) -> Step {
    let mut stack: Stack = m.object()?;
    stack::withdraw(&mut stack, &mut m.ctx)?;
    m.put(stack.id, &stack)
}

fn stack_sweep(m: &mut Machine) -> Step {
    let mut stack: Stack = m.object()?;
    let mut treasury: Treasury = m.object()?;
    stack::sweep(&mut stack, &mut treasury, &mut m.ctx)?;
    m.put(treasury.id, &treasury)?;
    m.put(stack.id, &stack)
}

fn view_node(m: &mut Machine) -> Step {
    let (db, id) = (m.db()?, NodeId(m.pure()?));
    m.give_back(&views::node(&db, id)?)
}

fn view_model(m: &mut Machine) -> Step {
    let (db, id) = (m.db()?, ModelId(m.pure()?));
    m.give_back(&views::model(&db, id)?)
}

fn view_task(m: &mut Machine) -> Step {
    let (db, id) = (m.db()?, TaskId(m.pure()?));
    m.give_back(&views::task(&db, id)?)
}

fn view_subscriptions(m: &mut Machine) -> Step {
    let (db, id) = (m.db()?, TaskId(m.pure()?));
    m.give_back(&views::subscriptions(&db, id)?)
}

fn view_nodes(m: &mut Machine) -> Step {
    let db = m.db()?;
    m.give_back(&views::nodes(&db))
}

fn view_tasks(m: &mut Machine) -> Step {
    let db = m.db()?;
    m.give_back(&views::tasks(&db))
}

fn view_models(m: &mut Machine) -> Step {
    let db = m.db()?;
    m.give_back(&views::models(&db))
}

fn view_params(m: &mut Machine) -> Step {
    let db = m.db()?;
    m.give_back(&views::params(&db))
}

fn view_treasury(m: &mut Machine) -> Step {
    let treasury: Treasury = m.object()?;
    m.give_back(&views::treasury(&treasury))
}
