//! The numbers that the economics rest on.

use crate::bench::*;
use atoma_contract::audit::{JURY, JURY_MAJORITY};
use atoma_contract::claim::chance;
use atoma_contract::params;
use atoma_types::onchain::Params;
use atoma_types::{Address, Amount, Hash32, NodeId, Units};

fn p(params: &Params, amount: u64, collateral: u64) -> u64 {
    chance::p_ppb(params, true, Amount(amount), Amount(collateral)).unwrap()
}

#[test]
fn claims_of_1_5_and_20_are_audited_with_1_and_1_5_and_5_9_percent() {
    let (params, s) = (params::public(), 1_000 * COIN);
    assert_eq!(p(&params, COIN, s), 10_000_000);
    assert_eq!(p(&params, 5 * COIN, s), 14_917_915);
    assert_eq!(p(&params, 20 * COIN, s), 58_794_133);
}

/// Honest if p > C / ((1 − r)(R + S)): with r = ½, R = 1.2 C, S = 250 C that is 0.00796; if there were a way
/// out that cost a tenth of S, 0.076.
#[test]
fn the_equilibrium_is_that_of_the_design() {
    let base = Params {
        collusion_permille: 500,
        safety_permille: 1_000,
        cost_permille: 1_000,
        p_min_ppb: 1,
        ..params::public()
    };
    // C is R / 1.2: the cost ratio 1000 / 1.2, kept whole by scaling the safety.
    let params = Params { cost_permille: 5_000, safety_permille: 1_000, ..base };
    let p_six_fold = |s: u64| p(&params, 1_200_000, s * 1_000_000);
    assert_eq!(p_six_fold(250) / 6, 7_961_783);
    assert_eq!(p_six_fold(25) / 6, 76_335_878);
}

#[test]
fn what_chance_can_be_is_bounded() {
    let params = params::public();
    assert_eq!(p(&params, 0, 0), 1_000_000_000);
    assert_eq!(p(&params, u64::MAX, 0), 1_000_000_000);
    assert_eq!(p(&params, u64::MAX, u64::MAX), 1_000_000_000);
    assert_eq!(p(&params, 0, 1_000 * COIN), params.p_min_ppb);
    let most = Params { safety_permille: 100_000, cost_permille: 100_000, ..params.clone() };
    assert_eq!(p(&most, u64::MAX, u64::MAX), 1_000_000_000);
    let statistical = chance::p_ppb(&params, false, Amount(20 * COIN), Amount(1_000 * COIN)).unwrap();
    assert_eq!(statistical, params.p_stat_ppb);
}

/// A share of what the chance says is drawn: 2 000 claims at 5.9 %.
#[test]
fn draws_come_as_often_as_they_should() {
    let drawn = (0..20_000u64).filter(|n| {
        let round = Hash32::of(&n.to_le_bytes());
        chance::is_drawn(&chance::claim_seed(&round, Address::TWO, NodeId(1), 1), 58_793_985)
    });
    let drawn = drawn.count();
    assert!((1_050..1_300).contains(&drawn), "{drawn}");
}

/// Offsets are units: a record is found in proportion to what it charges, however many leaves hide it.
#[test]
fn one_fat_faked_record_among_many_small_ones_is_found() {
    let found = (0..1_000u64).filter(|n| {
        let offsets = chance::offsets(&Hash32::of(&n.to_le_bytes()), Units(100), Units(1_100), 1).unwrap();
        assert!(offsets[0] > 100 && offsets[0] <= 1_100);
        // 99 honest records of one unit each, then one of 901.
        offsets[0] > 199
    });
    let found = found.count();
    assert!((870..930).contains(&found), "{found}");
}

/// The seeds and values of one claim, as every implementation must derive them.
#[test]
fn seeds_are_known_answers() {
    let round = Hash32([7; 32]);
    let seed = chance::claim_seed(&round, Address::TWO, NodeId(3), 5);
    let parts: [&[u8]; 4] = [&[7; 32], Address::TWO.as_bytes(), &3u64.to_le_bytes(), &5u64.to_le_bytes()];
    assert_eq!(seed, Hash32::of(&parts.concat()));
    let jury = chance::jury_seed(&seed);
    assert_eq!(jury, Hash32::of(&[seed.as_bytes(), b"jury".as_slice()].concat()));
    let offsets = chance::offsets(&seed, Units(10), Units(20), 3).unwrap();
    let value = |i: u64| atoma_contract::draw::value(&seed.0, i);
    let expected: Vec<u64> = (0..3).map(|i| 11 + value(i) % 10).collect();
    assert_eq!(offsets, expected);
}

fn f(amount: u64) -> f64 {
    f64::from(u32::try_from(amount).unwrap())
}

/// P[Bin(7, share) ≥ 5]: the chance that colluders fill a jury's majority.
fn false_conviction(share: f64) -> f64 {
    let (jury, majority) = (i32::try_from(JURY).unwrap(), i32::try_from(JURY_MAJORITY).unwrap());
    let choose = |k: i32| (0..k).fold(1.0, |product, i| product * f64::from(jury - i) / f64::from(i + 1));
    (majority..=jury).map(|k| choose(k) * share.powi(k) * (1.0 - share).powi(jury - k)).sum()
}

#[test]
fn a_jury_is_hardly_ever_false() {
    assert!((false_conviction(0.2) - 0.0047).abs() < 0.0001);
    assert!((false_conviction(1.0 / 3.0) - 0.0453).abs() < 0.0001);
}

/// Many claims at once, all void on the first conviction: whatever their number and size, who cheats on all of
/// them loses in the mean. A cheat saves what its claims are worth; a drawn one is convicted with chance q.
#[test]
fn cheating_on_many_claims_at_once_does_not_pay() {
    let params = params::public();
    let q = f(params::conviction_ppb(params.collusion_permille, params.verifiers)) / 1e9;
    let collateral = 1_000 * COIN;
    let is_covered = |amount| chance::is_covered(&params, true, Amount(amount), Amount(collateral)).unwrap();
    assert!(is_covered(500 * COIN) && !is_covered(501 * COIN) && !is_covered(u64::MAX));
    for amount in [1, 2, 5, 20, 100, 500] {
        let chance = f(p(&params, amount * COIN, collateral)) / 1e9;
        for claims in [1, 2, 3, 5, 10, 30, 100, 300, 1_000] {
            let gain = f(amount) * f64::from(claims);
            let caught = 1.0 - (1.0 - chance * q).powi(claims);
            assert!(caught * (gain + 1_000.0) >= gain, "{claims} claims of {amount}");
        }
    }
}

/// One who cheats on a share of its claims is found within so many audits.
#[test]
fn a_cheat_rate_of_one_is_found_in_a_hundred_claims_with_63_percent() {
    let found = |claims: i32| 1.0 - (1.0 - 0.01f64).powi(claims);
    assert!((found(100) - 0.634).abs() < 0.001);
    assert!((found(300) - 0.951).abs() < 0.001);
}
