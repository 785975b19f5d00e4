//! What can be read through a call.

use super::*;
use atoma_contract::{Treasury, views};

pub(super) static FUNCTIONS: &[Function] = &[
    view("node", &[DB, U64], Returns::One("rows", "Node"), |m| {
        let db = m.db()?;
        let row = views::node(&db, m.pure()?)?;
        m.give_back(&row)
    }),
    view("model", &[DB, U64], Returns::One("rows", "Model"), |m| {
        let db = m.db()?;
        let row = views::model(&db, m.pure()?)?;
        m.give_back(&row)
    }),
    view("task", &[DB, U64], Returns::One("rows", "Task"), |m| {
        let db = m.db()?;
        let row = views::task(&db, m.pure()?)?;
        m.give_back(&row)
    }),
    view("subscriptions", &[DB, U64], Returns::Many("slots", "Subscription"), |m| {
        let db = m.db()?;
        let rows = views::subscriptions(&db, m.pure()?)?;
        m.give_back(&rows)
    }),
    view("offers", &[DB, U64, U64], Returns::Many("slots", "Slot"), |m| {
        let db = m.db()?;
        let rows = views::offers(&db, m.pure()?, m.pure()?)?;
        m.give_back(&rows)
    }),
    view("nodes", &[DB], Returns::Many("rows", "Node"), |m| {
        let rows = views::nodes(m.db()?.as_ref());
        m.give_back(&rows)
    }),
    view("tasks", &[DB], Returns::Many("rows", "Task"), |m| {
        let rows = views::tasks(m.db()?.as_ref());
        m.give_back(&rows)
    }),
    view("models", &[DB], Returns::Many("rows", "Model"), |m| {
        let rows = views::models(m.db()?.as_ref());
        m.give_back(&rows)
    }),
    view("params", &[DB, U64], Returns::One("params", "Params"), |m| {
        let db = m.db()?;
        let params = views::params(&db, m.pure()?);
        m.give_back(&params)
    }),
    view("treasury", &[TREASURY], Returns::U64, |m| {
        let treasury: Treasury = m.object()?;
        m.give_back(&views::treasury(&treasury))
    }),
];
