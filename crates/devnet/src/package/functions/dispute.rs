//! Disputes over delivery, and the claims that their answers are at level 2.

use super::claim::{opened, reveal};
use super::*;
use atoma_contract::Coin;
use atoma_contract::dispute::{self, Acknowledged, Answer, Case, Part, Request};
use atoma_types::onchain::Dispute;

pub(super) static FUNCTIONS: &[Function] = &[
    public(
        "dispute",
        "open",
        &[DB_MUT, STACK_MUT, BLOB, COIN, U64, U8, U64, BYTES, U64, U64, BYTES, CLOCK],
        |m| {
            on_db(m, |db, m| {
                on_stack(m, |stack, m| {
                    let blob = m.blob()?;
                    let coin: Coin = m.object()?;
                    let request = request(m)?;
                    dispute::open(db, stack, &blob, coin, request, m.clock()?, &mut m.ctx)
                })
            })
        },
    ),
    public(
        "dispute",
        "answer_served",
        &[DB_MUT, BEACON, STACK_MUT, DISPUTE_MUT, NODE_BADGE, BLOB, BYTES, CLOCK],
        |m| {
            on_db(m, |db, m| {
                let beacon = m.beacon()?;
                on_case(m, |case, m| {
                    let (badge, blob): (NodeBadge, _) = (m.object()?, m.blob()?);
                    let record: Vec<u8> = m.pure()?;
                    let answer = Answer { blob: &blob, record: &record };
                    dispute::answer_served(db, &beacon, case, &badge, answer, m.clock()?, &mut m.ctx)
                })
            })
        },
    ),
    public("dispute", "answer_refused", &[DB_MUT, STACK_MUT, DISPUTE_MUT, NODE_BADGE, COIN, U8], |m| {
        on_db(m, |db, m| {
            on_case(m, |case, m| {
                let (badge, coin): (NodeBadge, Coin) = (m.object()?, m.object()?);
                dispute::answer_refused(db, case, &badge, coin, m.pure()?, &mut m.ctx)
            })
        })
    }),
    public(
        "dispute",
        "show_acknowledged",
        &[DB_MUT, STACK_MUT, DISPUTE_MUT, NODE_BADGE, U64, U64, U64, BYTES, BYTES, BYTES, U64, BYTES_LIST],
        |m| {
            on_db(m, |db, m| {
                on_case(m, |case, m| {
                    let badge: NodeBadge = m.object()?;
                    let acknowledged = acknowledged(m)?;
                    dispute::show_acknowledged(db, case, &badge, &acknowledged, &mut m.ctx)
                })
            })
        },
    ),
    public("dispute", "demand_body", &[DB, DISPUTE_MUT, NODE_BADGE, CLOCK], |m| {
        let db = m.db()?;
        on_dispute(m, |dispute, m| {
            let badge: NodeBadge = m.object()?;
            dispute::demand_body(&db, dispute, &badge, m.clock()?, &mut m.ctx)
        })
    }),
    public("dispute", "post_body", &[DISPUTE_MUT, U64, BYTES, BOOL, CLOCK], |m| {
        on_dispute(m, |dispute, m| {
            let part = Part { offset: m.pure()?, bytes: m.pure()?, is_last: m.pure()? };
            dispute::post_body(dispute, part, m.clock()?, &mut m.ctx)
        })
    }),
    public("dispute", "mark_late", &[DISPUTE_MUT, CLOCK], |m| {
        on_dispute(m, |dispute, m| dispute::mark_late(dispute, m.clock()?, &mut m.ctx))
    }),
    public("dispute", "expire", &[DB_MUT, STACK_MUT, DISPUTE_MUT, CLOCK], |m| {
        on_db(m, |db, m| on_case(m, |case, m| dispute::expire(db, case, m.clock()?, &mut m.ctx)))
    }),
    public("dispute", "migrate", &[DB, DISPUTE_MUT], |m| {
        let db = m.db()?;
        on_dispute(m, |dispute, m| dispute::migrate(&db, dispute, &mut m.ctx))
    }),
    public("dispute", "withdraw", &[DISPUTE_VALUE], |m| {
        let mut dispute: Dispute = m.object()?;
        dispute::withdraw(&mut dispute, &mut m.ctx)?;
        m.share_dispute(dispute);
        Ok(())
    }),
    public("dispute", "resolve_pay", &[DB, BEACON, DISPUTE_MUT, CLOCK], |m| {
        let (db, beacon) = (m.db()?, m.beacon()?);
        on_dispute(m, |dispute, m| dispute::resolve_pay(&db, &beacon, dispute, m.clock()?, &mut m.ctx))
    }),
    public("dispute", "resolve_audit", &[DB_MUT, BEACON, DISPUTE_MUT, CLOCK], |m| {
        on_db(m, |db, m| {
            let beacon = m.beacon()?;
            on_dispute(m, |dispute, m| dispute::resolve_audit(db, &beacon, dispute, m.clock()?, &mut m.ctx))
        })
    }),
    public(
        "dispute",
        "challenge_record",
        &[DB_MUT, BEACON, DISPUTE_MUT, COIN, BYTES, U64, BYTES_LIST, CLOCK],
        |m| {
            on_db(m, |db, m| {
                let beacon = m.beacon()?;
                on_dispute(m, |dispute, m| {
                    let (coin, shown): (Coin, _) = (m.object()?, proven(m)?);
                    dispute::challenge_record(db, &beacon, dispute, coin, &shown, m.clock()?, &mut m.ctx)
                })
            })
        },
    ),
    public("dispute", "release_claim", &[DB, DISPUTE_MUT, CLOCK], |m| {
        let db = m.db()?;
        on_dispute(m, |dispute, m| dispute::release_claim(&db, dispute, m.clock()?, &mut m.ctx))
    }),
    public(
        "dispute",
        "reveal_record",
        &[DISPUTE_MUT, NODE_BADGE, U64, BYTES, U64, BYTES_LIST, BYTES, CLOCK],
        |m| {
            on_dispute(m, |dispute, m| {
                let badge: NodeBadge = m.object()?;
                dispute::reveal_record(dispute, &badge, reveal(m)?, m.clock()?, &mut m.ctx)
            })
        },
    ),
    public("dispute", "post_record_part", &[DISPUTE, NODE_BADGE, U64, BYTES], |m| {
        let (dispute, badge): (Dispute, NodeBadge) = (m.object()?, m.object()?);
        dispute::post_record_part(&dispute, &badge, m.pure()?, m.pure()?, &mut m.ctx)
    }),
    public("dispute", "commit_verdict", &[DISPUTE_MUT, NODE_BADGE, BYTES, CLOCK], |m| {
        on_dispute(m, |dispute, m| {
            let badge: NodeBadge = m.object()?;
            dispute::commit_verdict(dispute, &badge, m.pure()?, m.clock()?, &mut m.ctx)
        })
    }),
    public(
        "dispute",
        "reveal_verdict",
        &[DB_MUT, DISPUTE_MUT, NODE_BADGE, BYTES, BYTES, BYTES, CLOCK],
        |m| {
            on_db(m, |db, m| {
                on_dispute(m, |dispute, m| {
                    let badge: NodeBadge = m.object()?;
                    dispute::reveal_verdict(db, dispute, &badge, opened(m)?, m.clock()?, &mut m.ctx)
                })
            })
        },
    ),
    public("dispute", "mark_audit_late", &[DISPUTE_MUT, CLOCK], |m| {
        on_dispute(m, |dispute, m| dispute::mark_audit_late(dispute, m.clock()?, &mut m.ctx))
    }),
    public("dispute", "expire_audit", &[DB_MUT, DISPUTE_MUT, CLOCK], |m| {
        on_db(m, |db, m| {
            on_dispute(m, |dispute, m| dispute::expire_audit(db, dispute, m.clock()?, &mut m.ctx))
        })
    }),
];

/// For functions that go on `&mut Dispute`.
fn on_dispute(m: &mut Machine, run: impl FnOnce(&mut Dispute, &mut Machine) -> Step) -> Step {
    let mut dispute: Dispute = m.object()?;
    run(&mut dispute, m)?;
    m.put(dispute.id, &dispute)
}

/// For functions that go on `&mut Stack, &mut Dispute`.
fn on_case(m: &mut Machine, run: impl FnOnce(&mut Case<'_>, &mut Machine) -> Step) -> Step {
    on_stack(m, |stack, m| on_dispute(m, |dispute, m| run(&mut Case { stack, dispute }, m)))
}

/// `node, hops, nonce, body_hash, max_units, expires_ms, signature`.
fn request(m: &mut Machine) -> Step<Request> {
    Ok(Request {
        node: m.pure()?,
        hops: m.pure()?,
        nonce: m.pure()?,
        body_hash: m.pure()?,
        max_units: m.pure()?,
        expires_ms: m.pure()?,
        signature: m.pure()?,
    })
}

/// `node, units, count, root, signature, record, index, proof`.
fn acknowledged(m: &mut Machine) -> Step<Acknowledged> {
    Ok(Acknowledged {
        node: m.pure()?,
        units: m.pure()?,
        count: m.pure()?,
        root: m.pure()?,
        signature: m.pure()?,
        shown: proven(m)?,
    })
}
