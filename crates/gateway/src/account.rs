//! What is set aside for the attempts of one request.
//!
//! Each attempt is a promise of its own to a node, so each has its own part of the key's money and its own row
//! in the store, until it is known what that attempt cost. So a key is charged for every receipt that the
//! gateway's stacks settle, for each once, and for nothing else.

use crate::keys::Key;
use crate::money::Hold;
use crate::serve::Gateway;
use crate::store::{Reservation, ReservationId};
use atoma_client::ApiError;
use atoma_client::channel::{Completion, Sent};
use atoma_client::session::Note;
use atoma_types::Amount;
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot::{self, error::TryRecvError};

/// What settles an attempt: who pays, and what is set aside.
pub(crate) struct Account {
    pub(crate) reservation: ReservationId,
    pub(crate) model: String,
    pub(crate) hold: Hold,
}

/// An attempt that may have to be paid.
pub(crate) struct Attempt {
    pub(crate) account: Account,
    pub(crate) paid: oneshot::Receiver<Completion>,
}

/// Writes down what each attempt of a request may cost.
pub(crate) struct Notebook<'a> {
    gateway: &'a Gateway,
    key: Arc<Key>,
    most: Amount,
    units: u64,
    model: String,
    state: Mutex<State>,
}

struct State {
    /// For the first attempt.
    first: Option<Hold>,
    attempts: Vec<Attempt>,
}

impl<'a> Notebook<'a> {
    pub(crate) fn new(gateway: &'a Gateway, model: String, hold: Hold) -> Self {
        let (key, most, units) = (Arc::clone(hold.key()), hold.amount(), hold.units());
        let state = Mutex::new(State { first: Some(hold), attempts: Vec::new() });
        Self { gateway, key, most, units, model, state }
    }

    /// The attempts whose cost is not settled.
    pub(crate) fn attempts(self) -> Vec<Attempt> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).attempts
    }

    /// For the next attempt: what an earlier one certainly leaves, or else as much again of the budget.
    async fn account(&self) -> Result<Account, ApiError> {
        if let Some(hold) = self.state().first.take() {
            return Ok(self.new_account(hold));
        }
        let mut left = None;
        let earlier = std::mem::take(&mut self.state().attempts);
        for mut attempt in earlier {
            match attempt.paid.try_recv() {
                Ok(Completion::Unpaid { .. }) if left.is_none() => left = Some(attempt.account),
                Ok(completion) => self.gateway.settle(attempt.account, Some(completion)).await,
                Err(TryRecvError::Empty) => self.state().attempts.push(attempt),
                Err(TryRecvError::Closed) => self.gateway.settle(attempt.account, None).await,
            }
        }
        match left {
            Some(account) => Ok(account),
            None => {
                let hold = self.gateway.hold(&self.key, self.most, self.units).await;
                Ok(self.new_account(hold.map_err(|refusal| refusal.error)?))
            }
        }
    }

    fn new_account(&self, hold: Hold) -> Account {
        let reservation = self.gateway.ledger.new_reservation();
        Account { reservation, model: self.model.clone(), hold }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Note for Notebook<'_> {
    fn before_send(
        &self,
        sent: Sent,
        paid: oneshot::Receiver<Completion>,
    ) -> BoxFuture<'_, Result<(), ApiError>> {
        Box::pin(async move {
            let account = self.account().await?;
            let (id, hold) = (account.reservation, &account.hold);
            let (payers, most, generation) = (hold.payers(), hold.amount(), hold.generation());
            let reservation = Reservation { id, payers, most, model: self.model.clone(), sent };
            self.state().attempts.push(Attempt { account, paid });
            self.gateway.ledger.reserve(reservation, generation).await.map_err(crate::api::store_failed)
        })
    }
}
