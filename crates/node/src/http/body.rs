//! Reading request bodies: so many at a time, each within its size and its time.

use super::ApiError;
use crate::channels::Channel;
use crate::config::{Admission, Limits};
use crate::gate::{Gate, Pass};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A body that is too large is read up to this many times the limit before it is refused.
const DISCARD_FACTOR: usize = 4;
/// Bodies of refused requests that are thrown away at once, and for how long each.
const DISCARDS_MAX: usize = 64;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// A body's place in memory: one of its channel's, and one of all.
pub(crate) struct Place {
    _of_channel: Pass,
    _of_all: Pass,
}

/// Hands out the memory that bodies take.
pub(crate) struct Bodies {
    places: Gate,
    discards: Arc<Semaphore>,
    bytes_max: usize,
    time: Duration,
}

impl Bodies {
    pub(crate) fn new(limits: &Limits, admission: &Admission) -> Self {
        Self {
            places: Gate::new(&Admission { concurrent: limits.bodies, ..*admission }),
            discards: Arc::new(Semaphore::new(DISCARDS_MAX)),
            bytes_max: limits.body_bytes,
            time: limits.body_time(),
        }
    }

    /// How many bodies are in memory.
    pub(crate) fn held(&self) -> usize {
        self.places.running()
    }

    /// The whole body, with its place among the bodies in memory.
    pub(super) async fn read(
        &self,
        channel: &Channel,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Bytes, Place), ApiError> {
        let patience = self.patience();
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > patience) {
            return Err(self.too_large());
        }
        let place = match self.enter(channel).await {
            Ok(place) => place,
            Err(error) => {
                self.discard(body);
                return Err(error);
            }
        };
        let collected = within(self.time, collect(body, self.bytes_max, patience)).await?;
        match collected {
            Ok(Some(body)) => Ok((body, place)),
            Ok(None) => Err(self.too_large()),
            Err(_) => Err(ApiError::bad_request("body_incomplete", "the body broke off")),
        }
    }

    /// A channel's own share comes first: whoever has used it up waits among its own and takes nobody's place.
    async fn enter(&self, channel: &Channel) -> Result<Place, ApiError> {
        let of_channel = channel.bodies.enter().await.map_err(|_| busy("of this stack"))?;
        let of_all = self.places.enter().await.map_err(|_| busy("here"))?;
        Ok(Place { _of_channel: of_channel, _of_all: of_all })
    }

    /// Reads the body of a refused request and keeps nothing of it: a client that is still sending would not
    /// see the answer. It is answered meanwhile. When many are discarded already, the connection is cut.
    pub(super) fn discard(&self, body: Body) {
        let Ok(permit) = self.discards.clone().try_acquire_owned() else { return };
        let patience = self.patience();
        tokio::spawn(async move {
            let _permit = permit;
            // Whether it ends, breaks off or takes too long is all one.
            let _ = tokio::time::timeout(DISCARD_TIME, collect(body, 0, patience)).await;
        });
    }

    fn patience(&self) -> usize {
        self.bytes_max.saturating_mul(DISCARD_FACTOR)
    }

    fn too_large(&self) -> ApiError {
        let message = format!("the body may have {} bytes", self.bytes_max);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }
}

fn busy(whose: &str) -> ApiError {
    let message = format!("too many request bodies {whose} are being read; try again");
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "bodies_busy", message).retry_after(1)
}

/// What arrives within `time`; a client that sends slower is told so.
pub(super) async fn within<F: IntoFuture>(time: Duration, arriving: F) -> Result<F::Output, ApiError> {
    tokio::time::timeout(time, arriving)
        .await
        .map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body took too long"))
}

/// The body, or nothing if it has more than `limit` bytes. Such a one is read on up to `patience` bytes and
/// thrown away.
async fn collect(mut body: Body, limit: usize, patience: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut kept = BytesMut::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen > patience {
            return Ok(None);
        }
        if seen <= limit {
            kept.extend_from_slice(&data);
        } else {
            kept = BytesMut::new();
        }
    }
    Ok((seen <= limit).then(|| kept.freeze()))
}
