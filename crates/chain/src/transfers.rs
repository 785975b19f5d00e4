//! Following transfers of the market's coin to an address.

use crate::client::RPC_TIMEOUT;
use crate::events::{RECONNECT_FIRST, RECONNECT_JITTER, RECONNECT_MAX, until_final};
use crate::{ChainClient, ChainError, EventCursor};
use atoma_types::{Address, Amount};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use sui_rpc::client::{
    LedgerStreamConfig, TransactionStreamFrame, TransactionStreamRequest, TransactionStreamStart,
};
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::TypeTag;

/// What one transaction brought to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoinTransfer {
    /// Of the transaction.
    pub digest: String,
    pub sender: Address,
    /// What the address has more after it, in all its coins together.
    pub amount: Amount,
    pub checkpoint: u64,
}

impl ChainClient {
    /// Where [`ChainClient::transfers_to`] begins with what happens from now on.
    pub async fn transfers_now(&self, address: Address) -> Result<EventCursor, ChainError> {
        let mut frames = Box::pin(self.follow_transfers(address, TransactionStreamStart::Tip));
        let first = tokio::time::timeout(RPC_TIMEOUT, frames.next()).await.ok().flatten();
        let reason = "the full node reports no position".to_owned();
        Ok(first.ok_or(ChainError::Malformed { what: "a stream", reason })??.1)
    }

    /// What transactions after `from` bring to `address`, then new ones as they happen. Each frame has a cursor
    /// behind it; one without a transfer reports progress. Reconnects by itself, and ends behind an error.
    pub fn transfers_to(
        &self,
        address: Address,
        from: &EventCursor,
    ) -> impl Stream<Item = Result<(Option<CoinTransfer>, EventCursor), ChainError>> + Send + 'static + use<>
    {
        match self.position(from) {
            Ok(position) => {
                self.follow_transfers(address, TransactionStreamStart::Resume(position)).left_stream()
            }
            Err(error) => futures::stream::iter([Err(error)]).right_stream(),
        }
    }

    fn follow_transfers(
        &self,
        address: Address,
        start: TransactionStreamStart,
    ) -> impl Stream<Item = Result<(Option<CoinTransfer>, EventCursor), ChainError>> + Send + 'static + use<>
    {
        let mask = [
            "digest",
            "transaction.sender",
            "effects.status",
            "balance_changes",
            "checkpoint",
            "transaction_index",
        ];
        let affected = pb::AffectedAddressFilter::default().with_address(address.to_string());
        let literal = pb::TransactionLiteral::default().with_affected_address(affected);
        let term = pb::TransactionTerm::default().with_literals(vec![literal]);
        let request = TransactionStreamRequest::new()
            .with_read_mask(FieldMask::from_paths(mask))
            .with_filter(pb::TransactionFilter::default().with_terms(vec![term]))
            .with_start(start);
        let mut config = LedgerStreamConfig::default();
        config.base_retry_delay = RECONNECT_FIRST;
        config.max_retry_delay = RECONNECT_MAX;
        config.retry_jitter = RECONNECT_JITTER;
        let chain = self.clone();
        let frames: BoxStream<'static, _> =
            self.rpc().stream_transactions_with_config(request, config).boxed();
        until_final(frames.map(move |frame| {
            let TransactionStreamFrame { transaction, cursor, .. } =
                frame.map_err(|status| chain.rpc_error(&status))?;
            let transfer = transaction.map(|done| chain.transfer(&done, address)).transpose()?.flatten();
            Ok((transfer, chain.cursor(&cursor)))
        }))
    }

    /// `None` if it brought nothing of the market's coin.
    fn transfer(
        &self,
        done: &pb::ExecutedTransaction,
        address: Address,
    ) -> Result<Option<CoinTransfer>, ChainError> {
        let malformed = |reason: String| ChainError::Malformed { what: "a transaction", reason };
        let mut sum = 0i128;
        for change in &done.balance_changes {
            let owner: Address = change.address().parse().map_err(|_| malformed("an address".to_owned()))?;
            let coin: TypeTag =
                change.coin_type().parse().map_err(|_| malformed("a coin's type".to_owned()))?;
            if owner == address && coin == self.types().coin {
                let amount: i128 = change.amount().parse().map_err(|_| malformed("an amount".to_owned()))?;
                sum = sum.saturating_add(amount);
            }
        }
        if sum <= 0 || !done.effects().status().success() {
            return Ok(None);
        }
        let amount = u64::try_from(sum).map(Amount).map_err(|_| malformed("an amount".to_owned()))?;
        let sender = done.transaction().sender().parse();
        Ok(Some(CoinTransfer {
            digest: done.digest().to_owned(),
            sender: sender.map_err(|_| malformed("a sender".to_owned()))?,
            amount,
            checkpoint: done.checkpoint(),
        }))
    }
}
