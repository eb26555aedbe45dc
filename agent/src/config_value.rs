//! Owns the values of `agent.toml`, one at a time: each becomes what it means, or a fault with line and
//! key. Does not know which keys there are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnetwork::IpNetwork;
use sealane_state::name::LinkName;
use toml::Spanned;

use crate::config::{BackendChoice, Supervision};

/// A fault in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// Line, from 1.
    pub line: usize,
    /// The key, with its table.
    pub key: String,
    /// What is wrong and what would be right.
    pub cause: String,
}

/// The text that spans refer to.
pub struct Place<'a> {
    /// The whole file.
    pub text: &'a str,
}

impl Place<'_> {
    /// Returns a fault of a value.
    pub fn problem<T>(&self, key: &str, value: &Spanned<T>, cause: String) -> FileProblem {
        FileProblem { line: line_of(self.text, value.span().start), key: key.to_owned(), cause }
    }

    /// A node name: an RFC 1123 subdomain of at most 150 bytes.
    pub fn node_name(&self, key: &str, name: &Spanned<String>) -> Result<String, FileProblem> {
        let text = name.get_ref();
        if is_node_name(text) {
            return Ok(text.clone());
        }
        let cause = format!("{text:?} is not a node name: lower-case letters, digits, '-', '.'");
        Err(self.problem(key, name, cause))
    }

    /// CIDRs without host bits.
    pub fn networks(
        &self,
        key: &str,
        texts: &[Spanned<String>],
    ) -> Result<Vec<IpNetwork>, FileProblem> {
        texts.iter().map(|text| self.network(key, text)).collect()
    }

    /// One CIDR without host bits.
    pub fn network(&self, key: &str, text: &Spanned<String>) -> Result<IpNetwork, FileProblem> {
        let given = text.get_ref();
        let expect = "expected a CIDR such as 10.1.0.0/16 or fd00:1::/48";
        let net: IpNetwork = given
            .parse()
            .ok()
            .filter(|_| given.contains('/'))
            .ok_or_else(|| self.problem(key, text, format!("{given:?}: {expect}")))?;
        if net.ip() != net.network() {
            let base = format!("{}/{}", net.network(), net.prefix());
            return Err(self.problem(
                key,
                text,
                format!("{given:?} has host bits set; did you mean {base}?"),
            ));
        }
        Ok(net)
    }

    /// An IP address.
    pub fn address(&self, key: &str, text: &Spanned<String>) -> Result<IpAddr, FileProblem> {
        let given = text.get_ref();
        given
            .parse()
            .map_err(|_| self.problem(key, text, format!("{given:?} is not an IP address")))
    }

    /// An IPv4 address.
    pub fn ipv4(&self, key: &str, text: &Spanned<String>) -> Result<Ipv4Addr, FileProblem> {
        let given = text.get_ref();
        given
            .parse()
            .map_err(|_| self.problem(key, text, format!("{given:?} is not an IPv4 address")))
    }

    /// A WireGuard backend.
    pub fn backend(&self, text: &Spanned<String>) -> Result<BackendChoice, FileProblem> {
        match text.get_ref().as_str() {
            "auto" => Ok(BackendChoice::Auto),
            "kernel" => Ok(BackendChoice::Kernel),
            "userspace" => Ok(BackendChoice::Userspace),
            other => {
                let cause = format!("{other:?} is not one of auto, kernel, userspace");
                Err(self.problem("tunnel.backend", text, cause))
            }
        }
    }

    /// Who starts tunnels.
    pub fn supervision(&self, text: &Spanned<String>) -> Result<Supervision, FileProblem> {
        match text.get_ref().as_str() {
            "agent" => Ok(Supervision::Agent),
            "systemd" => Ok(Supervision::Systemd),
            "external" => Ok(Supervision::External),
            other => {
                let cause = format!("{other:?} is not one of agent, systemd, external");
                Err(self.problem("tunnel.supervision", text, cause))
            }
        }
    }

    /// A UDP port that others can be told.
    pub fn port(&self, port: &Spanned<u16>) -> Result<u16, FileProblem> {
        match *port.get_ref() {
            0 => {
                let cause = "0 is not a port that others can be told; the default is 51820";
                Err(self.problem("tunnel.listen_port", port, cause.to_owned()))
            }
            sound => Ok(sound),
        }
    }

    /// A packet size that IPv6 can live with.
    pub fn mtu(&self, mtu: &Spanned<u32>) -> Result<u32, FileProblem> {
        match *mtu.get_ref() {
            sound @ 1280..=65535 => Ok(sound),
            other => {
                let cause = format!("{other} is outside 1280 to 65535 (IPv6 needs 1280)");
                Err(self.problem("tunnel.mtu", mtu, cause))
            }
        }
    }

    /// An address with a port.
    pub fn socket(&self, key: &str, text: &Spanned<String>) -> Result<SocketAddr, FileProblem> {
        let given = text.get_ref();
        let expect = "expected ADDRESS:PORT such as 198.51.100.7:51820 or [2001:db8::7]:51820";
        given.parse().map_err(|_| self.problem(key, text, format!("{given:?}: {expect}")))
    }

    /// A link name.
    pub fn link(&self, key: &str, text: &Spanned<String>) -> Result<LinkName, FileProblem> {
        text.get_ref().parse().map_err(|error| self.problem(key, text, format!("{error}")))
    }

    /// Where metrics are served; `None` is `off`.
    pub fn metrics(&self, text: &Spanned<String>) -> Result<Option<SocketAddr>, FileProblem> {
        if text.get_ref() == "off" {
            return Ok(None);
        }
        self.socket("metrics.listen", text).map(Some)
    }
}

/// Tells whether a text is a node name: an RFC 1123 subdomain of at most 150 bytes.
pub fn is_node_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 150 && text.split('.').all(label)
}

/// Returns the line of a byte offset, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
