//! Owns WireGuard devices on this host, whoever runs the protocol: the kernel or a process behind a
//! UAPI socket. Does not own links, nor where secrets are kept.

mod edit;
pub mod genetlink;
mod messages;
pub mod process;
pub mod uapi;
mod uapi_text;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use sealane_state::facts::PeerFacts;
use sealane_state::link::Backend;
use sealane_state::name::LinkName;
use sealane_state::wireguard::{Device, Peer, PskFingerprint, PublicKey};

use crate::keyring::Keyring;
use crate::wireguard::edit::{DeviceEdit, PeerEdit};
use crate::wireguard::genetlink::KernelDevices;
use crate::wireguard::process::Tunnels;
use crate::wireguard::uapi::Sockets;

/// Where there is no module to load, each question has the kernel run `modprobe` for nothing, which
/// takes longer than the rest of a look at the host.
const ASK_KERNEL_EVERY: Duration = Duration::from_secs(60);

/// What a device says of itself: its configuration, and facts of each peer.
pub type Reading = (Device, BTreeMap<PublicKey, PeerFacts>);

/// The WireGuard devices of this host, of both backends.
///
/// A link whose UAPI socket answers is a userspace device; any other is asked for in the kernel.
#[derive(Debug)]
pub struct Devices {
    sockets: Sockets,
    kernel: KernelDevices,
    /// When the kernel last said that it has no WireGuard.
    kernel_refused: Option<Instant>,
    tunnels: Tunnels,
}

/// Why a device was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum WireguardError {
    /// No WireGuard device of that name, in the kernel or behind a socket; retrying helps once the
    /// link is made.
    #[error("wireguard {link}: no such device, in the kernel or behind {socket}")]
    NoDevice {
        /// The link.
        link: LinkName,
        /// Where its socket would be.
        socket: String,
    },
    /// The device could not be asked; retrying may help.
    #[error("wireguard {link}: {action}: {fault}")]
    Unreachable {
        /// The link.
        link: LinkName,
        /// What was asked.
        action: &'static str,
        /// What the system says.
        fault: io::Error,
    },
    /// The device refused what was asked; what stood before in the same request may have been done.
    #[error("wireguard {link}: {action} refused: {fault}")]
    Refused {
        /// The link.
        link: LinkName,
        /// What was asked.
        action: &'static str,
        /// The device's errno.
        fault: io::Error,
    },
    /// The device's answer is not one that the protocol has.
    #[error("wireguard {link}: answer not understood: {fault}")]
    Answer {
        /// The link.
        link: LinkName,
        /// What is wrong with it; holds no secret.
        fault: String,
    },
    /// The device changed each time it was read; retrying helps.
    #[error("wireguard {link}: kept changing while it was read; retrying helps")]
    Unsteady {
        /// The link.
        link: LinkName,
    },
    /// The keyring has no private half of the wanted key; nothing was written.
    #[error("wireguard {link}: no private key at hand for {key}")]
    NoPrivateKey {
        /// The link.
        link: LinkName,
        /// The public half.
        key: PublicKey,
    },
    /// The keyring has no pre-shared key of the wanted fingerprint; this peer was left alone.
    #[error("wireguard peer {peer}: no pre-shared key at hand with fingerprint {fingerprint}")]
    NoPsk {
        /// The peer.
        peer: PublicKey,
        /// The fingerprint.
        fingerprint: PskFingerprint,
    },
    /// Only userspace devices take sources beside the allowed IPs; this peer was left alone.
    #[error(
        "wireguard peer {peer}: a kernel device takes no accepted sources; use one link per slot"
    )]
    AcceptedSources {
        /// The peer.
        peer: PublicKey,
    },
    /// A prefix has bits set beyond its length; this peer was left alone.
    #[error("wireguard peer {peer}: prefix {prefix} has bits set beyond its length")]
    HostBits {
        /// The peer.
        peer: PublicKey,
        /// The prefix.
        prefix: IpNetwork,
    },
}

/// One backend's way to read and write a device. Both speak the same data.
trait Control {
    /// Reads the whole device; secrets are wiped before this returns.
    fn read(&self, link: &LinkName) -> Result<Reading, WireguardError>;

    /// Writes the edit in order, split over as many requests as it takes.
    fn write(&self, link: &LinkName, edit: DeviceEdit) -> Result<(), WireguardError>;

    /// Says why this backend cannot carry the peer; `None` when it can.
    fn objection(&self, key: &PublicKey, peer: &Peer) -> Option<WireguardError>;
}

impl Devices {
    /// Makes the devices of this host known; `tunnels` says how userspace ones are run.
    pub fn new(tunnels: Tunnels) -> Self {
        let sockets = tunnels.sockets().clone();
        Self { sockets, kernel: KernelDevices, kernel_refused: None, tunnels }
    }

    /// Returns the processes behind userspace devices, to start and stop them.
    pub fn tunnels(&self) -> &Tunnels {
        &self.tunnels
    }

    /// Returns the backends that this host can run now; asking may load the kernel's module. A
    /// kernel without WireGuard is asked once a minute.
    pub fn backends(&mut self) -> BTreeSet<Backend> {
        let mut backends = BTreeSet::new();
        if self.kernel_refused.is_none_or(|refused| refused.elapsed() > ASK_KERNEL_EVERY) {
            self.kernel_refused = (!self.kernel.available()).then(Instant::now);
        }
        if self.kernel_refused.is_none() {
            backends.insert(Backend::Kernel);
        }
        if self.tunnels.available() {
            backends.insert(Backend::Userspace);
        }
        backends
    }

    /// Reads a device: configuration without secrets, and what it says of each peer.
    ///
    /// A device without a private key has the all-zero public key.
    ///
    /// # Errors
    /// [`WireguardError`].
    pub fn observe(&self, link: &LinkName) -> Result<Reading, WireguardError> {
        self.control(link).read(link)
    }

    /// Brings key, port and mark of a device to what is wanted; its peers are not touched.
    ///
    /// # Errors
    /// [`WireguardError`]; after `NoPrivateKey` nothing was written.
    pub fn set_device(
        &self,
        link: &LinkName,
        wanted: &Device,
        keyring: &dyn Keyring,
    ) -> Result<(), WireguardError> {
        let control = self.control(link);
        let (present, _) = control.read(link)?;
        let edit = edit::device(&present, wanted, keyring)
            .ok_or_else(|| WireguardError::NoPrivateKey { link: link.clone(), key: wanted.key })?;
        if edit.is_empty() { Ok(()) } else { control.write(link, edit) }
    }

    /// Adds peers or brings them to what is wanted, in one go, without losing a session.
    ///
    /// Only what differs is written. Prefixes move to a peer before any is taken from another, so
    /// one that changes its peer is never without.
    ///
    /// Returns the peers that were left alone, each with its reason; the others are done.
    ///
    /// # Errors
    /// [`WireguardError`] of the device.
    pub fn put_peers(
        &self,
        link: &LinkName,
        wanted: &BTreeMap<PublicKey, Peer>,
        keyring: &dyn Keyring,
    ) -> Result<BTreeMap<PublicKey, WireguardError>, WireguardError> {
        let control = self.control(link);
        let (present, _) = control.read(link)?;
        let objection = |key: &PublicKey, peer: &Peer| control.objection(key, peer);
        let (peers, refused) = edit::peers(&present.peers, wanted, keyring, &objection);
        if !peers.is_empty() {
            control.write(link, DeviceEdit { peers, ..DeviceEdit::default() })?;
        }
        Ok(refused)
    }

    /// Adds a peer or brings it to what is wanted, as [`Devices::put_peers`] does for many.
    ///
    /// # Errors
    /// [`WireguardError`] of the device or of the peer.
    pub fn put_peer(
        &self,
        link: &LinkName,
        key: &PublicKey,
        wanted: &Peer,
        keyring: &dyn Keyring,
    ) -> Result<(), WireguardError> {
        let wanted = BTreeMap::from([(*key, wanted.clone())]);
        match self.put_peers(link, &wanted, keyring)?.into_values().next() {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }

    /// Removes peers; those that are not there are no fault.
    ///
    /// # Errors
    /// [`WireguardError`] of the device.
    pub fn delete_peers(
        &self,
        link: &LinkName,
        keys: &BTreeSet<PublicKey>,
    ) -> Result<(), WireguardError> {
        let peers = keys.iter().copied().map(PeerEdit::removal).collect();
        self.control(link).write(link, DeviceEdit { peers, ..DeviceEdit::default() })
    }

    fn control(&self, link: &LinkName) -> &dyn Control {
        if self.sockets.is_served(link) { &self.sockets } else { &self.kernel }
    }
}
