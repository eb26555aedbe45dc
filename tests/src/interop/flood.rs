//! Owns the load that makes a WireGuard device ask for cookies: initiations whose MAC1 is right and
//! whose rest is noise, as anyone can make who knows the device's public key.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use blake2::digest::consts::U16;
use blake2::digest::{Digest, KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac};

/// Length of an initiation, and of what MAC1 covers.
const INITIATION: usize = 148;
const COVERED: usize = 116;
const MAC: usize = 16;

/// Sends `rate` initiations a second to `to` until killed.
///
/// # Errors
/// No socket of that family.
pub fn run(to: SocketAddr, public_key: &[u8; 32], rate: u32) -> io::Result<()> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    let begin = Instant::now();
    let mut sent: u64 = 0;
    loop {
        let due = begin.elapsed().as_secs_f64() * f64::from(rate);
        while (sent as f64) < due {
            // A full queue or a port without a device is the test's business, not ours.
            let _ = socket.send(&initiation(public_key, sent));
            sent += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// An initiation that gets as far as its first decryption. `number` makes it unlike all others.
pub fn initiation(public_key: &[u8; 32], number: u64) -> [u8; INITIATION] {
    let mut message = [0; INITIATION];
    message[0] = 1;
    message[4..8].copy_from_slice(&(number as u32).to_le_bytes());
    let noise = Blake2s256::digest(number.to_le_bytes());
    for chunk in message[8..COVERED].chunks_mut(noise.len()) {
        chunk.copy_from_slice(&noise[..chunk.len()]);
    }
    let key = Blake2s256::new().chain_update(b"mac1----").chain_update(public_key).finalize();
    if let Ok(mut mac) = <Blake2sMac<U16> as KeyInit>::new_from_slice(&key) {
        mac.update(&message[..COVERED]);
        message[COVERED..COVERED + MAC].copy_from_slice(&mac.finalize().into_bytes());
    }
    message
}
