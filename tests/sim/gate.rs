//! A process as the operating system sees it: it runs, is stopped with all its threads, or is gone.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Running,
    /// By SIGSTOP, say: nothing of it moves, and it does not notice.
    Paused,
    /// Killed, or ended.
    Gone,
}

/// Whether the tasks of one process may run.
pub struct Gate {
    inner: Mutex<Inner>,
}

struct Inner {
    life: Life,
    silent_since: Option<Instant>,
    tasks: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Gate {
    pub fn open() -> Arc<Self> {
        let inner = Inner { life: Life::Running, silent_since: None, tasks: 0, wakers: BTreeMap::new() };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    pub fn life(&self) -> Life {
        self.lock().life
    }

    /// Since when no heartbeat leaves it.
    pub fn silent_since(&self) -> Option<Instant> {
        self.lock().silent_since
    }

    pub fn set(&self, life: Life) {
        let wakers = {
            let mut inner = self.lock();
            if inner.life == Life::Gone {
                return;
            }
            inner.silent_since = if life == Life::Running { None } else { inner.silent_since.or_else(|| Some(Instant::now())) };
            inner.life = life;
            std::mem::take(&mut inner.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// A task of this process.
    pub fn task<F: Future<Output = ()> + Send + 'static>(self: &Arc<Self>, future: F) -> Task {
        let mut inner = self.lock();
        inner.tasks += 1;
        Task { gate: Arc::clone(self), number: inner.tasks, future: Some(Box::pin(future)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs while its process does, and is dropped where it stands when that is killed.
pub struct Task {
    gate: Arc<Gate>,
    number: u64,
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let life = {
            let mut inner = self.gate.lock();
            let (number, waker) = (self.number, context.waker().clone());
            inner.wakers.insert(number, waker);
            inner.life
        };
        let done = match (life, &mut self.future) {
            (Life::Gone, _) | (_, None) => true,
            (Life::Paused, _) => false,
            (Life::Running, Some(future)) => future.as_mut().poll(context).is_ready(),
        };
        // What runs may have ended its own process.
        if done || self.gate.life() == Life::Gone {
            self.future = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.gate.lock().wakers.remove(&self.number);
    }
}
