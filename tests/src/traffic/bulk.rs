//! Owns bulk TCP in one direction: a sink that measures, and the sender that asks it to.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
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
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with a few digits")]
    let gbit_per_s = bytes as f64 * 8.0 / 1e9 / seconds;
    serde_json::to_writer(&mut stream, &BulkReport { bytes, seconds, gbit_per_s })?;
    stream.shutdown(Shutdown::Both)
}

/// Sends for `span` as fast as it goes; answers what the sink measured.
///
/// # Errors
/// The connection.
pub fn send(to: SocketAddr, span: Duration) -> io::Result<BulkReport> {
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
