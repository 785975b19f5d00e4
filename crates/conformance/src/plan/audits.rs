//! What comes next of a claim: its beat, its resolution, its audit by both rounds, its release.

use super::known::{Script, Seatwork, digest};
use super::terms::COIN;
use super::{Director, Planned};
use crate::op::{Op, Shown, Target};
use atoma_contract::audit::{Opened, commitment};
use atoma_contract::claim::chance;
use atoma_types::onchain::{Audit, AuditPhase, Claim, ClaimState, Params, Seat, SeatState};
use atoma_types::{Address, Hash32, NodeId, Units};

/// A claim with what stands around it.
pub(super) struct Held {
    target: Target,
    db: Address,
    node: u64,
    owner: Address,
    exact: bool,
    price: u64,
    params: Params,
    claim: Claim,
}

impl Held {
    fn id(&self) -> Address {
        match self.target {
            Target::Channel { stack, .. } => stack,
            Target::Dispute(id) => id,
        }
    }
}

impl Director {
    pub(super) fn claim_story(&mut self, target: Target) -> Option<Planned> {
        let Some(held) = self.held(target) else { return self.promote(target) };
        match held.claim.state {
            ClaimState::Waiting => self.resolve(&held),
            ClaimState::Challenged => self.resolve(&held),
            ClaimState::Held => self.wait(&held),
            ClaimState::Audited => self.audit(&held),
        }
    }

    fn held(&self, target: Target) -> Option<Held> {
        let claim = self.claim(target)?.clone();
        match target {
            Target::Channel { stack, node } => {
                let stack = self.stack(stack)?;
                Some(Held {
                    target,
                    db: stack.db,
                    node,
                    owner: stack.owner,
                    exact: stack.exact,
                    price: stack.channel(NodeId(node))?.price.0,
                    params: stack.params.clone(),
                    claim,
                })
            }
            Target::Dispute(id) => {
                let dispute = self.world.disputes.get(&id)?;
                Some(Held {
                    target,
                    db: dispute.db,
                    node: dispute.node.0,
                    owner: dispute.opener,
                    exact: dispute.exact,
                    price: dispute.price.0,
                    params: dispute.params.clone(),
                    claim,
                })
            }
        }
    }

    /// A voucher that is queued behind no claim.
    fn promote(&mut self, target: Target) -> Option<Planned> {
        let Target::Channel { stack, node } = target else { return None };
        let row = self.stack(stack)?;
        row.channel(NodeId(node))?.queued.as_ref()?;
        let db = self.index(row.db);
        let sender = self.anybody();
        Planned::new(sender, Op::ReleaseClaim { db, beacon: db, target })
    }

    fn resolve(&mut self, held: &Held) -> Option<Planned> {
        let (db, target) = (self.index(held.db), held.target);
        let sender = self.anybody();
        let Ok(seed) = self.world.beacons[usize::from(db)].seed(held.claim.round) else {
            if self.dice.one_in(10) {
                return Planned::new(sender, Op::ResolvePay { db, beacon: db, target });
            }
            return self.beat(db);
        };
        let seed = chance::claim_seed(&seed, held.id(), NodeId(held.node), held.claim.count);
        let is_drawn =
            held.claim.state == ClaimState::Challenged || chance::is_drawn(&seed, held.claim.p_ppb);
        match is_drawn != self.dice.one_in(12) {
            true => Planned::new(sender, Op::ResolveAudit { db, beacon: db, target }),
            false => Planned::new(sender, Op::ResolvePay { db, beacon: db, target }),
        }
    }

    pub(super) fn beat(&mut self, db: u8) -> Option<Planned> {
        let market = usize::from(db);
        let beacon = &self.world.beacons[market];
        let due_ms = match beacon.round {
            0 => 0,
            _ => beacon.last_ms + self.params(market).beat_min_ms,
        };
        let at_ms = if self.dice.one_in(12) { due_ms.saturating_sub(1) } else { due_ms };
        let (sender, seed) = (self.anybody(), self.dice.bytes());
        Planned::at(sender, at_ms, Op::Beat { db, beacon: db, seed })
    }

    /// Held: challenged while there is time, or released when the hold is over.
    fn wait(&mut self, held: &Held) -> Option<Planned> {
        let db = self.index(held.db);
        let until_ms = held.claim.resolved_ms.saturating_add(held.params.challenge_ms);
        let is_open = self.clock_ms <= until_ms && !held.claim.challenged;
        if (is_open && self.dice.one_in(2)) || self.dice.one_in(10) {
            return self.challenge(held, db);
        }
        if self.dice.one_in(3) {
            return self.commerce();
        }
        let has_audits = self.node(held.db, held.node)?.open_audits > 0;
        let holds = if has_audits && self.dice.one_in(2) { 2 } else { 1 };
        let at_ms = held.claim.resolved_ms.saturating_add(held.params.hold_ms.saturating_mul(holds));
        let at_ms = if self.dice.one_in(8) { at_ms.saturating_sub(1) } else { at_ms };
        let sender = self.anybody();
        Planned::at(sender, at_ms, Op::ReleaseClaim { db, beacon: db, target: held.target })
    }

    fn challenge(&mut self, held: &Held, db: u8) -> Option<Planned> {
        let index = self.dice.upto(held.claim.count.saturating_sub(1).min(1_000));
        let shown = self.shown(held, index)?;
        let units = self.units_of(held, index);
        let cost = u128::from(units) * u128::from(held.price) / 1_000_000;
        let pay = u64::try_from(2 * cost).ok()?.max(held.params.verifier_pay_min.0);
        let bond = pay.saturating_mul(held.params.verifiers).saturating_add(held.params.resolve_fee.0);
        let coin = match self.dice.below(8) {
            0 => bond.saturating_sub(1),
            1 => bond.saturating_add(COIN),
            _ => bond,
        };
        let target = held.target;
        Planned::new(held.owner, Op::ChallengeRecord { db, beacon: db, target, coin, shown })
    }

    fn units_of(&self, held: &Held, index: u64) -> u64 {
        let Target::Channel { stack, node } = held.target else {
            return held.claim.to_units.0;
        };
        let records = self.known.served(stack, node).map(|served| served.records.as_slice());
        let record = usize::try_from(index).ok().and_then(|index| records?.get(index));
        record.map_or(0, |record| record.units.0)
    }

    /// The claim's record of this index, with its proof.
    fn shown(&self, held: &Held, index: u64) -> Option<Shown> {
        match held.target {
            Target::Channel { stack, node } => {
                self.known.served(stack, node)?.proven(index, held.claim.count)
            }
            Target::Dispute(id) => {
                let record = self.known.asked.get(&id)?.record.as_ref()?;
                Some(Shown { record: record.to_bytes(), index: 0, proof: Vec::new() })
            }
        }
    }

    fn script(&mut self, held: &Held, round: u8) -> Script {
        let key = (held.target, held.claim.count, round);
        if let Some(script) = self.known.scripts.get(&key) {
            return script.clone();
        }
        let script = Script::roll(&mut self.dice, round);
        self.known.scripts.insert(key, script.clone());
        script
    }

    fn audit(&mut self, held: &Held) -> Option<Planned> {
        let audit = held.claim.audit.clone()?;
        let script = self.script(held, audit.round);
        let seats = if audit.round == 0 { &audit.seats } else { &audit.jury };
        let planned = match audit.phase {
            AuditPhase::Reveal if script.reveals => self.reveal(held, &audit),
            AuditPhase::Reveal => None,
            AuditPhase::Commit => self.commit(held, &audit, seats, &script),
            AuditPhase::Verdict => self.verdict(held, seats, &script, audit.round),
        };
        planned.or_else(|| self.run_out(held, &audit))
    }

    /// Nobody does the duty: it is marked late, and a grace later that has its effect.
    fn run_out(&mut self, held: &Held, audit: &Audit) -> Option<Planned> {
        let (sender, target) = (self.anybody(), held.target);
        let early = u64::from(self.dice.one_in(8));
        if audit.late_ms == 0 {
            let at_ms = audit.deadline_ms.saturating_add(1).saturating_sub(early);
            return Planned::at(sender, at_ms, Op::MarkAuditLate { target });
        }
        let at_ms = audit.late_ms.saturating_add(held.params.grace_ms).saturating_sub(early);
        Planned::at(sender, at_ms, Op::ExpireAudit { db: self.index(held.db), target })
    }

    fn reveal(&mut self, held: &Held, audit: &Audit) -> Option<Planned> {
        let is_met = |offset: u64| {
            let has = |total: Units, units: Units| offset <= total.0 && offset > total.0 - units.0;
            audit.records.iter().any(|shown| has(shown.total_units, shown.units))
        };
        let unmet = audit.offsets.iter().position(|offset| !is_met(*offset))?;
        let which = u64::try_from(if self.dice.one_in(10) { self.dice.index(8) } else { unmet }).ok()?;
        let offset = *audit.offsets.get(unmet)?;
        let index = match held.target {
            Target::Channel { stack, node } => self.known.served(stack, node)?.holder(offset)?,
            Target::Dispute(_) => 0,
        };
        let badge = self.badge_of(held.db, held.node)?;
        let sender = self.anybody();
        if self.dice.one_in(6) {
            let bytes = self.dice.of([0, 1, 100, 12_288, 12_289]);
            let part = vec![0xab; if self.dice.one_in(8) { bytes } else { 64 }];
            return Planned::new(sender, Op::PostRecordPart { target: held.target, badge, which, part });
        }
        let shown = self.shown(held, index)?;
        let location = vec![0x1c; self.dice.of([0, 32, 128, 129])];
        let location = if self.dice.one_in(4) { location } else { vec![0x1c; 16] };
        Planned::new(sender, Op::RevealRecord { target: held.target, badge, which, shown, location })
    }

    fn commit(&mut self, held: &Held, audit: &Audit, seats: &[Seat], script: &Script) -> Option<Planned> {
        let waiting = |(at, seat): &(usize, &Seat)| {
            seat.state == SeatState::Seated && script.seats.get(*at) != Some(&Seatwork::NoCommit)
        };
        let waiting: Vec<(usize, &Seat)> = seats.iter().enumerate().filter(waiting).collect();
        let (at, seat) = self.dice.pick(&waiting)?;
        let work = script.seats.get(at).copied().unwrap_or(Seatwork::All(0));
        let opened = self.opened(held, audit, work);
        let (round, verifier) = (audit.round, seat.verifier);
        let hash = commitment(held.id(), held.claim.count, round, verifier, &opened);
        self.known.sealed.insert((held.target, held.claim.count, round, verifier.0), opened);
        let badge = self.badge_of(held.db, verifier.0)?;
        let sender = self.anybody();
        Planned::new(sender, Op::CommitVerdict { target: held.target, badge, hash: hash.0.to_vec() })
    }

    fn verdict(&mut self, held: &Held, seats: &[Seat], script: &Script, round: u8) -> Option<Planned> {
        let waiting = |(at, seat): &(usize, &Seat)| {
            let work = script.seats.get(*at);
            let is_silent = matches!(work, Some(Seatwork::NoReveal | Seatwork::Impossible));
            seat.state == SeatState::Committed && !is_silent
        };
        let waiting: Vec<(usize, &Seat)> = seats.iter().enumerate().filter(waiting).collect();
        let anyone: Vec<(usize, &Seat)> = seats.iter().enumerate().collect();
        let (_, seat) = match self.dice.pick(&waiting) {
            Some(seat) => seat,
            // What cannot be revealed is tried sometimes.
            None if self.dice.one_in(6) => self.dice.pick(&anyone)?,
            None => return None,
        };
        let verifier = seat.verifier.0;
        let opened = self.known.sealed.get(&(held.target, held.claim.count, round, verifier))?.clone();
        let badge = self.badge_of(held.db, verifier)?;
        let sender = self.anybody();
        let Opened { verdicts, digests, salt } = opened;
        let db = self.index(held.db);
        Planned::new(sender, Op::RevealVerdict { db, target: held.target, badge, verdicts, digests, salt })
    }

    /// What a verifier seals.
    fn opened(&mut self, held: &Held, audit: &Audit, work: Seatwork) -> Opened {
        let count = audit.records.len();
        let mut verdicts: Vec<u8> = match work {
            Seatwork::All(verdict) => vec![verdict; count],
            Seatwork::Mixed => (0..count).map(|_| self.dice.of([0, 0, 0, 1, 2, 3])).collect(),
            _ => vec![0; count],
        };
        let mut digests = Vec::new();
        for (shown, verdict) in audit.records.iter().zip(&mut verdicts) {
            let request = match held.target {
                Target::Channel { stack, node } => {
                    self.known.served(stack, node).and_then(|served| served.request_at(shown.total_units))
                }
                Target::Dispute(id) => {
                    let record = self.known.asked.get(&id).and_then(|asked| asked.record.as_ref());
                    record.map(|record| record.request_hash)
                }
            };
            let request = request.unwrap_or(Hash32::ZERO);
            // Honest verifiers do not pass what was never executed.
            if *verdict == 0 && held.exact && super::known::work(request) != shown.work {
                *verdict = self.dice.of([1, 1, 1, 0]);
            }
            if *verdict == 0 && held.exact {
                digests.extend(digest(request, audit.round).0);
                digests.extend(Hash32::of(digest(request, 1 - audit.round).as_bytes()).0);
            }
        }
        let mut opened = Opened { verdicts, digests, salt: vec![0x5a; 32] };
        if work == Seatwork::Impossible {
            match self.dice.below(5) {
                0 => opened.verdicts.push(0),
                1 => opened.salt.push(1),
                2 => opened.digests.push(1),
                3 => opened.verdicts.fill(4),
                _ => opened.digests.iter_mut().for_each(|byte| *byte ^= 1),
            }
        }
        opened
    }
}
