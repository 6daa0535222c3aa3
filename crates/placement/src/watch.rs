//! Changes on their way from a placement store to those who watch it.
//!
//! A [`Hub`] belongs to one store handle and hands every event to every [`Watch`], in one order. Each watch has a
//! queue of [`EVENTS_MAX`] events. When it is full, the queue is emptied and holds [`Event::Resync`] instead: a slow
//! consumer costs itself a full read, and never memory or another's time.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures::Stream;

use crate::event::Event;

/// How many events wait for a consumer before they are given up for one [`Event::Resync`].
pub const EVENTS_MAX: usize = 1024;

/// A stream of changes, in order, from the moment it was made. Ends when the store's handle is dropped.
///
/// To know the present state and then follow it: make the watch first, read second.
pub struct Watch {
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
}

/// What a hub has for one watch.
#[derive(Debug)]
struct Queued {
    queue: Arc<Mutex<Queue>>,
}

/// The events that one watch has not taken yet.
#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    /// The hub is gone: nothing more will come.
    closed: bool,
    /// The task that waits for the next event.
    waiting: Option<Waker>,
}

/// All watches of one store handle.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    watches: Mutex<Vec<Weak<Mutex<Queue>>>>,
}

impl Watch {
    /// A watch over any stream of events: for a store that lies behind another, or behind a network that a simulation makes.
    pub fn over(events: impl Stream<Item = Event> + Send + 'static) -> Self {
        Self {
            events: Box::pin(events),
        }
    }

    /// The next change; `None` when the store's handle is gone.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Stream for Watch {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.as_mut().poll_next(context)
    }
}

impl Stream for Queued {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut queue = lock(&self.queue);
        match queue.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if queue.closed => Poll::Ready(None),
            None => {
                queue.waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Hub {
    /// A watch that sees everything pushed from now on.
    pub(crate) fn watch(&self) -> Watch {
        let queue = Arc::new(Mutex::new(Queue::default()));
        lock(&self.watches).push(Arc::downgrade(&queue));
        Watch::over(Queued { queue })
    }

    /// Hands an event to every watch.
    pub(crate) fn push(&self, event: Event) {
        self.each(|queue| {
            if event == Event::Resync || queue.events.len() >= EVENTS_MAX {
                queue.events.clear();
                queue.events.push_back(Event::Resync);
            } else {
                queue.events.push_back(event.clone());
            }
        });
    }

    fn each(&self, change: impl Fn(&mut Queue)) {
        // Held throughout, so that all watches see one order.
        let mut watches = lock(&self.watches);
        watches.retain(|watch| {
            let Some(queue) = watch.upgrade() else {
                return false;
            };
            let waiting = {
                let mut queue = lock(&queue);
                change(&mut queue);
                queue.waiting.take()
            };
            if let Some(waker) = waiting {
                waker.wake();
            }
            true
        });
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.each(|queue| queue.closed = true);
    }
}

/// Nothing in here panics while it holds a lock, and a queue is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_arrive_in_order_at_every_watch() {
        let hub = Hub::default();
        let mut one = hub.watch();
        hub.push(Event::Vaults);
        let mut two = hub.watch();
        hub.push(Event::Sites);
        assert_eq!(one.next().await, Some(Event::Vaults));
        assert_eq!(one.next().await, Some(Event::Sites));
        assert_eq!(two.next().await, Some(Event::Sites));
        drop(hub);
        assert_eq!(one.next().await, None);
    }

    #[tokio::test]
    async fn a_full_queue_becomes_one_resync() {
        let hub = Hub::default();
        let mut watch = hub.watch();
        for _ in 0..=EVENTS_MAX {
            hub.push(Event::Vaults);
        }
        hub.push(Event::Sites);
        assert_eq!(watch.next().await, Some(Event::Resync));
        assert_eq!(watch.next().await, Some(Event::Sites));
        drop(hub);
        assert_eq!(watch.next().await, None);
    }

    #[tokio::test]
    async fn a_resync_voids_what_waits() {
        let hub = Hub::default();
        let mut watch = hub.watch();
        hub.push(Event::Vaults);
        hub.push(Event::Resync);
        hub.push(Event::Sites);
        assert_eq!(watch.next().await, Some(Event::Resync));
        assert_eq!(watch.next().await, Some(Event::Sites));
    }

    #[tokio::test]
    async fn a_waiting_consumer_is_woken_and_a_dropped_one_forgotten() {
        let hub = Arc::new(Hub::default());
        let mut watch = hub.watch();
        let pusher = hub.clone();
        let (event, ()) = tokio::join!(watch.next(), async move { pusher.push(Event::Vaults) });
        assert_eq!(event, Some(Event::Vaults));
        drop(watch);
        hub.push(Event::Sites);
        assert!(lock(&hub.watches).is_empty());
    }
}
