//! Owns the conversation with userspace WireGuard devices over their UAPI sockets. Does not own the
//! processes behind them, nor the text that is spoken.

use std::io::{self, BufRead, BufReader, Read, Write};
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

    /// Returns the version of the `sealane-tunnel` behind a device; `None` when it is another program,
    /// or too old to say, or does not answer.
    pub fn version(&self, link: &LinkName) -> Option<String> {
        let mut stream = self.connect(link).ok()?;
        stream.write_all(uapi_text::GET_VERSION.as_bytes()).ok()?;
        let mut answer = String::new();
        // A device that refuses the request answers with errno alone, or ends the connection.
        BufReader::new(stream.take(LONGEST_LINE_BYTES as u64)).read_line(&mut answer).ok()?;
        uapi_text::version(&answer)
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What is taken for the version of a device that answers so.
    fn version(answer: &'static str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let link: LinkName = "sealane0".parse().unwrap();
        let listener = UnixListener::bind(folder.path().join("sealane0.sock")).unwrap();
        let device = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; uapi_text::GET_VERSION.len()];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        let version = Sockets::below(folder.path()).version(&link);
        assert_eq!(device.join().unwrap(), uapi_text::GET_VERSION.as_bytes());
        version
    }

    #[test]
    fn a_device_that_does_not_say_its_version_has_none() {
        let known = version("sealane_version=1.2.3-rc.1+x\nerrno=0\n\n");
        assert_eq!(known.as_deref(), Some("1.2.3-rc.1+x"));
        for answer in [
            "",
            "errno=-71\n\n",
            "protocol_version=1\nerrno=0\n\n",
            "sealane_version=\nerrno=0\n\n",
            "sealane_version=\u{1b}[2J\nerrno=0\n\n",
            "sealane_version=1.2.3",
        ] {
            assert_eq!(version(answer), None, "{answer:?}");
        }
    }
}
