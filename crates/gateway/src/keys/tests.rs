#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::money::{Hold, Now, Purchase, Refused, hold, hold_again};
use crate::store::PurseKind;
use proptest::prelude::*;

fn row(secret: &str) -> KeyRow {
    KeyRow {
        id: KeyId(1),
        hash: hash_of(secret),
        last4: last4(secret),
        name: String::new(),
        budget: None,
        disabled: false,
        account: None,
        scopes: Scopes::ALL,
        expires_ms: None,
        limits: Limits::default(),
        created_ms: 0,
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), second: 1_000, day: 1 }
}

fn reserve(key: &Arc<Key>, most: u64) -> Result<Hold, Refused> {
    hold(key, Purchase { most: Amount(most), units: 1, generation: 0 }, now())
}

/// A key with so much leased.
fn leased(amount: u64) -> Arc<Key> {
    let key = Arc::new(Key::new(row("atoma-x"), None, 1));
    grant(&key, amount);
    key
}

fn grant(key: &Key, amount: u64) {
    let purse = PurseId { kind: PurseKind::Key, owner: 1, day: 0 };
    key.purse.granted(&Grant { purse, amount: Amount(amount), left: None }, Instant::now());
}

#[test]
fn a_secret_finds_its_key_until_it_is_disabled_or_over() {
    let (keys, secret) = (Keys::new(1), new_secret().unwrap());
    assert_eq!(secret.len(), PREFIX.len() + 64);
    keys.load(vec![], vec![row(&secret)]);
    assert!(secret.ends_with(&keys.find(&secret).unwrap().last4));
    assert!(keys.find(&new_secret().unwrap()).is_none());
    keys.load(vec![], vec![KeyRow { disabled: true, ..row(&secret) }]);
    assert!(keys.find(&secret).is_none());
    let over = KeyRow { id: KeyId(2), expires_ms: Some(1), ..row("atoma-over") };
    keys.load(vec![], vec![over]);
    assert!(keys.find("atoma-over").is_none());
}

#[test]
fn only_bearer_keys_of_ours_are_looked_up() {
    let with = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
    assert_eq!(bearer(&with("Bearer atoma-1")).unwrap(), "atoma-1");
    assert_eq!(bearer(&with("bearer  atoma-1")).unwrap(), "atoma-1");
    for bad in ["atoma-1", "Basic atoma-1", "Bearer sk-1", "Bearer", &"x".repeat(300)] {
        assert_eq!(bearer(&with(bad)).unwrap_err().code, "invalid_api_key");
    }
    assert_eq!(bearer(&HeaderMap::new()).unwrap_err().status, StatusCode::UNAUTHORIZED);
}

#[test]
fn scopes_are_names() {
    assert_eq!(Scopes::parse(["usage", "inference"]).unwrap().names(), ["inference", "usage"]);
    assert_eq!(Scopes::parse(["inference", "everything"]), None);
    assert_eq!(Scopes::parse([]), None);
    assert!(!Scopes::parse(["usage"]).unwrap().has(Scopes::INFERENCE));
}

#[test]
fn what_was_in_flight_before_a_crash_counts_in_full() {
    let key = Arc::new(Key::new(row("atoma-x"), None, 1));
    let before = hold_again(&key, Amount(60), PurseKind::Key.bit(), 0, 0);
    assert!(matches!(reserve(&key, 1), Err(Refused::Short(_))));
    grant(&key, 40);
    drop(reserve(&key, 40).unwrap());
    before.settle(Amount(10), 1);
    let unknown = reserve(&key, 90).unwrap();
    unknown.keep();
    assert!(reserve(&key, 1).is_err());
}

#[test]
fn a_lease_that_others_took_back_is_not_spent() {
    let key = leased(100);
    let in_flight = reserve(&key, 60).unwrap();
    let purse = PurseId { kind: PurseKind::Key, owner: 1, day: 0 };
    // The database kept only what a reservation of 30 holds.
    key.purse.correct(purse, -70);
    assert!(reserve(&key, 1).is_err());
    drop(in_flight);
    assert!(reserve(&key, 31).is_err());
    reserve(&key, 30).unwrap();
}

#[test]
fn idle_money_goes_back_only_if_nobody_used_it() {
    let key = leased(100);
    assert_eq!(key.purse.idle(), []);
    let kept = reserve(&key, 30).unwrap();
    assert_eq!(key.purse.idle(), []);
    let purse = PurseId { kind: PurseKind::Key, owner: 1, day: 0 };
    assert_eq!(key.purse.idle(), [(purse, Amount(70))]);
    assert!(reserve(&key, 1).is_err());
    kept.settle(Amount(10), 1);
    reserve(&key, 20).unwrap();
}

#[test]
fn a_day_ends_and_the_next_has_its_own_money() {
    let limits = Limits { spend_per_day: Some(Amount(50)), ..Limits::default() };
    let key = Arc::new(Key::new(KeyRow { limits, ..row("atoma-x") }, None, 1));
    grant(&key, 100);
    let purchase = Purchase { most: Amount(50), units: 1, generation: 0 };
    let Err(Refused::Short(wants)) = hold(&key, purchase, now()) else { panic!("not short") };
    assert_eq!((wants.len(), wants[0].purse.day, wants[0].cap), (1, 1, Some(Amount(50))));
    key.purse.granted(&Grant { purse: wants[0].purse, amount: Amount(50), left: None }, Instant::now());
    let held = hold(&key, purchase, now()).unwrap();
    assert_eq!(held.payers().purses, PurseKind::Key.bit() | PurseKind::KeyDay.bit());
    held.settle(Amount(50), 1);
    let tomorrow = Now { day: 2, ..now() };
    let Err(Refused::Short(wants)) = hold(&key, purchase, tomorrow) else { panic!("not short") };
    assert_eq!((wants.len(), wants[0].purse.day), (1, 2));
}

proptest! {
    #[test]
    fn a_lease_is_never_exceeded_and_nothing_is_lost(
        budget in 0..10_000u64,
        steps in prop::collection::vec((0..2_000u64, 0..2_500u64, 0..3u8), 0..60),
    ) {
        let key = leased(budget);
        let (mut holds, mut spent) = (Vec::new(), 0);
        for (most, cost, then) in steps {
            if let Ok(hold) = reserve(&key, most) {
                holds.push((hold, cost));
            }
            match then {
                0 => {}
                1 => drop(holds.pop()),
                _ => if let Some((hold, cost)) = holds.pop() {
                    spent += cost.min(hold.amount().0);
                    hold.settle(Amount(cost), 1);
                }
            }
            let held: u64 = holds.iter().map(|(hold, _)| hold.amount().0).sum();
            prop_assert!(spent + held <= budget);
            // Exactly the rest is free.
            prop_assert!(reserve(&key, budget - spent - held).is_ok());
            prop_assert!(reserve(&key, budget - spent - held + 1).is_err());
        }
    }
}
