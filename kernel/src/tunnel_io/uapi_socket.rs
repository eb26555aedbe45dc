//! Owns the UAPI socket file: its directory, its mode, the detection of stale ones, its removal.
//! Owns neither connections nor what is said on them.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use thiserror::Error;

use super::tun::LinkName;

/// Where `wg` looks for userspace devices.
pub const DIRECTORY: &str = "/var/run/wireguard";

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum UapiSocketError {
    /// A live process answers on it.
    #[error("{0} belongs to a running tunnel; stop that one first")]
    InUse(PathBuf),
    /// The file system refused.
    #[error("{path}: {source}; the directory must be writable for the tunnel")]
    Io {
        /// Directory or file.
        path: PathBuf,
        /// What was said.
        source: io::Error,
    },
}

/// A listening socket that is removed when dropped, if it is still ours.
pub struct UapiSocket {
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

impl UapiSocket {
    /// Listens at `DIRECTORY/NAME.sock`.
    ///
    /// # Errors
    /// [`UapiSocketError`].
    pub fn listen(name: &LinkName) -> Result<Self, UapiSocketError> {
        Self::listen_in(Path::new(DIRECTORY), name)
    }

    fn listen_in(directory: &Path, name: &LinkName) -> Result<Self, UapiSocketError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| UapiSocketError::Io { path, source }
        };
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(failed(directory))?;
        let path = directory.join(format!("{}.sock", name.as_str()));
        let listener = match bind(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if UnixStream::connect(&path).is_ok() {
                    return Err(UapiSocketError::InUse(path));
                }
                fs::remove_file(&path).map_err(failed(&path))?;
                bind(&path)
            }
            result => result,
        };
        let listener = listener.map_err(failed(&path))?;
        let prepare = || {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            identity(&path)
        };
        let identity = prepare().map_err(failed(&path))?;
        Ok(Self { listener, path, identity })
    }

    /// Whether the file is still the one that was made.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        identity(&self.path).is_ok_and(|now| now == self.identity)
    }

    /// A waiting connection, not blocking.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    pub fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

impl AsFd for UapiSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for UapiSocket {
    fn drop(&mut self) {
        if self.is_ours() {
            // What cannot be removed is detected as stale by the next tunnel of this name.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds with a mask under which the file is never open to others, not even for a moment; and under
/// another name first, as `wg` deletes a socket at which nobody listens yet.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let early = path.with_extension(std::process::id().to_string());
    // One that a killed process of the same number left.
    let _ = fs::remove_file(&early);
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(&early);
    umask(before);
    let listener = listener?;
    let named = fs::hard_link(&early, path);
    fs::remove_file(&early)?;
    named.map(|()| listener)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let facts = fs::symlink_metadata(path)?;
    Ok((facts.dev(), facts.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> LinkName {
        "test0".parse().unwrap()
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let first = UapiSocket::listen_in(directory.path(), &name()).unwrap();
        let refused = UapiSocket::listen_in(directory.path(), &name());
        assert!(matches!(refused, Err(UapiSocketError::InUse(_))));
        assert!(first.is_ours());
        drop(first);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
        let stale = UnixListener::bind(directory.path().join("test0.sock")).unwrap();
        drop(stale);
        let second = UapiSocket::listen_in(directory.path(), &name()).unwrap();
        let mode = fs::metadata(&second.path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_socket_that_is_seen_answers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test0.sock");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        // What `wg` does: a socket that refuses is deleted.
        let impatient = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut refused = 0;
                while stopped.try_recv().is_err() {
                    let outcome = UnixStream::connect(&path);
                    refused += outcome
                        .is_err_and(|fault| fault.kind() == ErrorKind::ConnectionRefused)
                        as u32;
                }
                refused
            }
        });
        for _ in 0..200 {
            let socket = UapiSocket::listen_in(directory.path(), &name()).unwrap();
            // Gone before it stops listening, as a connection may be under way.
            fs::remove_file(&path).unwrap();
            drop(socket);
        }
        stop.send(()).unwrap();
        assert_eq!(impatient.join().unwrap(), 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_socket_that_somebody_replaced_is_theirs() {
        let directory = tempfile::tempdir().unwrap();
        let ours = UapiSocket::listen_in(directory.path(), &name()).unwrap();
        let theirs = directory.path().join("theirs");
        fs::write(&theirs, "").unwrap();
        fs::rename(&theirs, &ours.path).unwrap();
        assert!(!ours.is_ours());
        let path = ours.path.clone();
        drop(ours);
        assert!(path.exists(), "what is not ours stays");
    }
}
