//! Owns packets on their way: a queue by the time they are due, and the thread that empties it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Items in order of their time; those of one time in the order they came.
#[derive(Debug)]
pub struct Schedule<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    items: BinaryHeap<Reverse<Entry<T>>>,
    serial: u64,
}

#[derive(Debug)]
struct Entry<T> {
    due: Instant,
    serial: u64,
    item: T,
}

impl<T> Schedule<T> {
    /// Empty.
    pub fn new() -> Self {
        let queue = Queue { items: BinaryHeap::new(), serial: 0 };
        Self { queue: Mutex::new(queue), changed: Condvar::new() }
    }

    /// Adds an item.
    pub fn push(&self, due: Instant, item: T) {
        let mut queue = self.queue();
        let serial = queue.serial;
        queue.serial += 1;
        queue.items.push(Reverse(Entry { due, serial, item }));
        self.changed.notify_one();
    }

    /// Waits until the first item is due, and takes it.
    pub fn pop(&self) -> T {
        let mut queue = self.queue();
        loop {
            let now = Instant::now();
            let first = queue.items.peek().map(|Reverse(entry)| entry.due);
            queue = match first {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(due) if due > now => {
                    let waited = self.changed.wait_timeout(queue, due - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => match queue.items.pop() {
                    Some(Reverse(entry)) => return entry.item,
                    None => queue,
                },
            };
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.serial).cmp(&(other.due, other.serial))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn items_leave_when_due_and_ties_in_order() {
        let (schedule, now) = (Schedule::new(), Instant::now());
        schedule.push(now + Duration::from_millis(20), "held");
        schedule.push(now, "first");
        schedule.push(now, "second");
        assert_eq!([schedule.pop(), schedule.pop(), schedule.pop()], ["first", "second", "held"]);
        assert!(now.elapsed() >= Duration::from_millis(20));
    }
}
