//! Owns the conversation with userspace WireGuard devices over their UAPI sockets. Does not own the
//! processes behind them, nor the text that is spoken.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealane_state::name::LinkName;
use sealane_state::wireguard::{Peer, PublicKey};
use zeroize::Zeroizing;

use crate::wireguard::edit::DeviceEdit;
use crate::wireguard::uapi_text::{self, Answer, BadLine};
use crate::wireguard::{Control, Reading, WireguardError};

/// Where `wg` and all userspace implementations look.
pub const SOCKET_DIR: &str = "/var/run/wireguard";

/// A device that does not answer for this long is taken for hung.
const PATIENCE: Duration = Duration::from_secs(5);
/// No line of an answer is longer.
const LONGEST_LINE_BYTES: usize = 4096;

/// UAPI sockets of this host: one folder, one socket for each device.
#[derive(Debug, Clone)]
pub struct Sockets {
    folder: PathBuf,
}

impl Sockets {
    /// Names the folder; [`SOCKET_DIR`] unless in a test.
    pub fn below(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Returns where the socket of a device is, or would be.
    pub fn path(&self, link: &LinkName) -> PathBuf {
        self.folder.join(format!("{link}.sock"))
    }

    /// Returns whether someone listens at the socket of this device.
    pub fn is_served(&self, link: &LinkName) -> bool {
        UnixStream::connect(self.path(link)).is_ok()
    }

    /// Connects to a device.
    ///
    /// # Errors
    /// [`WireguardError::NoDevice`] when nobody listens.
    pub(super) fn connect(&self, link: &LinkName) -> Result<UnixStream, WireguardError> {
        let path = self.path(link);
        let stream = UnixStream::connect(&path).map_err(|fault| match fault.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                WireguardError::NoDevice { link: link.clone(), socket: path.display().to_string() }
            }
            _ => unreachable_by(link, "connect")(fault),
        })?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable_by(link, "connect"))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(unreachable_by(link, "connect"))?;
        Ok(stream)
    }

    /// Sends one request on a connection of its own, as not every device takes several on one.
    fn ask(
        &self,
        link: &LinkName,
        action: &'static str,
        request: &str,
    ) -> Result<Reading, WireguardError> {
        let mut stream = self.connect(link)?;
        stream.write_all(request.as_bytes()).map_err(unreachable_by(link, action))?;
        let answer = read_answer(&mut stream).map_err(|fault| match fault {
            AnswerFault::Io(fault) => unreachable_by(link, action)(fault),
            AnswerFault::Line(BadLine(fault)) => {
                WireguardError::Answer { link: link.clone(), fault }
            }
        })?;
        answer.outcome().map_err(|fault| WireguardError::Refused {
            link: link.clone(),
            action,
            fault,
        })
    }
}

impl Control for Sockets {
    fn read(&self, link: &LinkName) -> Result<Reading, WireguardError> {
        self.ask(link, "get", uapi_text::GET)
    }

    fn write(&self, link: &LinkName, edit: DeviceEdit) -> Result<(), WireguardError> {
        uapi_text::requests(edit)
            .iter()
            .try_for_each(|request| self.ask(link, "set", request).map(drop))
    }

    fn objection(&self, _: &PublicKey, _: &Peer) -> Option<WireguardError> {
        None
    }
}

enum AnswerFault {
    Io(io::Error),
    Line(BadLine),
}

/// Reads one answer. Its lines hold secrets: they pass through two buffers that never move and are
/// wiped.
fn read_answer(stream: &mut UnixStream) -> Result<Answer, AnswerFault> {
    let mut answer = Answer::new();
    let mut chunk = Zeroizing::new([0; 8192]);
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST_LINE_BYTES));
    loop {
        let count = match stream.read(&mut *chunk) {
            Ok(0) => return Err(AnswerFault::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => count,
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            Err(fault) => return Err(AnswerFault::Io(fault)),
        };
        for &byte in &chunk[..count] {
            if byte != b'\n' {
                if line.len() == LONGEST_LINE_BYTES {
                    return Err(AnswerFault::Line(BadLine("a line without end".to_owned())));
                }
                line.push(byte);
                continue;
            }
            let text = std::str::from_utf8(&line)
                .map_err(|_| AnswerFault::Line(BadLine("a line that is no text".to_owned())))?;
            if answer.take(text).map_err(AnswerFault::Line)? {
                return Ok(answer);
            }
            line.clear();
        }
    }
}

fn unreachable_by(link: &LinkName, action: &'static str) -> impl Fn(io::Error) -> WireguardError {
    let link = link.clone();
    move |fault| WireguardError::Unreachable { link: link.clone(), action, fault }
}
