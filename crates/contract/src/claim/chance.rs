//! What chance decides about a claim: whether it is audited, and of which records.

use crate::Result;
use crate::draw::value;
use atoma_types::onchain::{Abort, Params};
use atoma_types::{Address, Amount, Hash32, NodeId, Units};

/// Chances are parts of this.
const PPB: u64 = 1_000_000_000;

/// Chance, in parts of 10^9, that a claim of `amount` is audited: so high that cheating costs more than it
/// gains. At least `p_min`, at most certain; statistical tasks have a fixed chance.
pub fn p_ppb(params: &Params, exact: bool, amount: Amount, collateral: Amount) -> Result<u64> {
    if !exact {
        return Ok(params.p_stat_ppb.min(PPB));
    }
    let chance = needed(params, amount, collateral)?.max(params.p_min_ppb.into());
    Ok(u64::try_from(chance).unwrap_or(PPB).min(PPB))
}

/// Whether an audit with a chance of at most one deters from cheating on a claim of `amount`. A larger one
/// gains more than `collateral` and claim can lose, even if it is surely audited: some audits fail.
pub fn is_covered(params: &Params, exact: bool, amount: Amount, collateral: Amount) -> Result<bool> {
    Ok(!exact || needed(params, amount, collateral)? <= PPB.into())
}

/// With cost ratio c, collusion share r and safety in permille, R the amount and S what a conviction takes of
/// the node's collateral: `ceil(safety·c·R·10^9 / (1000·(1000−r)·(R+S)))`. Bookings do not count: they are no
/// longer the node's.
fn needed(params: &Params, amount: Amount, collateral: Amount) -> Result<u128> {
    let at_stake = u128::from(collateral.share(params.fraud_permille)?.0) + u128::from(amount.0);
    if at_stake == 0 {
        return Ok(PPB.into());
    }
    let honest = 1_000u64.checked_sub(params.collusion_permille).ok_or(Abort::Arithmetic)?;
    let gain = u128::from(params.safety_permille) * u128::from(params.cost_permille);
    let numerator = (gain * u128::from(amount.0)).checked_mul(PPB.into()).ok_or(Abort::Arithmetic)?;
    let denominator = 1_000 * u128::from(honest) * at_stake;
    Ok(numerator.div_ceil(denominator.max(1)))
}

/// The seed of one claim in its beacon round. `target` is the stack or dispute that holds it.
pub fn claim_seed(round_seed: &Hash32, target: Address, node: NodeId, count: u64) -> Hash32 {
    let (node, count) = (node.0.to_le_bytes(), count.to_le_bytes());
    Hash32::of_parts(&[round_seed.as_bytes(), target.as_bytes(), &node, &count])
}

/// Whether the claim with this seed is audited.
pub fn is_drawn(seed: &Hash32, p_ppb: u64) -> bool {
    let hash = Hash32::of(seed.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    u64::from_le_bytes(first) % PPB < p_ppb
}

/// `count` units of `(from, to]`, one per value from 0 on, duplicates kept. Units, not leaves: one fat faked
/// record must be found in proportion to what it charges.
pub fn offsets(seed: &Hash32, from: Units, to: Units, count: u64) -> Result<Vec<u64>> {
    let size = to.sub(from)?.0;
    let offset = |index| {
        let within = value(&seed.0, index).checked_rem(size).ok_or(Abort::Arithmetic)?;
        Ok(from.0 + 1 + within)
    };
    (0..count).map(offset).collect()
}

/// The seed that the jury is drawn from.
pub fn jury_seed(seed: &Hash32) -> Hash32 {
    Hash32::of_parts(&[seed.as_bytes(), b"jury"])
}
