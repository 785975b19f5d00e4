//! Integer money. Amounts are base units of the market's coin, units are weighted tokens, prices are
//! base units per million units. Every operation is checked; nothing here rounds twice.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An amount, unit count or price left the range of `u64`, or went below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("amount out of range")]
pub struct ArithmeticError;

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            pub const ZERO: Self = Self(0);
            pub const MAX: Self = Self(u64::MAX);

            #[expect(clippy::should_implement_trait, reason = "checked: the operators cannot return a Result")]
            pub fn add(self, other: Self) -> Result<Self, ArithmeticError> {
                self.0.checked_add(other.0).map(Self).ok_or(ArithmeticError)
            }

            #[expect(clippy::should_implement_trait, reason = "checked: the operators cannot return a Result")]
            pub fn sub(self, other: Self) -> Result<Self, ArithmeticError> {
                self.0.checked_sub(other.0).map(Self).ok_or(ArithmeticError)
            }

            pub fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            pub fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

quantity!(
    /// Base units of the market's coin (10^6 of them are one USDC).
    Amount
);
quantity!(
    /// Compute units: weighted tokens, pixels or milliseconds.
    Units
);
quantity!(
    /// Base units of the coin per 10^6 compute units.
    Price
);

/// Units per priced lot.
const PRICE_LOT: u128 = 1_000_000;
/// Parts of a whole in which weights and shares are given.
const PERMILLE: u128 = 1_000;

impl Price {
    /// `floor(units * price / 10^6)`. Payments are differences of this function at cumulative counts, so
    /// that rounding telescopes.
    pub fn cost(self, units: Units) -> Result<Amount, ArithmeticError> {
        narrow(u128::from(units.0) * u128::from(self.0) / PRICE_LOT).map(Amount)
    }
}

impl Amount {
    /// `floor(self * permille / 1000)`.
    pub fn share(self, permille: u64) -> Result<Self, ArithmeticError> {
        narrow(u128::from(self.0) * u128::from(permille) / PERMILLE).map(Self)
    }

    /// `floor(self * part / whole)`; zero of a zero whole.
    pub fn pro_rata(self, part: Units, whole: Units) -> Result<Self, ArithmeticError> {
        if whole.is_zero() {
            return Ok(Self::ZERO);
        }
        let product = u128::from(self.0).checked_mul(u128::from(part.0)).ok_or(ArithmeticError)?;
        narrow(product / u128::from(whole.0)).map(Self)
    }

    /// The sum of all, or an error if it leaves the range.
    pub fn total(amounts: impl IntoIterator<Item = Self>) -> Result<Self, ArithmeticError> {
        amounts.into_iter().try_fold(Self::ZERO, Self::add)
    }

    /// The amount in whole coins of six decimals, for people: `1.234567`.
    pub fn display_coins(self) -> String {
        format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Permille weights by which a task turns tokens into units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitWeights {
    pub input: u64,
    pub output: u64,
}

impl Default for UnitWeights {
    fn default() -> Self {
        Self { input: 1_000, output: 1_000 }
    }
}

impl UnitWeights {
    /// `ceil((input * w_in + output * w_out) / 1000)`.
    pub fn units(self, input: u64, output: u64) -> Result<Units, ArithmeticError> {
        let weighted = (u128::from(input) * u128::from(self.input))
            .checked_add(u128::from(output) * u128::from(self.output))
            .ok_or(ArithmeticError)?;
        narrow(weighted.div_ceil(PERMILLE)).map(Units)
    }

    /// The most output tokens that fit into `units` beside `input` tokens; `None` if the input alone
    /// does not fit.
    pub fn output_within(self, units: Units, input: u64) -> Option<u64> {
        let room = u128::from(units.0) * PERMILLE;
        let left = room.checked_sub(u128::from(input) * u128::from(self.input))?;
        if self.output == 0 {
            return Some(u64::MAX);
        }
        Some(u64::try_from(left / u128::from(self.output)).unwrap_or(u64::MAX))
    }
}

fn narrow(value: u128) -> Result<u64, ArithmeticError> {
    u64::try_from(value).map_err(|_| ArithmeticError)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cost_floors_and_refuses_overflow() {
        assert_eq!(Price(3).cost(Units(333_333)), Ok(Amount(0)));
        assert_eq!(Price(3).cost(Units(333_334)), Ok(Amount(1)));
        assert_eq!(Price(u64::MAX).cost(Units(1_000_001)), Err(ArithmeticError));
    }

    #[test]
    fn units_are_weighted_tokens_rounded_up() {
        let weights = UnitWeights { input: 250, output: 1_000 };
        assert_eq!(weights.units(1, 0), Ok(Units(1)));
        assert_eq!(weights.units(4, 2), Ok(Units(3)));
        assert_eq!(weights.output_within(Units(3), 4), Some(2));
        assert_eq!(weights.output_within(Units(0), 1), None);
    }

    proptest! {
        #[test]
        fn payments_telescope(price in 0..=1_000_000_000_000u64, mut cuts in prop::collection::vec(0..=1_000_000_000_000u64, 1..20)) {
            cuts.sort_unstable();
            let price = Price(price);
            let mut paid = Amount::ZERO;
            let mut at = Units::ZERO;
            for cut in &cuts {
                let step = price.cost(Units(*cut)).unwrap().sub(price.cost(at).unwrap()).unwrap();
                paid = paid.add(step).unwrap();
                at = Units(*cut);
            }
            prop_assert_eq!(paid, price.cost(at).unwrap());
        }

        #[test]
        fn output_within_is_the_largest_that_fits(units in 0..1_000_000u64, input in 0..10_000u64, w_in in 0..5_000u64, w_out in 1..5_000u64) {
            let weights = UnitWeights { input: w_in, output: w_out };
            if let Some(output) = weights.output_within(Units(units), input) {
                prop_assert!(weights.units(input, output).unwrap().0 <= units);
                prop_assert!(weights.units(input, output + 1).unwrap().0 > units);
            } else {
                prop_assert!(weights.units(input, 0).unwrap().0 > units);
            }
        }
    }
}
