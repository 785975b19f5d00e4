//! Stacks at levels 0 and 1, and the ways out at every level.

use super::*;
use atoma_contract::stack::{self, Opening, Purchase};
use atoma_contract::{Coin, Treasury};

pub(super) static FUNCTIONS: &[Function] = &[
    private("stack", "acquire", &[DB, RANDOM, COIN, U64, BYTES, U64, U64, U8, U64, U64, U64S, CLOCK], |m| {
        let (db, seed) = (m.db()?, m.random()?);
        let coin: Coin = m.object()?;
        let purchase = Purchase {
            task: m.pure()?,
            request_key: m.pure()?,
            units: m.pure()?,
            max_price: m.pure()?,
            selection: m.pure()?,
            nodes: m.pure()?,
            max_opens: m.pure()?,
            echelons: m.pure()?,
        };
        stack::acquire(&db, &seed, coin, purchase, m.clock()?, &mut m.ctx)
    }),
    public("stack", "top_up", &[DB, STACK_MUT, COIN, U64, CLOCK], |m| {
        on_stack_of_db(m, |db, stack, m| {
            stack::top_up(db, stack, m.object()?, m.pure()?, m.clock()?, &mut m.ctx)
        })
    }),
    public("stack", "open_channel", &[DB, STACK_MUT, U64, U64, U64, U64, BYTES, CLOCK], |m| {
        on_stack_of_db(m, |db, stack, m| {
            let opening = Opening {
                node: m.pure()?,
                units: m.pure()?,
                max_price: m.pure()?,
                nonce: m.pure()?,
                signature: m.pure()?,
            };
            stack::open_channel(db, stack, opening, m.clock()?, &mut m.ctx)
        })
    }),
    public("stack", "settle", &[DB, STACK_MUT, U64, U64, U64, BYTES, BYTES, CLOCK], |m| {
        on_stack_of_db(m, |db, stack, m| stack::settle(db, stack, settlement(m)?, m.clock()?, &mut m.ctx))
    }),
    public("stack", "revoke_channel", &[STACK_MUT, U64, CLOCK], |m| {
        on_stack(m, |stack, m| stack::revoke_channel(stack, m.pure()?, m.clock()?, &mut m.ctx))
    }),
    public("stack", "release_channel", &[DB, STACK_MUT, NODE_BADGE, CLOCK], |m| {
        on_stack_of_db(m, |db, stack, m| {
            let badge: NodeBadge = m.object()?;
            stack::release_channel(db, stack, &badge, m.clock()?, &mut m.ctx)
        })
    }),
    public("stack", "reclaim", &[DB, STACK_MUT, U64, CLOCK], |m| {
        on_stack_of_db(m, |db, stack, m| stack::reclaim(db, stack, m.pure()?, m.clock()?, &mut m.ctx))
    }),
    public("stack", "request_close", &[STACK_MUT, CLOCK], |m| {
        on_stack(m, |stack, m| stack::request_close(stack, m.clock()?, &mut m.ctx))
    }),
    public("stack", "refund", &[STACK_VALUE, CLOCK], |m| {
        let mut stack: Stack = m.object()?;
        stack::refund(&mut stack, m.clock()?, &mut m.ctx)?;
        m.share_stack(stack);
        Ok(())
    }),
    public("stack", "withdraw", &[STACK_VALUE, CLOCK], |m| {
        let mut stack: Stack = m.object()?;
        stack::withdraw(&mut stack, m.clock()?, &mut m.ctx)?;
        m.share_stack(stack);
        Ok(())
    }),
    public("stack", "sweep", &[STACK_VALUE, TREASURY_MUT, CLOCK], |m| {
        let mut stack: Stack = m.object()?;
        let mut treasury: Treasury = m.object()?;
        stack::sweep(&mut stack, &mut treasury, m.clock()?, &mut m.ctx)?;
        m.share_stack(stack);
        m.put(treasury.id, &treasury)
    }),
    public("stack", "migrate", &[DB, STACK_MUT], |m| {
        on_stack_of_db(m, |db, stack, m| stack::migrate(db, stack, &mut m.ctx))
    }),
];
