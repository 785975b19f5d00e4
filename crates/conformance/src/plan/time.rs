//! Time between steps: little by little, or to just before, at or just after a moment that matters.

use super::Director;
use atoma_types::onchain::{Audit, Stack};

impl Director {
    pub(super) fn let_time_pass(&mut self) {
        match self.dice.below(40) {
            0..=11 => self.clock_ms += self.dice.below(50),
            12 | 13 => self.clock_ms += self.dice.below(3_000),
            14 => self.clock_ms = self.clock_ms.max(self.moment()),
            15 => self.epoch += 1,
            _ => {}
        }
        if self.dice.one_in(400) {
            self.epoch += self.dice.below(60);
        }
    }

    /// Around one of the next moments that matter.
    fn moment(&mut self) -> u64 {
        let mut moments = self.moments();
        let now = self.clock_ms;
        moments.retain(|moment| *moment > now && *moment < u64::MAX / 2);
        moments.sort_unstable();
        // Near ones more often: what is far ends everything before.
        moments.truncate(if self.dice.one_in(6) { usize::MAX } else { 3 });
        let moment = self.dice.pick(&moments).unwrap_or(now);
        moment - 1 + self.dice.below(3)
    }

    fn moments(&self) -> Vec<u64> {
        let mut moments = Vec::new();
        for stack in self.world.stacks.values() {
            moments.extend([stack.ends_ms(), stack.settle_until_ms()]);
            for row in &stack.channels {
                if row.closed_ms > 0 {
                    moments.push(row.closed_ms.saturating_add(stack.params.close_delay_ms));
                    moments.push(row.closed_ms.saturating_add(stack.params.dispute_window_ms));
                }
                if let Some(claim) = &row.claim {
                    moments.extend(claim.audit.as_ref().map_or([0; 2], |audit| deadlines(audit, stack)));
                    moments.push(claim.resolved_ms.saturating_add(stack.params.challenge_ms));
                    moments.push(claim.resolved_ms.saturating_add(stack.params.hold_ms));
                }
            }
        }
        for dispute in self.world.disputes.values() {
            moments.push(dispute.deadline_ms);
            moments.push(dispute.late_ms.saturating_add(dispute.params.grace_ms));
        }
        for node in self.world.dbs.iter().flat_map(|db| db.nodes.values()) {
            moments.extend([node.exit_ms, node.timeout_until_ms, node.attestation.expires_ms]);
            moments.extend(node.bookings.iter().map(|booking| booking.until_ms));
        }
        let proposals = self.world.locks.iter().filter_map(|lock| lock.proposal);
        moments.extend(proposals.filter_map(|proposal| proposal.ready_ms(0).ok()));
        moments
    }
}

fn deadlines(audit: &Audit, stack: &Stack) -> [u64; 2] {
    [audit.deadline_ms, audit.late_ms.saturating_add(stack.params.grace_ms)]
}
