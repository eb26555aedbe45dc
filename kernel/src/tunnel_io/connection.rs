//! Owns one UAPI connection: bytes in and out without waiting, bounded, wiped. Knows where a request
//! ends, not what it says.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::poll::PollFlags;
use sealane_tunnel::uapi;
use zeroize::{Zeroize, Zeroizing};

/// The longest request: 65,536 prefixes take some 4 MiB.
const MAX_REQUEST: usize = 16 << 20;

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It goes on.
    Open,
    /// It is over, or the client broke the rules.
    Closed,
}

/// A client of the UAPI socket.
pub struct Connection {
    stream: UnixStream,
    input: Zeroizing<Vec<u8>>,
    output: Zeroizing<Vec<u8>>,
    written: usize,
}

impl Connection {
    /// A connection whose stream does not block.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            input: Zeroizing::new(Vec::new()),
            output: Zeroizing::new(Vec::new()),
            written: 0,
        }
    }

    /// What to wait for: while an answer is not taken, no request is read.
    #[must_use]
    pub fn interest(&self) -> PollFlags {
        if self.output.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT }
    }

    /// Reads what there is.
    pub fn read(&mut self) -> Health {
        let mut chunk = Zeroizing::new([0; 16_384]);
        loop {
            match self.stream.read(&mut chunk[..]) {
                Ok(0) => return Health::Closed,
                Ok(_) if self.input.len() > MAX_REQUEST => return Health::Closed,
                Ok(len) => extend(&mut self.input, &chunk[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Health::Open,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Health::Closed,
            }
        }
    }

    /// Takes the first whole request out of what was read.
    pub fn request(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        loop {
            let len = uapi::request_len(&self.input)?;
            let request = Zeroizing::new(self.input[..len].to_vec());
            let rest = Zeroizing::new(self.input[len..].to_vec());
            self.input = rest;
            if request.as_slice() != b"\n" {
                return Some(request);
            }
        }
    }

    /// Adds an answer and writes what goes.
    pub fn answer(&mut self, text: &str) -> Health {
        extend(&mut self.output, text.as_bytes());
        self.write()
    }

    /// Writes what goes.
    pub fn write(&mut self) -> Health {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(0) => return Health::Closed,
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Health::Open,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Health::Closed,
            }
        }
        self.output.zeroize();
        self.written = 0;
        Health::Open
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Appends without leaving an unwiped copy behind when the buffer moves.
fn extend(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if buffer.capacity() - buffer.len() < bytes.len() {
        let room = (buffer.len() + bytes.len()).next_power_of_two();
        let mut moved = Zeroizing::new(Vec::with_capacity(room));
        moved.extend_from_slice(buffer);
        *buffer = moved;
    }
    buffer.extend_from_slice(bytes);
}
