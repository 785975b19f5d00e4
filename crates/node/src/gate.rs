//! Bounded concurrency with a bounded queue: who comes when both are full is told to come back.

use crate::config::Admission;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The node is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GateError {
    #[error("too many requests are waiting; try again")]
    QueueFull,
    #[error("no place became free in time; try again")]
    Timeout,
}

/// Lets so many requests run at once.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    concurrent: usize,
    queue: usize,
    wait: Duration,
}

/// A place among the running; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Pass {
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    pub(crate) fn new(config: &Admission) -> Self {
        Self {
            running: Arc::new(Semaphore::new(config.concurrent)),
            waiting: Arc::new(Semaphore::new(config.waiting)),
            concurrent: config.concurrent,
            queue: config.waiting,
            wait: config.wait(),
        }
    }

    pub(crate) async fn enter(&self) -> Result<Pass, GateError> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(Pass { _permit: permit });
        }
        let _place = self.waiting.try_acquire().map_err(|_| GateError::QueueFull)?;
        match tokio::time::timeout(self.wait, self.running.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Pass { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(GateError::Timeout),
        }
    }

    /// Waits until nobody runs; false if that takes longer than `time`.
    pub(crate) async fn idle_within(&self, time: Duration) -> bool {
        let all = u32::try_from(self.concurrent).unwrap_or(u32::MAX);
        matches!(tokio::time::timeout(time, self.running.acquire_many(all)).await, Ok(Ok(_)))
    }

    /// How many are running.
    pub(crate) fn running(&self) -> usize {
        self.concurrent.saturating_sub(self.running.available_permits())
    }

    /// How many wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.saturating_sub(self.waiting.available_permits())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn one_runs_one_waits_the_third_is_turned_away() {
        let gate = Gate::new(&Admission { concurrent: 1, waiting: 1, wait_ms: 20 });
        let first = gate.enter().await.unwrap();
        let (second, third) = tokio::join!(gate.enter(), gate.enter());
        assert_eq!(second.err(), Some(GateError::Timeout));
        assert_eq!(third.err(), Some(GateError::QueueFull));
        drop(first);
        assert!(gate.enter().await.is_ok());
        assert_eq!(gate.running(), 0);
    }
}
