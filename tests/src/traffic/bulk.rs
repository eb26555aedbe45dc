//! Owns bulk TCP in one direction: a sink that measures, and the sender that asks it to.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::thread;
use std::time::{Duration, Instant};

use crate::traffic::report::BulkReport;

/// Bytes to a read or write.
const CHUNK: usize = 128 * 1024;

/// Takes connections until killed; reads each to its end and answers a [`BulkReport`].
///
/// # Errors
/// The address cannot be bound.
pub fn sink(listen: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = measure(stream) {
                eprintln!("transfer: {error}");
            }
        });
    }
    Ok(())
}

fn measure(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut bytes = stream.read(&mut buffer)? as u64;
    let begin = Instant::now();
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            n => bytes += n as u64,
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let gbit_per_s = rate(bytes, seconds);
    serde_json::to_writer(&mut stream, &BulkReport { bytes, seconds, gbit_per_s })?;
    stream.shutdown(Shutdown::Both)
}

/// Sends for `span` as fast as it goes, by as many connections; answers what the sink measured, of all
/// of them together.
///
/// # Errors
/// A connection.
pub fn send(to: SocketAddr, span: Duration, streams: NonZeroU16) -> io::Result<BulkReport> {
    let senders: Vec<_> =
        (0..streams.get()).map(|_| thread::spawn(move || send_one(to, span))).collect();
    let mut all = BulkReport { bytes: 0, seconds: 0.0, gbit_per_s: 0.0 };
    for sender in senders {
        let one = sender.join().map_err(|_| io::Error::other("a sender panicked"))??;
        all.bytes += one.bytes;
        all.seconds = all.seconds.max(one.seconds);
    }
    all.gbit_per_s = rate(all.bytes, all.seconds);
    Ok(all)
}

fn send_one(to: SocketAddr, span: Duration) -> io::Result<BulkReport> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_write_timeout(Some(span + Duration::from_secs(10)))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let chunk = vec![0; CHUNK];
    let begin = Instant::now();
    while begin.elapsed() < span {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut report = String::new();
    stream.read_to_string(&mut report)?;
    Ok(serde_json::from_str(&report)?)
}

/// Unit: 10^9 bits a second.
#[expect(clippy::cast_precision_loss, reason = "a rate is shown with a few digits")]
fn rate(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 * 8.0 / 1e9 / seconds
}
