//! What a transaction costs. Sui's shape with one computation bucket: a flat computation charge, storage
//! paid per byte written and given back, less one percent, when the bytes are rewritten or deleted.

use sui_sdk_types::{GasCostSummary, Object};

/// Reference gas price in MIST.
pub(crate) const REFERENCE_PRICE: u64 = 1_000;
/// Most a transaction may offer to pay: 50 SUI.
pub(crate) const MAX_BUDGET: u64 = 50_000_000_000;
/// Gas units of every transaction: Sui's smallest bucket.
const COMPUTATION_UNITS: u64 = 1_000;
const STORAGE_PER_BYTE: u64 = 7_600;
const NON_REFUNDABLE_PERCENT: u64 = 1;

/// Computation charge at `price`, and with it the smallest budget.
pub(crate) fn computation(price: u64) -> u64 {
    COMPUTATION_UNITS.saturating_mul(price)
}

/// Deposit for keeping this object.
pub(crate) fn storage_cost(object: &Object) -> u64 {
    let bytes = ::bcs::serialized_size(object).unwrap_or(usize::MAX);
    u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(STORAGE_PER_BYTE)
}

/// The bill for writing objects with `stored` deposits in place of objects with `released` deposits.
pub(crate) fn bill(price: u64, stored: u64, released: u64) -> GasCostSummary {
    let kept = released.saturating_mul(NON_REFUNDABLE_PERCENT).div_ceil(100).min(released);
    GasCostSummary::new(computation(price), stored, released.saturating_sub(kept), kept)
}

/// Balance of the gas coin after the bill, `None` if it does not cover it.
pub(crate) fn settle(balance: u64, bill: &GasCostSummary) -> Option<u64> {
    let owed = bill.computation_cost.checked_add(bill.storage_cost)?;
    balance.checked_add(bill.storage_rebate)?.checked_sub(owed)
}

/// Whether the bill stays within the budget.
pub(crate) fn within(budget: u64, bill: &GasCostSummary) -> bool {
    let owed = bill.computation_cost.saturating_add(bill.storage_cost);
    owed.saturating_sub(bill.storage_rebate) <= budget
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_percent_of_a_deposit_stays_behind() {
        let bill = bill(1_000, 500, 1_000);
        assert_eq!((bill.storage_rebate, bill.non_refundable_storage_fee), (990, 10));
        assert_eq!(settle(2_000_000, &bill), Some(2_000_000 - 1_000_000 - 500 + 990));
        assert_eq!(settle(10, &bill), None);
    }
}
