//! The money and the rates of a key or an account, as far as this process has them.
//!
//! What is leased from the store is set aside for requests in memory; [`Purchase`] says what is missing. Money
//! set aside is a [`Hold`]: settled it is spent, dropped it is given back. Time is an argument.

use crate::keys::Key;
use crate::metrics::Leases;
use crate::rates::{Full, Rate, Standing, Window};
use crate::store::{Grant, Limits, PurseId, PurseKind, Want};
use atoma_types::Amount;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long it is believed that a purse has no more than it had.
const DENIED_FOR: Duration = Duration::from_millis(500);

/// A moment, as the limits see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    /// Since 1970.
    pub(crate) second: u64,
    /// Days since 1970 in UTC.
    pub(crate) day: i64,
}

impl Now {
    pub(crate) fn read() -> Self {
        let second = crate::store::now_ms() / 1_000;
        Self { instant: Instant::now(), second, day: i64::try_from(second / 86_400).unwrap_or(i64::MAX) }
    }
}

/// What a process has of one purse.
#[derive(Debug, Default)]
struct Money {
    /// Leased and not spent. Negative for a moment if a lease was lost while it was in use.
    leased: i128,
    reserved: i128,
    /// Used since the last look for what is idle.
    used: bool,
    /// When less was left than somebody needed, and how much it was.
    denied: Option<(Instant, Amount)>,
}

impl Money {
    fn free(&self) -> i128 {
        self.leased.saturating_sub(self.reserved)
    }

    fn is_denied(&self, need: Amount, now: Instant) -> bool {
        self.denied.is_some_and(|(at, left)| need > left && now.saturating_duration_since(at) < DENIED_FOR)
    }

    /// All that is free, if nobody used it lately. It is out of use then.
    fn idle(&mut self) -> Option<Amount> {
        let is_idle = !std::mem::take(&mut self.used);
        let free = u64::try_from(self.free()).ok().filter(|free| is_idle && *free > 0)?;
        self.leased -= i128::from(free);
        Some(Amount(free))
    }
}

/// Who has purses and rates.
#[derive(Debug)]
pub(crate) struct Owner {
    id: i64,
    is_account: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limits: Limits,
    total: Money,
    day: i64,
    today: Money,
    requests: Option<Box<Window>>,
    units: Option<Box<Window>>,
}

/// Why a request may not be sent now.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too many in this minute.
    Rate(Rate, Full),
    /// The purse was found to have less a moment ago.
    Empty(PurseKind),
    /// These must be leased first.
    Short(Vec<Want>),
}

impl Owner {
    pub(crate) fn new(id: i64, is_account: bool, limits: Limits) -> Self {
        Self { id, is_account, state: Mutex::new(State { limits, ..State::default() }) }
    }

    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        self.state().limits = limits;
    }

    fn purse(&self, of_day: bool, day: i64) -> PurseId {
        let kind = match (self.is_account, of_day) {
            (false, false) => PurseKind::Key,
            (false, true) => PurseKind::KeyDay,
            (true, false) => PurseKind::Account,
            (true, true) => PurseKind::AccountDay,
        };
        PurseId { kind, owner: self.id, day: if of_day { day } else { 0 } }
    }

    /// What was leased, or that there is no more.
    pub(crate) fn granted(&self, grant: &Grant, now: Instant) {
        let mut state = self.state();
        let Some(money) = state.money(grant.purse) else { return };
        money.leased += i128::from(grant.amount.0);
        // Who only hears that there is no more must still give back what it has, too little for itself.
        money.used |= !grant.amount.is_zero();
        money.denied = grant.left.filter(|_| grant.amount.is_zero()).map(|left| (now, left));
    }

    /// As the store has it.
    pub(crate) fn correct(&self, purse: PurseId, delta: i128) {
        if let Some(money) = self.state().money(purse) {
            money.leased = money.leased.saturating_add(delta);
        }
    }

    /// What is leased of budget or balance; what may be spent in a day is the same money.
    pub(crate) fn leases(&self) -> Leases {
        let state = self.state();
        Leases { leased: state.total.leased, reserved: state.total.reserved }
    }

    /// Takes what was not used since the last call out of use.
    pub(crate) fn idle(&self) -> Vec<(PurseId, Amount)> {
        let mut state = self.state();
        let (total, day) = (self.purse(false, 0), self.purse(true, state.day));
        let total = state.total.idle().map(|amount| (total, amount));
        let today = state.today.idle().map(|amount| (day, amount));
        total.into_iter().chain(today).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn money(&mut self, purse: PurseId) -> Option<&mut Money> {
        match purse.kind.is_of_day() {
            false => Some(&mut self.total),
            true if purse.day == self.day => Some(&mut self.today),
            true => None,
        }
    }

    fn begin_day(&mut self, day: i64) {
        if self.day != day {
            // What is leased of the old day nobody needs any more.
            (self.day, self.today) = (day, Money::default());
        }
    }

    /// What is missing to set so much aside.
    fn missing(&self, owner: &Owner, most: Amount, now: Now) -> Result<Vec<Want>, Refused> {
        let day_cap = self.limits.spend_per_day;
        let purses = [(false, &self.total, None), (true, &self.today, day_cap)];
        let mut wants = Vec::new();
        for (of_day, money, cap) in purses {
            if of_day && cap.is_none() {
                continue;
            }
            let purse = owner.purse(of_day, now.day);
            let need = i128::from(most.0).saturating_sub(money.free());
            if need <= 0 {
                continue;
            }
            let need = Amount(u64::try_from(need).unwrap_or(u64::MAX));
            if money.is_denied(need, now.instant) {
                return Err(Refused::Empty(purse.kind));
            }
            wants.push(Want { purse, need, cap });
        }
        Ok(wants)
    }

    fn check_units(&mut self, units: u64, now: Now) -> Result<(), Refused> {
        let Some(limit) = self.limits.units_per_minute else { return Ok(()) };
        let window = self.units.get_or_insert_default();
        window.check(limit, units, now.second).map_err(|full| Refused::Rate(Rate::Units, full))
    }

    /// Returns the bits of the purses that it is taken of.
    fn take(&mut self, owner: &Owner, most: Amount, units: u64, now: Now) -> i64 {
        let mut purses = 0;
        for of_day in [false, true] {
            if of_day && self.limits.spend_per_day.is_none() {
                continue;
            }
            let purse = owner.purse(of_day, now.day);
            if let Some(money) = self.money(purse) {
                money.reserved += i128::from(most.0);
                money.used = true;
                purses |= purse.kind.bit();
            }
        }
        if self.limits.units_per_minute.is_some() {
            self.units.get_or_insert_default().take(units, now.second);
        }
        purses
    }

    fn end(&mut self, purses: impl Iterator<Item = PurseId>, most: Amount, cost: Amount) {
        for purse in purses {
            if let Some(money) = self.money(purse) {
                money.reserved -= i128::from(most.0);
                money.leased -= i128::from(cost.0);
            }
        }
    }
}

/// Counts a request of these owners, or says which minute is full. Nothing is counted then.
pub(crate) fn count_request(owners: &[&Owner], now: Now) -> Result<(), Full> {
    let mut states: Vec<_> = owners.iter().map(|owner| owner.state()).collect();
    for state in &mut states {
        if let Some(limit) = state.limits.requests_per_minute {
            state.requests.get_or_insert_default().check(limit, 1, now.second)?;
        }
    }
    for state in &mut states {
        if state.limits.requests_per_minute.is_some() {
            state.requests.get_or_insert_default().take(1, now.second);
        }
    }
    Ok(())
}

/// Where the rates of these owners stand.
pub(crate) fn standings(owners: &[&Owner], now: Now) -> Vec<(Rate, Standing)> {
    let mut found = Vec::new();
    for owner in owners {
        let mut state = owner.state();
        let Limits { requests_per_minute, units_per_minute, .. } = state.limits;
        if let Some(limit) = requests_per_minute {
            let window = state.requests.get_or_insert_default();
            found.push((Rate::Requests, window.standing(limit, now.second)));
        }
        if let Some(limit) = units_per_minute {
            found.push((Rate::Units, state.units.get_or_insert_default().standing(limit, now.second)));
        }
    }
    found
}

/// What a request is to have set aside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purchase {
    pub(crate) most: Amount,
    pub(crate) units: u64,
    /// Of the ledger, read before.
    pub(crate) generation: u64,
}

/// Sets aside the most that a request can cost, of all purses of all owners or of none.
pub(crate) fn hold(key: &Arc<Key>, purchase: Purchase, now: Now) -> Result<Hold, Refused> {
    let Purchase { most, units, generation } = purchase;
    let owners = key.owners();
    let mut states: Vec<_> = owners.iter().map(|owner| owner.state()).collect();
    let mut wants = Vec::new();
    for (state, owner) in states.iter_mut().zip(&owners) {
        state.begin_day(now.day);
        state.check_units(units, now)?;
        wants.extend(state.missing(owner, most, now)?);
    }
    if !wants.is_empty() {
        return Err(Refused::Short(wants));
    }
    let taken = states.iter_mut().zip(&owners).map(|(state, owner)| state.take(owner, most, units, now));
    let purses = taken.fold(0, |all, bits| all | bits);
    drop(states);
    let mut hold = Hold::of(key, most, purses, now.day, generation);
    (hold.units, hold.second) = (units, now.second);
    Ok(hold)
}

/// What must be leased before so much can be set aside; nothing if it is known to be in vain.
pub(crate) fn wants(key: &Key, most: Amount, now: Now) -> Vec<Want> {
    let missing = |owner: &&Owner| owner.state().missing(owner, most, now);
    let wants: Result<Vec<_>, _> = key.owners().iter().map(missing).collect();
    wants.unwrap_or_default().into_iter().flatten().collect()
}

/// What was set aside before a crash, and leased again for it.
pub(crate) fn hold_again(key: &Arc<Key>, most: Amount, purses: i64, day: i64, generation: u64) -> Hold {
    let hold = Hold::of(key, most, purses, day, generation);
    for owner in key.owners() {
        let mut state = owner.state();
        state.begin_day(Now::read().day);
        for purse in hold.purses_of(owner) {
            if let Some(money) = state.money(purse) {
                money.leased += i128::from(most.0);
                money.reserved += i128::from(most.0);
            }
        }
    }
    hold
}

/// Money that a request in flight may use. Dropped, it gives everything back.
#[derive(Debug)]
pub(crate) struct Hold {
    key: Arc<Key>,
    most: Amount,
    purses: i64,
    day: i64,
    units: u64,
    second: u64,
    generation: u64,
    /// What it came to.
    cost: Amount,
    used_units: u64,
}

impl Hold {
    fn of(key: &Arc<Key>, most: Amount, purses: i64, day: i64, generation: u64) -> Self {
        let (cost, key) = (Amount::ZERO, Arc::clone(key));
        Self { key, most, purses, day, units: 0, second: 0, generation, cost, used_units: 0 }
    }

    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    pub(crate) fn amount(&self) -> Amount {
        self.most
    }

    pub(crate) fn units(&self) -> u64 {
        self.units
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn payers(&self) -> crate::store::Payers {
        crate::store::Payers {
            key: self.key.id,
            account: self.key.account().map(|account| account.id()),
            purses: self.purses,
            day: self.day,
        }
    }

    /// Keeps it set aside until the process ends.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }

    /// Spends what the request cost, never more than was set aside, and gives back the rest.
    pub(crate) fn settle(mut self, cost: Amount, units: u64) {
        (self.cost, self.used_units) = (cost.min(self.most), units);
    }

    fn purses_of(&self, owner: &Owner) -> impl Iterator<Item = PurseId> {
        let is_account = owner.is_account;
        self.payers().purses().filter(move |purse| purse.kind.is_of_account() == is_account)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        for owner in self.key.owners() {
            let mut state = owner.state();
            state.end(self.purses_of(owner), self.most, self.cost);
            if let Some(window) = &mut state.units {
                window.give(self.units.saturating_sub(self.used_units), self.second);
            }
        }
    }
}
