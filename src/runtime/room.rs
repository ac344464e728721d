//! Room for batches: a few large ones instead of many small ones.
//!
//! What a batch costs ClickHouse is mostly the same whatever it holds, so under load few batches should be large. Every owned partition may always
//! form a small one, and a few at a time, one after the other, a large one. Holds: all batches of the process together stay within
//! `batch.total_bytes`, also when all of them wait for ClickHouse; whoever asks for large room gets it in the order of asking.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many batches are large at a time: one of them grows, the others are being written.
const LARGE_AT_A_TIME: usize = 3;
/// Of `batch.total_bytes`, the part that small batches share: half.
const SMALL_PART: usize = 2;

/// Large room, for one batch: from when it outgrows the small room until it is written.
#[derive(Debug)]
pub struct Large {
    _room: OwnedSemaphorePermit,
    growing: Option<OwnedSemaphorePermit>,
}

impl Large {
    /// The batch grows no more: the next one's turn.
    pub fn grown(&mut self) {
        self.growing = None;
    }
}

/// The room of one process.
#[derive(Debug, Clone)]
pub struct Room {
    total_bytes: usize,
    large: Arc<Semaphore>,
    growing: Arc<Semaphore>,
}

impl Room {
    /// Nothing of it taken.
    pub fn new(total_bytes: usize) -> Self {
        Self { total_bytes, large: Arc::new(Semaphore::new(LARGE_AT_A_TIME)), growing: Arc::new(Semaphore::new(1)) }
    }

    /// Bytes of memory that a batch may always take: each of the `owned` partitions has one that is open and one that is being written. A
    /// partition without neighbours needs no large room: it has its open batch, the one that is being written, and that one a second time
    /// while its rows become blocks.
    pub fn small_bytes(&self, owned: usize) -> usize {
        match owned {
            0 | 1 => self.total_bytes / 3,
            owned => self.total_bytes / SMALL_PART / (2 * owned),
        }
    }

    /// Bytes of memory of a batch with large room. One of them all is there a second time, while its rows become blocks.
    pub fn large_bytes(&self, owned: usize) -> usize {
        let shared = self.total_bytes - self.total_bytes / SMALL_PART;
        self.small_bytes(owned).max(shared / (LARGE_AT_A_TIME + 1))
    }

    /// Waits for large room. Whoever stops waiting loses the turn.
    pub async fn large(self) -> Large {
        let growing = permit(self.growing).await;
        Large { _room: permit(self.large).await, growing: Some(growing) }
    }
}

async fn permit(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    match semaphore.acquire_owned().await {
        Ok(permit) => permit,
        Err(_) => std::future::pending().await, // nobody closes it
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_batches_together_stay_within_the_total() {
        for owned in 1..=300 {
            let room = Room::new(96 << 20);
            let (small, large) = (room.small_bytes(owned), room.large_bytes(owned));
            assert!(small <= large);
            let all = match owned {
                1 => 3 * large,
                _ => 2 * owned * small + (LARGE_AT_A_TIME + 1) * large,
            };
            assert!(all <= 96 << 20, "{owned} partitions: {all}");
        }
    }

    #[tokio::test]
    async fn one_batch_grows_at_a_time_and_large_room_goes_round_in_the_order_of_asking() {
        let room = Room::new(1 << 20);
        let mut held = Vec::new();
        for _ in 0..LARGE_AT_A_TIME {
            let mut next = Box::pin(room.clone().large());
            let mut large = now(&mut next).expect("nobody grows, and there is room");
            assert!(now(&mut Box::pin(room.clone().large())).is_none(), "one grows");
            large.grown();
            held.push(large);
        }
        let (mut first, mut second) = (Box::pin(room.clone().large()), Box::pin(room.large()));
        assert!(now(&mut first).is_none() && now(&mut second).is_none(), "all room is taken");
        held.pop();
        assert!(now(&mut second).is_none());
        let mut large = now(&mut first).expect("it asked first");
        held.pop();
        assert!(now(&mut second).is_none(), "one grows");
        large.grown();
        assert!(now(&mut second).is_some());
    }

    /// What a future has to say now.
    fn now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        match std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
