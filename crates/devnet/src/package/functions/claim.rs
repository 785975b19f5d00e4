//! Level 2: claims of a stack's channels, and their audits.

use super::*;
use atoma_contract::audit::{self, Opened, Reveal};
use atoma_contract::claim::{self, Challenge};
use atoma_contract::{Beacon, Coin};
use atoma_types::NodeId;

pub(super) static FUNCTIONS: &[Function] = &[
    public("claim", "settle", &[DB, BEACON, STACK_MUT, U64, U64, U64, BYTES, BYTES, CLOCK], |m| {
        on_claim(m, |db, beacon, stack, m| {
            claim::settle(db, beacon, stack, settlement(m)?, m.clock()?, &mut m.ctx)
        })
    }),
    public("claim", "resolve_pay", &[DB, BEACON, STACK_MUT, U64, CLOCK], |m| {
        on_claim(m, |db, beacon, stack, m| {
            claim::resolve_pay(db, beacon, stack, m.pure()?, m.clock()?, &mut m.ctx)
        })
    }),
    public("claim", "resolve_audit", &[DB_MUT, BEACON, STACK_MUT, U64, CLOCK], |m| {
        on_db(m, |db, m| {
            let beacon = m.beacon()?;
            on_stack(m, |stack, m| {
                claim::resolve_audit(db, &beacon, stack, m.pure()?, m.clock()?, &mut m.ctx)
            })
        })
    }),
    public(
        "claim",
        "challenge_record",
        &[DB_MUT, BEACON, STACK_MUT, U64, COIN, BYTES, U64, BYTES_LIST, CLOCK],
        |m| {
            on_db(m, |db, m| {
                let beacon = m.beacon()?;
                on_stack(m, |stack, m| {
                    let (node, coin): (NodeId, Coin) = (m.pure()?, m.object()?);
                    let challenge = Challenge { node, shown: proven(m)? };
                    claim::challenge_record(db, &beacon, stack, coin, &challenge, m.clock()?, &mut m.ctx)
                })
            })
        },
    ),
    public("claim", "release_claim", &[DB, BEACON, STACK_MUT, U64, CLOCK], |m| {
        on_claim(m, |db, beacon, stack, m| {
            claim::release_claim(db, beacon, stack, m.pure()?, m.clock()?, &mut m.ctx)
        })
    }),
    public(
        "audit",
        "reveal_record",
        &[STACK_MUT, NODE_BADGE, U64, BYTES, U64, BYTES_LIST, BYTES, CLOCK],
        |m| {
            on_stack(m, |stack, m| {
                let badge: NodeBadge = m.object()?;
                audit::reveal_record(stack, &badge, reveal(m)?, m.clock()?, &mut m.ctx)
            })
        },
    ),
    public("audit", "post_record_part", &[STACK, NODE_BADGE, U64, BYTES], |m| {
        let (stack, badge): (Stack, NodeBadge) = (m.object()?, m.object()?);
        audit::post_record_part(&stack, &badge, m.pure()?, m.pure()?, &mut m.ctx)
    }),
    public("audit", "commit_verdict", &[STACK_MUT, U64, NODE_BADGE, BYTES, CLOCK], |m| {
        on_stack(m, |stack, m| {
            let (node, badge): (NodeId, NodeBadge) = (m.pure()?, m.object()?);
            audit::commit_verdict(stack, node, &badge, m.pure()?, m.clock()?, &mut m.ctx)
        })
    }),
    public(
        "audit",
        "reveal_verdict",
        &[DB_MUT, STACK_MUT, U64, NODE_BADGE, BYTES, BYTES, BYTES, CLOCK],
        |m| {
            on_db(m, |db, m| {
                on_stack(m, |stack, m| {
                    let (node, badge): (NodeId, NodeBadge) = (m.pure()?, m.object()?);
                    audit::reveal_verdict(db, stack, node, &badge, opened(m)?, m.clock()?, &mut m.ctx)
                })
            })
        },
    ),
    public("audit", "mark_late", &[STACK_MUT, U64, CLOCK], |m| {
        on_stack(m, |stack, m| audit::mark_late(stack, m.pure()?, m.clock()?, &mut m.ctx))
    }),
    public("audit", "expire", &[DB_MUT, STACK_MUT, U64, CLOCK], |m| {
        on_db(m, |db, m| on_stack(m, |stack, m| audit::expire(db, stack, m.pure()?, m.clock()?, &mut m.ctx)))
    }),
];

/// For functions that begin `&AtomaDb, &Beacon, &mut Stack`.
fn on_claim(m: &mut Machine, run: impl FnOnce(&AtomaDb, &Beacon, &mut Stack, &mut Machine) -> Step) -> Step {
    let (db, beacon) = (m.db()?, m.beacon()?);
    on_stack(m, |stack, m| run(&db, &beacon, stack, m))
}

/// `which, record, index, proof, location`.
pub(super) fn reveal(m: &mut Machine) -> Step<Reveal> {
    Ok(Reveal { which: m.pure()?, shown: proven(m)?, location: m.pure()? })
}

/// `verdicts, digests, salt`.
pub(super) fn opened(m: &mut Machine) -> Step<Opened> {
    Ok(Opened { verdicts: m.pure()?, digests: m.pure()?, salt: m.pure()? })
}
