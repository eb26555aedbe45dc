//! Owns a TUN device: its creation, offloads, MTU and flags, reading and writing. The device lives
//! as long as this does. Owns no address and no route.
#![expect(unsafe_code, reason = "TUN devices are made and asked by ioctl, which nix does not wrap")]

use std::ffi::c_ulong;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::str::FromStr;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use nix::sys::uio::writev;
use nix::unistd::read;
use thiserror::Error;

use super::offload::Offloads;

/// A link name the kernel takes: 1 to 15 bytes, no slash, blank, colon or percent sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkName(String);

impl LinkName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..libc::IFNAMSIZ).contains(&text.len());
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte));
        if fits && plain && text != "." && text != ".." {
            Ok(Self(text.to_owned()))
        } else {
            Err("a link name has 1 to 15 printable characters, none of them / : %".to_owned())
        }
    }
}

/// Why there is no TUN device.
#[derive(Debug, Error)]
pub enum TunError {
    /// `/dev/net/tun` cannot be opened.
    #[error("/dev/net/tun: {0}; load the tun module, or give the container the device")]
    Device(#[source] Errno),
    /// The name is taken.
    #[error("link {name} exists already; choose another name or delete it")]
    Exists {
        /// The wanted name.
        name: String,
    },
    /// The kernel refused one step.
    #[error("link {name}: {step}: {source}; CAP_NET_ADMIN in this network namespace is needed")]
    Refused {
        /// The wanted name.
        name: String,
        /// What was asked.
        step: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
}

/// What the link looks like now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Whether it is administratively up.
    pub up: bool,
    /// In bytes.
    pub mtu: usize,
}

/// A TUN device with an offload header before each packet, not blocking.
pub struct Tun {
    fd: OwnedFd,
    /// Any socket of the network namespace that the device was made in, for its ioctls.
    control: OwnedFd,
}

impl Tun {
    /// Makes a new device; one that exists is never taken over.
    ///
    /// # Errors
    /// [`TunError`]; retrying helps only after what it names has been changed.
    pub fn create(name: &LinkName, mtu: u16, offloads: Offloads) -> Result<Self, TunError> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = open("/dev/net/tun", flags, Mode::empty()).map_err(TunError::Device)?;
        let refused = |step| {
            let name = name.0.clone();
            move |source| TunError::Refused { name, step, source }
        };
        let control = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map_err(refused("control socket"))?;
        let mut request = named(&name.0);
        let kind = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL;
        // 0xd001 is a bit pattern: the field is a short by accident of history.
        request.ifr_ifru.ifru_flags = kind as i16;
        ioctl(fd.as_fd(), libc::TUNSETIFF, &mut request).map_err(|source| match source {
            Errno::EBUSY => TunError::Exists { name: name.0.clone() },
            source => TunError::Refused { name: name.0.clone(), step: "create", source },
        })?;
        let tun = Self { fd, control };
        tun.set_offloads(offloads).map_err(refused("offloads"))?;
        request.ifr_ifru.ifru_mtu = i32::from(mtu);
        ioctl(tun.control.as_fd(), libc::SIOCSIFMTU, &mut request).map_err(refused("MTU"))?;
        Ok(tun)
    }

    /// What the link looks like: `Ok(None)` if it is in a network namespace we cannot ask.
    ///
    /// # Errors
    /// `EBADFD` once the link was deleted.
    pub fn facts(&self) -> Result<Option<LinkFacts>, Errno> {
        let mut request = named("");
        ioctl(self.fd.as_fd(), libc::TUNGETIFF, &mut request)?;
        if ioctl(self.control.as_fd(), libc::SIOCGIFFLAGS, &mut request).is_err() {
            return Ok(None);
        }
        // SAFETY: SIOCGIFFLAGS succeeded, so the kernel has filled this member of the union.
        let up = i32::from(unsafe { request.ifr_ifru.ifru_flags }) & libc::IFF_UP != 0;
        if ioctl(self.control.as_fd(), libc::SIOCGIFMTU, &mut request).is_err() {
            return Ok(None);
        }
        // SAFETY: SIOCGIFMTU succeeded, so the kernel has filled this member of the union.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        Ok(Some(LinkFacts { up, mtu: usize::try_from(mtu).unwrap_or(0) }))
    }

    /// Reads one packet with its offload header.
    ///
    /// # Errors
    /// `EAGAIN` if there is none; `EBADFD` once the link was deleted.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        read(&self.fd, buffer)
    }

    /// Writes one packet with its offload header, gathered from pieces.
    ///
    /// # Errors
    /// `EIO` while the link is down; `EINVAL` for a superpacket this kernel does not take.
    pub fn write(&self, pieces: &[IoSlice<'_>]) -> Result<(), Errno> {
        writev(&self.fd, pieces).map(drop)
    }

    fn set_offloads(&self, offloads: Offloads) -> Result<(), Errno> {
        let checksum = libc::TUN_F_CSUM;
        let tso = if offloads.tso { libc::TUN_F_TSO4 | libc::TUN_F_TSO6 } else { 0 };
        let uso = if offloads.uso { libc::TUN_F_USO4 | libc::TUN_F_USO6 } else { 0 };
        // Kernels before 6.2 refuse USO; without it the rest is worth having.
        let wanted = [checksum | tso | uso, checksum | tso, checksum];
        let mut last = Errno::EINVAL;
        for flags in wanted {
            // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
            let result = unsafe {
                libc::ioctl(self.fd.as_raw_fd(), libc::TUNSETOFFLOAD, c_ulong::from(flags))
            };
            match Errno::result(result) {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A request for the link of this name, everything else zero.
fn named(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain data; all zeros are a valid value of it and of its union.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn ioctl(fd: BorrowedFd<'_>, code: libc::Ioctl, request: &mut libc::ifreq) -> Result<(), Errno> {
    // SAFETY: every code used here takes a pointer to one ifreq, which lives through the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), code, std::ptr::from_mut(request)) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_are_those_the_kernel_takes() {
        for good in ["sealane0", "wg0", "a", "fifteen-letters"] {
            assert!(good.parse::<LinkName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "wg%d", "sixteen-letters!", "a b", "é", "wg:0", "a\n"] {
            assert!(bad.parse::<LinkName>().is_err(), "{bad}");
        }
    }
}
