//! Owns the addresses of this host's name servers: no lane may swallow them. Resolves nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::facts;

/// What the resolver library reads, and what systemd-resolved asks when the first names its stub.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Returns the name servers of this host; a file that cannot be read names none.
pub fn configured() -> BTreeSet<IpAddr> {
    let texts = FILES.iter().filter_map(|file| std::fs::read(file).ok());
    texts.flat_map(|text| name_servers(&String::from_utf8_lossy(&text))).collect()
}

/// Returns the name servers in the text of a `resolv.conf` (resolv.conf(5)) that packets leave this
/// host for.
pub fn name_servers(text: &str) -> BTreeSet<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        // Only lines that begin with the keyword count.
        let rest = line.strip_prefix("nameserver")?;
        let server = rest.starts_with([' ', '\t']).then(|| rest.split_whitespace().next())??;
        let (address, _scope) = server.split_once('%').unwrap_or((server, ""));
        address.parse().ok()
    });
    servers.filter(|server| !facts::is_private_to_host(*server)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_both_families_are_found_and_nothing_else() {
        let text = "# nameserver 192.0.2.1\n; nameserver 192.0.2.2\n nameserver 192.0.2.3\n\
                    search 192.0.2.4 example.net\noptions edns0\nnameservers 192.0.2.5\n\
                    nameserver 192.0.2.53\nnameserver\t2001:db8::53 # ours\r\nnameserver\n\
                    nameserver fe80::1%eth0\nnameserver 127.0.0.53\nnameserver dns.example.net\n";
        let expected: BTreeSet<IpAddr> =
            ["192.0.2.53", "2001:db8::53"].map(|text| text.parse().unwrap()).into();
        assert_eq!(name_servers(text), expected);
    }
}
