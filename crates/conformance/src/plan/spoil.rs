//! Spoiling a planned step in one place: another sender, object, number, byte, or signature.

use super::known;
use super::{Director, Planned};
use crate::dice::Dice;
use crate::op::{Aged, BlobSpec, Op, Shown, Signed, Target};
use atoma_types::{Address, Hash32, NodeId, RequestAuth, Units};

impl Director {
    /// The step with something wrong in it; often wrong enough to abort.
    pub(super) fn spoil(&mut self, planned: Planned) -> Planned {
        let mut planned = planned;
        match self.dice.below(10) {
            0 => planned.sender = self.anybody(),
            1 => planned.at_ms = None,
            2 => {
                self.past.push(planned.op.clone());
                planned.op = self.again().map_or(planned.op, |other| other.op);
            }
            _ => {
                let others = self.others();
                planned.op.spoil(&mut Spoiler { dice: &mut self.dice, others: &others });
                if self.dice.one_in(2) {
                    self.sign_again(&mut planned.op);
                }
            }
        }
        planned
    }

    /// Addresses that stand where others should.
    fn others(&mut self) -> Vec<Address> {
        let mut others: Vec<Address> = self.world.stacks.keys().copied().collect();
        others.extend(self.world.disputes.keys());
        others.push(self.anybody());
        others
    }

    /// The user's key signs what the step says now: it is wrong in itself, not by its signature.
    fn sign_again(&self, op: &mut Op) {
        match op {
            Op::OpenChannel { stack, node, units, max_price, nonce, signature, .. }
                if !signature.is_empty() =>
            {
                let Some(stack) = self.stack(*stack) else { return };
                let secret = self.known.secret(&stack.request_key);
                *signature = known::grant(secret, (stack.db, stack.id, *node), (*units, *max_price, *nonce));
            }
            Op::Settle { stack, node, voucher, .. }
            | Op::SettleClaim { stack, node, voucher, .. }
            | Op::ShowAcknowledged { stack, node, voucher, .. } => {
                self.sign_voucher(*stack, *node, voucher);
            }
            Op::OpenDispute {
                stack, node, hops, nonce, body_hash, max_units, expires_ms, signature, ..
            } => {
                let Some(stack) = self.stack(*stack) else { return };
                let auth = RequestAuth {
                    db: stack.db,
                    stack: stack.id,
                    node: NodeId(*node),
                    hops: *hops,
                    nonce: *nonce,
                    body_hash: Hash32(body_hash.clone().try_into().unwrap_or_default()),
                    max_units: Units(*max_units),
                    expires_ms: *expires_ms,
                };
                *signature = known::request(self.known.secret(&stack.request_key), &auth).0;
            }
            _ => {}
        }
    }

    fn sign_voucher(&self, stack: Address, node: u64, voucher: &mut Signed) {
        let Some(stack) = self.stack(stack) else { return };
        let secret = self.known.secret(&stack.request_key);
        let fields = (voucher.units, voucher.count, voucher.root.clone());
        *voucher = known::voucher(secret, (stack.db, stack.id, node), fields);
    }
}

pub(crate) struct Spoiler<'a> {
    dice: &'a mut Dice,
    others: &'a [Address],
}

/// What can be made wrong.
pub(crate) trait Spoil {
    fn spoil(&mut self, spoiler: &mut Spoiler);
}

impl Spoil for u64 {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        let value = *self;
        *self = match spoiler.dice.below(10) {
            0 => 0,
            1 => u64::MAX,
            2 => value / 2,
            3 => value.saturating_mul(2),
            4 => spoiler.dice.below(20),
            5 | 6 => value.saturating_sub(1),
            _ => value.saturating_add(1),
        };
    }
}

impl Spoil for u32 {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        *self = spoiler.dice.of([0, u32::MAX, self.saturating_add(1), self.saturating_sub(1)]);
    }
}

impl Spoil for u16 {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        *self = u16::try_from(spoiler.dice.below(24)).unwrap_or(0);
    }
}

impl Spoil for u8 {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        *self = u8::try_from(spoiler.dice.below(4)).unwrap_or(0);
    }
}

impl Spoil for bool {
    fn spoil(&mut self, _: &mut Spoiler) {
        *self = !*self;
    }
}

impl Spoil for Address {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        *self = spoiler.dice.pick(spoiler.others).unwrap_or(*self);
    }
}

impl Spoil for String {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        match spoiler.dice.below(5) {
            0 => self.clear(),
            1 => self.push(' '),
            2 => self.push('é'),
            3 => self.push('\u{7f}'),
            _ => self.push_str(&"x".repeat(257)),
        }
    }
}

impl Spoil for Vec<u8> {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        let at = spoiler.dice.index(self.len());
        match spoiler.dice.below(6) {
            0 => self.clear(),
            1 => drop(self.pop()),
            2 => self.push(0),
            _ => {
                if let Some(byte) = self.get_mut(at) {
                    *byte ^= 1 << spoiler.dice.below(8);
                }
            }
        }
    }
}

impl<T: Spoil + Clone> Spoil for SpoilVec<'_, T> {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        let at = spoiler.dice.index(self.0.len());
        match spoiler.dice.below(5) {
            0 => drop(self.0.pop()),
            1 => {
                if let Some(last) = self.0.last().cloned() {
                    self.0.push(last);
                }
            }
            2 => self.0.reverse(),
            _ => {
                if let Some(item) = self.0.get_mut(at) {
                    item.spoil(spoiler);
                }
            }
        }
    }
}

/// A list whose items can be spoilt.
struct SpoilVec<'a, T>(&'a mut Vec<T>);

impl Spoil for Vec<u64> {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        SpoilVec(self).spoil(spoiler);
    }
}

impl Spoil for Vec<Vec<u8>> {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        SpoilVec(self).spoil(spoiler);
    }
}

impl Spoil for [u8; 32] {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        self[spoiler.dice.index(32)] ^= 1;
    }
}

impl Spoil for Option<u32> {
    fn spoil(&mut self, _: &mut Spoiler) {
        *self = None;
    }
}

impl Spoil for Target {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        match self {
            Self::Channel { stack, node } => match spoiler.dice.one_in(2) {
                true => stack.spoil(spoiler),
                false => node.spoil(spoiler),
            },
            Self::Dispute(dispute) => dispute.spoil(spoiler),
        }
    }
}

impl Spoil for Shown {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        match spoiler.dice.below(3) {
            0 => self.record.spoil(spoiler),
            1 => self.index.spoil(spoiler),
            _ => self.proof.spoil(spoiler),
        }
    }
}

impl Spoil for Signed {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        match spoiler.dice.below(4) {
            0 => self.units.spoil(spoiler),
            1 => self.count.spoil(spoiler),
            2 => self.root.spoil(spoiler),
            _ => self.signature.spoil(spoiler),
        }
    }
}

impl Spoil for BlobSpec {
    fn spoil(&mut self, spoiler: &mut Spoiler) {
        match spoiler.dice.below(5) {
            0 => self.size.spoil(spoiler),
            1 => self.encoding_type.spoil(spoiler),
            2 => self.certified_epoch.spoil(spoiler),
            3 => self.end_epoch.spoil(spoiler),
            _ => self.deletable.spoil(spoiler),
        }
    }
}

/// Versions are set by the tests alone: nothing about them is spoilt.
impl Spoil for Aged {
    fn spoil(&mut self, _: &mut Spoiler) {}
}

/// Spoils one of a call's arguments.
pub(crate) fn one_of(fields: &mut [&mut dyn Spoil], spoiler: &mut Spoiler) {
    let at = spoiler.dice.index(fields.len());
    if let Some(field) = fields.get_mut(at) {
        field.spoil(spoiler);
    }
}
