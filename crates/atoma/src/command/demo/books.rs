//! Where every coin is at one moment.

use crate::market::Market;
use anyhow::Result;
use atoma_types::{Address, Amount};
use serde::Serialize;

/// Base units by party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Books {
    pub(crate) user: Amount,
    pub(crate) creator: Amount,
    /// Wallets of the nodes.
    pub(crate) nodes: Vec<Amount>,
    /// Collateral locked by the nodes.
    pub(crate) collateral: Amount,
    pub(crate) treasury: Amount,
    /// Inside the stack.
    pub(crate) escrow: Amount,
}

impl Books {
    pub(crate) async fn read(market: &Market, user: Address, stack: Option<Address>) -> Result<Self> {
        let chain = &market.chain;
        let mut nodes = Vec::with_capacity(market.nodes.len());
        for node in &market.nodes {
            nodes.push(chain.balances(node.wallet.address()).await?.coin);
        }
        let escrow = match stack {
            Some(id) => chain.stack(id).await?.map_or(Amount::ZERO, |stack| stack.balance),
            None => Amount::ZERO,
        };
        Ok(Self {
            user: chain.balances(user).await?.coin,
            creator: chain.balances(market.creator.address()).await?.coin,
            nodes,
            collateral: Amount::total(chain.nodes().await?.iter().map(|node| node.collateral))?,
            treasury: chain.treasury().await?,
            escrow,
        })
    }

    pub(crate) fn nodes_total(&self) -> Result<Amount> {
        Ok(Amount::total(self.nodes.iter().copied())?)
    }

    pub(crate) fn total(&self) -> Result<Amount> {
        let others = [self.user, self.creator, self.collateral, self.treasury, self.escrow];
        Ok(Amount::total(others)?.add(self.nodes_total()?)?)
    }

    pub(crate) fn rows(&self) -> Vec<(String, Amount)> {
        let named = |name: &str, amount| (name.to_owned(), amount);
        let mut rows = vec![named("user", self.user), named("creator", self.creator)];
        rows.extend(
            self.nodes.iter().enumerate().map(|(index, amount)| (format!("node {}", index + 1), *amount)),
        );
        rows.extend([
            named("collateral", self.collateral),
            named("treasury", self.treasury),
            named("in the stack", self.escrow),
        ]);
        rows
    }
}
