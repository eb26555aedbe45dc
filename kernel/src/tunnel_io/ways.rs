//! Owns the question whether a local address still lies on the way to a peer, as the kernel would go now.
//! Remembers nothing and sends nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use socket2::{Domain, Protocol, Socket, Type};

/// The links of this host by their addresses, as they are now.
pub struct Ways {
    links: BTreeMap<IpAddr, String>,
    mark: u32,
}

impl Ways {
    /// Looks at the addresses of this host; `mark` is that of the packets which would go.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn look(mark: u32) -> nix::Result<Self> {
        let links = getifaddrs()?.filter_map(|it| {
            let address = it.address?;
            let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
            let v6 = address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip()));
            Some((v4.or(v6)?, it.interface_name))
        });
        Ok(Self { links: links.collect(), mark })
    }

    /// Says whether packets to `remote` leave by the link that has the address `local`. Where there is
    /// no way at all it does, for nothing better is known.
    pub fn lead(&self, remote: SocketAddr, local: IpAddr) -> bool {
        match self.source_towards(remote) {
            Some(chosen) if chosen == local => true,
            Some(chosen) => {
                let of_local = self.links.get(&local);
                of_local.is_some() && of_local == self.links.get(&chosen)
            }
            None => self.links.contains_key(&local),
        }
    }

    /// A datagram socket that is connected has the source that the kernel would choose.
    fn source_towards(&self, remote: SocketAddr) -> Option<IpAddr> {
        let socket =
            Socket::new(Domain::for_address(remote), Type::DGRAM, Some(Protocol::UDP)).ok()?;
        if self.mark != 0 {
            socket.set_mark(self.mark).ok()?;
        }
        socket.connect(&remote.into()).ok()?;
        Some(socket.local_addr().ok()?.as_socket()?.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_on_the_way_where_packets_leave_by_its_link() {
        let ways = Ways::look(0).unwrap();
        let local = |text: &str| text.parse::<IpAddr>().unwrap();
        let remote = "127.0.0.9:51820".parse().unwrap();
        assert!(ways.lead(remote, local("127.0.0.1")));
        assert!(!ways.lead(remote, local("192.0.2.1")), "no address of this host");
    }
}
