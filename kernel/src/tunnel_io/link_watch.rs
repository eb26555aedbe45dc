//! Owns the news that links changed, or addresses and routes: route netlink sockets whose messages are
//! not read for what they say, only that there were some. What changed is asked of the kernel itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::os::fd::AsRawFd;

/// The multicast group of link messages (RTMGRP_LINK).
const LINKS: u32 = libc::RTMGRP_LINK as u32;

/// The multicast groups of addresses and routes (RTMGRP_IPV4_IFADDR and its like).
const WAYS: u32 = (libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV6_ROUTE) as u32;

/// Readable after something of its kind changed.
pub struct LinkWatch(OwnedFd);

impl LinkWatch {
    /// Watches the links of this network namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of_links() -> Result<Self, Errno> {
        Self::open(LINKS)
    }

    /// Watches the addresses and routes of this network namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of_ways() -> Result<Self, Errno> {
        Self::open(WAYS)
    }

    fn open(groups: u32) -> Result<Self, Errno> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self(fd))
    }

    /// Forgets the news there were. An overrun is news as well, and gone once it was told.
    pub fn clear(&self) {
        let mut scratch = [0; 8_192];
        for _ in 0..64 {
            match recv(self.0.as_raw_fd(), &mut scratch, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
