//! Owns the command line of the lab's traffic: echo and flow, HTTP, bulk TCP, the impairing relay.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use hyper::Uri;
use nix::sys::signal::{SigSet, Signal};
use sealane_tests::interop::flood;
use sealane_tests::traffic::flow::Pace;
use sealane_tests::traffic::relay::fate::Impairment;
use sealane_tests::traffic::relay::splice::Direction;
use sealane_tests::traffic::{bulk, datagram, flow, http, relay};

/// Small servers and senders that measure a network; results are one line of JSON.
///
/// Example: `lab-traffic udp-echo --listen '[::]:9000'` on one host and
/// `lab-traffic udp-flow --rate 10000 --for-ms 5000 192.0.2.2:9000` on another.
#[derive(Parser)]
#[command(verbatim_doc_comment)]
enum Role {
    /// Send every datagram back.
    UdpEcho {
        /// Address and port.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Send numbered datagrams to an echo; report loss and gaps. SIGINT ends it early.
    UdpFlow {
        /// Datagrams a second.
        #[arg(long, default_value_t = 1000)]
        rate: u32,
        /// How long, in milliseconds.
        #[arg(long, default_value_t = 5000)]
        for_ms: u64,
        /// Payload bytes.
        #[arg(long, default_value_t = 64)]
        size: usize,
        /// How long to wait for the last ones, in milliseconds.
        #[arg(long, default_value_t = 1000)]
        linger_ms: u64,
        /// The echo.
        to: SocketAddr,
    },
    /// Answer each request with the client's address and this host's name.
    HttpServer {
        /// Address and port.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Print the body of a URL; exit code 1 where there is none.
    HttpGet {
        /// How long to wait, in milliseconds.
        #[arg(long, default_value_t = 3000)]
        timeout_ms: u64,
        /// The URL.
        url: Uri,
    },
    /// Read each connection to its end and answer how fast it was.
    TcpSink {
        /// Address and port.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Send to a sink as fast as it goes; report what the sink measured.
    TcpSend {
        /// How long, in milliseconds.
        #[arg(long, default_value_t = 3000)]
        for_ms: u64,
        /// Connections at a time.
        #[arg(long, default_value_t = NonZeroU16::MIN)]
        streams: NonZeroU16,
        /// The sink.
        to: SocketAddr,
    },
    /// Send one UDP datagram of the bytes that standard input has in hexadecimal digits.
    Datagram {
        /// Its source: an address of this host.
        #[arg(long)]
        from: IpAddr,
        /// Its destination; a broadcast address or a multicast group too.
        to: SocketAddr,
    },
    /// Send WireGuard initiations that only the device's key can tell from good ones, until killed.
    Initiations {
        /// The device's public key, in base64.
        #[arg(long)]
        public_key: String,
        /// Initiations a second.
        #[arg(long)]
        rate: u32,
        /// The device.
        to: SocketAddr,
    },
    /// Impair UDP that a router's tproxy rules divert here.
    Relay {
        /// The ports diverted to, one for each direction.
        #[arg(long, value_delimiter = ',')]
        ports: Vec<u16>,
        /// Decides which packets.
        #[arg(long)]
        seed: u64,
        /// What happens to packets of the first direction, as JSON.
        #[arg(long, value_parser = impairment)]
        onward: Impairment,
        /// What happens to packets of the second direction, as JSON.
        #[arg(long, value_parser = impairment)]
        back: Impairment,
    },
}

fn impairment(text: &str) -> Result<Impairment, serde_json::Error> {
    serde_json::from_str(text)
}

fn main() -> Result<()> {
    match Role::parse() {
        Role::UdpEcho { listen } => flow::echo(listen).with_context(|| listen.to_string()),
        Role::UdpFlow { rate, for_ms, size, linger_ms, to } => {
            let (span, linger) = (Duration::from_millis(for_ms), Duration::from_millis(linger_ms));
            let stop = stop_on_signal()?;
            let report = flow::run(to, Pace { rate, span, size, linger }, &stop)?;
            println!("{}", serde_json::to_string(&report)?);
            Ok(())
        }
        Role::HttpServer { listen } => {
            runtime()?.block_on(http::serve(listen)).with_context(|| listen.to_string())
        }
        Role::HttpGet { timeout_ms, url } => {
            let timeout = Duration::from_millis(timeout_ms);
            println!("{}", runtime()?.block_on(http::fetch(url, timeout))?);
            Ok(())
        }
        Role::TcpSink { listen } => bulk::sink(listen).with_context(|| listen.to_string()),
        Role::TcpSend { for_ms, streams, to } => {
            let report = bulk::send(to, Duration::from_millis(for_ms), streams)
                .with_context(|| to.to_string())?;
            println!("{}", serde_json::to_string(&report)?);
            Ok(())
        }
        Role::Datagram { from, to } => {
            let text = std::io::read_to_string(std::io::stdin())?;
            let payload = datagram::bytes(text.trim()).map_err(anyhow::Error::msg)?;
            datagram::send(from, to, &payload).with_context(|| format!("{from} to {to}"))
        }
        Role::Initiations { public_key, rate, to } => {
            let key = data_encoding::BASE64.decode(public_key.as_bytes())?;
            let key = key.try_into().ok().context("--public-key: 32 bytes are needed")?;
            Ok(flood::run(to, &key, rate)?)
        }
        Role::Relay { ports, seed, onward, back } => {
            ensure!(ports.len() == 2, "--ports: two ports, one for each direction");
            let direction = |port, seed, impairment| Direction { port, seed, impairment };
            // Another seed for the way back, or it would lose the answers to what passed.
            let way_back = direction(ports[1], !seed, back);
            Ok(relay::splice::run([direction(ports[0], seed, onward), way_back])?)
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Set by SIGINT or SIGTERM. Called before any thread starts, so that all have them blocked.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    thread::spawn(move || {
        if signals.wait().is_ok() {
            set.store(true, Ordering::Relaxed);
        }
    });
    Ok(stop)
}
