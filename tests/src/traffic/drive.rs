//! Owns how a test starts traffic on hosts and reads what became of it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::process::{Command, Process};
use crate::lab::wire::Exit;
use crate::traffic::datagram;
use crate::traffic::flow::{FLOWING, Pace};
use crate::traffic::report::{BulkReport, FlowReport, HttpAnswer};

/// The program that all of this is.
const PROGRAM: &str = "lab-traffic";

/// How long one HTTP exchange may take.
const HTTP_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

fn server(host: &Host, role: &str, port: u16) -> Result<Process, LabError> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let process = host.command(PROGRAM).args([role, "--listen"]).arg(any).spawn()?;
    process.says("listening on ", START_TIMEOUT)?;
    Ok(process)
}

/// Starts an HTTP server on both families; returns once it listens.
///
/// # Errors
/// It does not start.
pub fn http_server(host: &Host, port: u16) -> Result<Process, LabError> {
    server(host, "http-server", port)
}

/// Asks an HTTP server, once, by a new connection.
///
/// # Errors
/// No answer within 3 s.
pub fn http_get(host: &Host, server: SocketAddr) -> Result<HttpAnswer, LabError> {
    let command = host.command(PROGRAM).args(["http-get", "--timeout-ms"]);
    let command = command.arg(HTTP_TIMEOUT.as_millis()).arg(format!("http://{server}/"));
    decode(command)
}

/// Starts a UDP echo on both families; returns once it listens.
///
/// # Errors
/// It does not start.
pub fn udp_echo(host: &Host, port: u16) -> Result<Process, LabError> {
    server(host, "udp-echo", port)
}

/// Starts a TCP sink on both families; returns once it listens.
///
/// # Errors
/// It does not start.
pub fn tcp_sink(host: &Host, port: u16) -> Result<Process, LabError> {
    server(host, "tcp-sink", port)
}

/// Sends to a TCP sink as fast as it goes, by one connection.
///
/// # Errors
/// The connection.
pub fn throughput(host: &Host, sink: SocketAddr, span: Duration) -> Result<BulkReport, LabError> {
    streams(host, sink, span, NonZeroU16::MIN)
}

/// The same by several connections.
///
/// # Errors
/// A connection.
pub fn streams(
    host: &Host,
    sink: SocketAddr,
    span: Duration,
    count: NonZeroU16,
) -> Result<BulkReport, LabError> {
    let command = host.command(PROGRAM).args(["tcp-send", "--for-ms"]).arg(span.as_millis());
    let command = command.arg("--streams").arg(count).arg(sink);
    decode(command.timeout(span + Duration::from_secs(30)))
}

/// Sends one UDP datagram.
///
/// # Errors
/// `from` is not an address of the host, or there is no way to `to`.
pub fn datagram(host: &Host, from: IpAddr, to: SocketAddr, payload: &[u8]) -> Result<(), LabError> {
    let command = host.command(PROGRAM).args(["datagram", "--from"]).arg(from).arg(to);
    command.stdin(&datagram::hex(payload)).output()?.success().map(drop)
}

/// A paced UDP flow to an echo, running while the test does something to the network.
#[derive(Debug)]
pub struct Flow {
    process: Process,
    longest: Duration,
}

impl Flow {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(host: &Host, echo: SocketAddr, pace: Pace) -> Result<Self, LabError> {
        let process = host
            .command(PROGRAM)
            .args(["udp-flow", "--rate", &pace.rate.to_string()])
            .args(["--for-ms", &pace.span.as_millis().to_string()])
            .args(["--size", &pace.size.to_string()])
            .args(["--linger-ms", &pace.linger.as_millis().to_string()])
            .arg(echo)
            .spawn()?;
        Ok(Self { process, longest: pace.span + pace.linger + Duration::from_secs(10) })
    }

    /// Returns once the first packet has come back.
    ///
    /// # Errors
    /// None has after 10 s.
    pub fn flows(&self) -> Result<(), LabError> {
        self.process.says(FLOWING, START_TIMEOUT)
    }

    /// Sends no more, waits for what is on its way, and reports.
    ///
    /// # Errors
    /// It died before.
    pub fn stop(self) -> Result<FlowReport, LabError> {
        self.process.signal(Signal::SIGINT)?;
        self.finish()
    }

    /// Waits for its end and reports.
    ///
    /// # Errors
    /// It died before.
    pub fn finish(self) -> Result<FlowReport, LabError> {
        let exit = self.process.wait(self.longest)?;
        let log = self.process.log()?;
        if exit != Exit::Code(0) {
            let host = self.process.host().name().to_owned();
            let (command, outcome) = ("udp-flow".to_owned(), exit.to_string());
            return Err(LabError::Command { host, command, outcome, stderr: log });
        }
        parse("udp-flow", log.lines().last().unwrap_or_default())
    }
}

fn decode<T: DeserializeOwned>(command: Command) -> Result<T, LabError> {
    let outcome = command.output()?;
    let what = format!("{}: `{}`", outcome.host, outcome.command);
    parse(&what, &outcome.success()?)
}

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, LabError> {
    serde_json::from_str(text).map_err(|cause| LabError::Json {
        what: what.to_owned(),
        cause,
        text: text.to_owned(),
    })
}
