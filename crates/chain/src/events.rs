//! Following the contract's events.

use crate::{ChainClient, ChainError};
use atoma_types::Address;
use atoma_types::onchain::Event;
use atoma_types::onchain::event::EVENT_MODULE;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, future};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use sui_rpc::client::{EventStreamFrame, EventStreamRequest, EventStreamStart, LedgerStreamConfig};
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2 as pb;
use sui_sdk_types::StructTag;

/// Pauses between attempts to reconnect grow from the first to the second.
pub(crate) const RECONNECT_FIRST: Duration = Duration::from_millis(100);
pub(crate) const RECONNECT_MAX: Duration = Duration::from_secs(5);
pub(crate) const RECONNECT_JITTER: Duration = Duration::from_millis(100);

/// Where a reader of events stands: strictly behind everything it has processed. Opaque; valid on the
/// chain that issued it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCursor {
    pub(crate) chain: String,
    /// The full node's cursor, in base64.
    pub(crate) position: String,
}

/// A step of the event stream. Process `event`, then persist `cursor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFrame {
    pub cursor: EventCursor,
    /// `None` if the frame only reports progress.
    pub event: Option<ChainEvent>,
}

/// One event of the contract and where it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEvent {
    pub event: Event,
    /// Digest of the transaction.
    pub tx: String,
    pub checkpoint: u64,
}

impl ChainClient {
    /// The contract's events after `from`, or from the oldest one the full node has, then new ones as
    /// they happen. Reconnects by itself; never skips or repeats behind the cursor. A
    /// [`ChainError::MalformedEvent`] is reported and passed over; after any other error the stream ends.
    pub fn events(
        &self,
        from: Option<EventCursor>,
    ) -> impl Stream<Item = Result<EventFrame, ChainError>> + Send + 'static + use<> {
        let start = match from {
            None => Ok(None),
            Some(cursor) => self.position(&cursor).map(Some),
        };
        let chain = self.clone();
        let stream = async move {
            let start = match start? {
                Some(position) => EventStreamStart::Resume(position),
                None => EventStreamStart::Checkpoint(chain.oldest_checkpoint().await?),
            };
            Ok(chain.follow(start))
        };
        futures::stream::once(stream).flat_map(|stream: Result<_, ChainError>| match stream {
            Ok(stream) => stream.left_stream(),
            Err(error) => futures::stream::iter([Err(error)]).right_stream(),
        })
    }

    /// As [`ChainClient::events`], from now on. The first frame reports the position only.
    pub fn events_from_now(
        &self,
    ) -> impl Stream<Item = Result<EventFrame, ChainError>> + Send + 'static + use<> {
        self.follow(EventStreamStart::Tip)
    }

    fn follow(
        &self,
        start: EventStreamStart,
    ) -> impl Stream<Item = Result<EventFrame, ChainError>> + Send + 'static + use<> {
        let mask = [
            "checkpoint",
            "transaction_index",
            "event_index",
            "transaction_digest",
            "event_type",
            "contents",
        ];
        let request = EventStreamRequest::new()
            .with_read_mask(FieldMask::from_paths(mask))
            .with_filter(self.event_filter())
            .with_start(start);
        let mut config = LedgerStreamConfig::default();
        config.base_retry_delay = RECONNECT_FIRST;
        config.max_retry_delay = RECONNECT_MAX;
        config.retry_jitter = RECONNECT_JITTER;
        let chain = self.clone();
        let frames: BoxStream<'static, _> = self.rpc().stream_events_with_config(request, config).boxed();
        until_final(frames.map(move |frame| chain.frame(frame.map_err(|status| chain.rpc_error(&status))?)))
    }

    fn event_filter(&self) -> pb::EventFilter {
        let module = format!("{}::{EVENT_MODULE}", self.deployment().package);
        let event_type = pb::EventTypeFilter::default().with_event_type(module);
        let literal = pb::EventLiteral::default().with_event_type(event_type);
        let term = pb::EventTerm::default().with_literals(vec![literal]);
        pb::EventFilter::default().with_terms(vec![term])
    }

    fn frame(&self, frame: EventStreamFrame) -> Result<EventFrame, ChainError> {
        let event = frame.event.map(|event| self.event(&event)).transpose()?.flatten();
        Ok(EventFrame { cursor: self.cursor(&frame.cursor), event })
    }

    /// `None` for an event of another package, should the filter have let one through.
    fn event(&self, event: &pb::Event) -> Result<Option<ChainEvent>, ChainError> {
        let malformed = |reason: String| ChainError::MalformedEvent {
            event_type: event.event_type().to_owned(),
            tx: event.transaction_digest().to_owned(),
            reason,
        };
        let event_type: StructTag =
            event.event_type().parse().map_err(|error| malformed(format!("type: {error}")))?;
        let decoded = contract_event(self.deployment().package, &event_type, event.contents().value());
        let Some(decoded) = decoded.transpose().map_err(malformed)? else { return Ok(None) };
        Ok(Some(ChainEvent {
            event: decoded,
            tx: event.transaction_digest().to_owned(),
            checkpoint: event.checkpoint(),
        }))
    }

    pub(crate) fn cursor(&self, position: &Bytes) -> EventCursor {
        EventCursor { chain: self.chain_id().to_owned(), position: URL_SAFE_NO_PAD.encode(position) }
    }

    pub(crate) fn position(&self, cursor: &EventCursor) -> Result<Bytes, ChainError> {
        if cursor.chain != self.chain_id() {
            return Err(ChainError::WrongChain {
                expected: self.chain_id().to_owned(),
                found: cursor.chain.clone(),
            });
        }
        URL_SAFE_NO_PAD
            .decode(&cursor.position)
            .map(Bytes::from)
            .map_err(|error| ChainError::Malformed { what: "the event cursor", reason: error.to_string() })
    }

    async fn oldest_checkpoint(&self) -> Result<u64, ChainError> {
        let info = self.read(|mut rpc| async move {
            rpc.ledger_client().get_service_info(pb::GetServiceInfoRequest::default()).await
        });
        Ok(info.await?.into_inner().lowest_available_checkpoint())
    }
}

/// Passes malformed events over and ends behind any other error.
pub(crate) fn until_final<T: Send + 'static>(
    items: impl Stream<Item = Result<T, ChainError>> + Send + 'static,
) -> impl Stream<Item = Result<T, ChainError>> + Send + 'static {
    let mut ended = false;
    items.take_while(move |item| {
        let go_on = !ended;
        ended = matches!(item, Err(error) if !matches!(error, ChainError::MalformedEvent { .. }));
        future::ready(go_on)
    })
}

/// Decodes an event of `package`; `None` if it is another package's or module's.
pub(crate) fn contract_event(
    package: Address,
    event_type: &StructTag,
    contents: &[u8],
) -> Option<Result<Event, String>> {
    if *event_type.address() != package || event_type.module().as_str() != EVENT_MODULE {
        return None;
    }
    let name = event_type.name().as_str();
    Some(match Event::decode(name, contents) {
        None => Err(format!("this version knows no event {name}")),
        Some(decoded) => decoded.map_err(|error| error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::Deployment;
    use atoma_types::Amount;
    use atoma_types::onchain::event::Swept;

    const PACKAGE: Address = Address::from_static("0xa70a");

    fn client() -> ChainClient {
        ChainClient::unconnected(Deployment {
            network: "test".to_owned(),
            rpc_url: "http://127.0.0.1:1".to_owned(),
            package: PACKAGE,
            upgraded: None,
            db: Address::TWO,
            treasury: Address::THREE,
            beacon: Address::ZERO,
            walrus_package: Address::ZERO,
            walrus_system: Address::ZERO,
            coin_type: "0x2::sui::SUI".to_owned(),
        })
    }

    fn event(event_type: &str, contents: Vec<u8>) -> pb::Event {
        let contents = pb::Bcs::default().with_value(contents);
        pb::Event::default()
            .with_event_type(event_type.to_owned())
            .with_contents(contents)
            .with_checkpoint(4)
            .with_transaction_digest("tx".to_owned())
    }

    #[tokio::test]
    async fn events_are_read_or_reported() {
        let swept = Event::Swept(Swept { stack: Address::TWO, amount: Amount(5) });
        let contents = swept.contents().unwrap();
        let named = |name: &str| format!("{PACKAGE}::{EVENT_MODULE}::{name}");
        let read = |event_type: &str, contents: &[u8]| client().event(&event(event_type, contents.to_vec()));
        let good = read(&named("Swept"), &contents).unwrap().unwrap();
        assert_eq!(good, ChainEvent { event: swept, tx: "tx".to_owned(), checkpoint: 4 });
        for (event_type, contents) in [
            (named("Swept"), &contents[1..]),
            (named("Swept"), &[&contents[..], &[0]].concat()[..]),
            (named("Unheard"), &contents[..]),
            ("not a type".to_owned(), &contents[..]),
        ] {
            let reported = read(&event_type, contents).unwrap_err();
            assert!(matches!(reported, ChainError::MalformedEvent { .. }), "{reported}");
        }
        let foreign = format!("{}::{EVENT_MODULE}::Swept", Address::TWO);
        assert_eq!(read(&foreign, &contents).unwrap(), None);
    }

    #[tokio::test]
    async fn the_stream_goes_on_behind_a_malformed_event_and_ends_behind_an_error() {
        let malformed = || ChainError::MalformedEvent {
            event_type: String::new(),
            tx: String::new(),
            reason: String::new(),
        };
        let refused = ChainError::Rpc { code: String::new(), reason: String::new() };
        let items = vec![Ok(1), Err(malformed()), Ok(2), Err(refused), Ok(3)];
        let seen: Vec<_> = until_final(futures::stream::iter(items)).collect().await;
        let seen: Vec<Option<i32>> = seen.into_iter().map(Result::ok).collect();
        assert_eq!(seen, [Some(1), None, Some(2), None]);
    }
}
