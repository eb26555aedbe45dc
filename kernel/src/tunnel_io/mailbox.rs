//! Owns the way of handshake messages from the receiving thread to the control thread. Bounded:
//! what does not fit is dropped, and the sender repeats it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::Mutex;
use sealane_tunnel::endpoint::Endpoint;
use sealane_tunnel::wire::INITIATION_LEN;

/// Messages that may wait: two seconds' worth at the rate from which cookies are asked.
const CAPACITY: usize = 4_096;

/// A handshake message; none is longer than an initiation.
pub struct Letter {
    /// From where.
    pub from: Endpoint,
    bytes: [u8; INITIATION_LEN],
    len: usize,
}

impl Letter {
    /// The whole message.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The bounded queue and the event that tells of it.
pub struct Mailbox {
    sender: SyncSender<Letter>,
    receiver: Mutex<Receiver<Letter>>,
    event: EventFd,
    waiting: AtomicUsize,
}

impl Mailbox {
    /// An empty mailbox.
    ///
    /// # Errors
    /// The kernel has no event descriptors left.
    pub fn new() -> nix::Result<Self> {
        let (sender, receiver) = sync_channel(CAPACITY);
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { sender, receiver: Mutex::new(receiver), event, waiting: AtomicUsize::new(0) })
    }

    /// Leaves a message; what is too long to be one, or does not fit, is dropped.
    pub fn post(&self, message: &[u8], from: Endpoint) {
        let mut letter = Letter { from, bytes: [0; INITIATION_LEN], len: message.len() };
        let Some(room) = letter.bytes.get_mut(..message.len()) else { return };
        room.copy_from_slice(message);
        // Counted before it can be taken, so that the count never falls below zero.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send(letter).is_ok() {
            // A full counter wakes as well.
            let _ = self.event.write(1);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many messages wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Readable while there may be messages.
    #[must_use]
    pub const fn event(&self) -> &EventFd {
        &self.event
    }

    /// Takes up to `most` messages; resets the event if none is left.
    pub fn collect(&self, most: usize) -> Vec<Letter> {
        let _ = self.event.read();
        let letters: Vec<Letter> = self.receiver.lock().try_iter().take(most).collect();
        self.waiting.fetch_sub(letters.len(), Ordering::Relaxed);
        if letters.len() == most {
            let _ = self.event.write(1);
        }
        letters
    }
}
