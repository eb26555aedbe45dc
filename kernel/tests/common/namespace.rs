//! Owns the namespaces that a test has for itself, and a host in them: the thread enters them, and they
//! end with the thread. Needs root, as `unshare -rn` also gives it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use sealane_kernel::host::Host;
use sealane_kernel::keyring::{Keyring, SecretBytes};
use sealane_kernel::outcome::Outcome;
use sealane_kernel::wireguard::process::{Supervision, Tunnels};
use sealane_kernel::wireguard::uapi::{SOCKET_DIR, Sockets};
use sealane_state::address::Address;
use sealane_state::diff::diff;
use sealane_state::facts::Observation;
use sealane_state::filter::{Chain, FilterRule, FilterTable, Hook, HookKind, HookPoint};
use sealane_state::host::HostState;
use sealane_state::link::{Backend, Link, LinkKind, Mac, Vxlan};
use sealane_state::name::LinkName;
use sealane_state::neighbour::{Fdb, Neighbour};
use sealane_state::owner;
use sealane_state::route::{Route, RouteKey, Target};
use sealane_state::rule::{Family, MarkMatch, Rule, Sense};
use sealane_state::sysctl::SysctlKey;
use sealane_state::wireguard::{PskFingerprint, PublicKey};
use tempfile::TempDir;

use super::devices::{device_with, full_peer, net};
use super::sweeper::Sweeper;

/// A keyring without keys.
struct NoKeys;

impl Keyring for NoKeys {
    fn private_key(&self, _: &PublicKey) -> Option<SecretBytes> {
        None
    }

    fn psk(&self, _: &PskFingerprint) -> Option<SecretBytes> {
        None
    }
}

/// Enters a network namespace with nothing in it.
pub(crate) fn enter_network() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: run as root");
}

/// Enters a mount namespace with a `/run` of its own, where devices have their sockets.
pub(crate) fn enter_run() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace: run as root");
    let nothing: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
}

/// A host with an uplink `up0` (192.0.2.11/24 and 2001:db8::11/64).
pub(crate) struct TestHost {
    pub(crate) host: Host,
    keys: Box<dyn Keyring>,
    _folder: TempDir,
    /// Goes last; only a host that runs tunnels has one.
    _sweeper: Option<Sweeper>,
}

impl TestHost {
    pub(crate) fn fresh() -> Self {
        enter_network();
        sh("ip link set lo up");
        sh("ip link add up0 type veth peer name far0");
        sh("ip link set up0 addrgenmode none");
        sh("ip link set far0 addrgenmode none");
        sh("ip link set up0 up");
        sh("ip link set far0 up");
        sh("ip addr add 192.0.2.11/24 dev up0");
        sh("ip addr add 2001:db8::11/64 dev up0 nodad");
        Self::opened()
    }

    /// The same, with these keys.
    pub(crate) fn with_keys(keys: Box<dyn Keyring>) -> Self {
        Self { keys, ..Self::fresh() }
    }

    /// Opens the host in a namespace that is prepared already.
    pub(crate) fn opened() -> Self {
        let folder = TempDir::new().unwrap();
        let sockets = Sockets::below(folder.path());
        let tunnels = Tunnels::new(sockets, Supervision::External, folder.path());
        let host = Host::open(folder.path(), tunnels).unwrap();
        Self { host, keys: Box::new(NoKeys), _folder: folder, _sweeper: None }
    }

    /// A host that runs its tunnels itself, with these keys.
    pub(crate) fn with_tunnels(program: &str, keys: Box<dyn Keyring>) -> Self {
        enter_run();
        drop(Self::fresh());
        let folder = TempDir::new().unwrap();
        let sockets = Sockets::below(Path::new(SOCKET_DIR));
        let tunnels = Tunnels::new(sockets, Supervision::Ours, folder.path())
            .with_program(Path::new(program));
        let host = Host::open(folder.path(), tunnels).unwrap();
        Self { host, keys, _folder: folder, _sweeper: Some(Sweeper::of_tunnels()) }
    }

    pub(crate) fn observe(&mut self) -> Observation {
        self.host.observe(&BTreeSet::new()).unwrap()
    }

    /// Brings the host to `want` in one pass, and returns what became of it.
    pub(crate) fn converge(&mut self, want: &HostState) -> Outcome {
        let changes = diff(want, &self.observe().ours);
        self.host.apply(&changes, self.keys.as_ref())
    }

    /// Brings the host to `want` and insists that it reads back so.
    pub(crate) fn reach(&mut self, want: &HostState) {
        let outcome = self.converge(want);
        let errors: Vec<_> = outcome.errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, Vec::<String>::new());
        let seen = self.observe().ours;
        assert_eq!(seen.to_string(), want.to_string());
        assert_eq!(&seen, want);
        assert_eq!(diff(want, &seen), vec![]);
    }
}

/// Runs a command line in the namespace; returns what it prints.
pub(crate) fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Insists that what is shown is what was shown before; names the lines that came or went.
pub(crate) fn assert_same(before: &str, after: &str) {
    let only = |a: &str, b: &str| -> Vec<String> {
        let known: BTreeSet<_> = b.lines().collect();
        a.lines().filter(|line| !known.contains(line)).map(str::to_owned).collect()
    };
    let nothing = Vec::<String>::new();
    assert_eq!((only(before, after), only(after, before)), (nothing.clone(), nothing));
}

pub(crate) fn vx() -> LinkName {
    owner::VXLAN_LINK.parse().unwrap()
}

pub(crate) fn key(table: u32, net: &str) -> RouteKey {
    RouteKey { table, destination: net.parse().unwrap(), metric: 0 }
}

pub(crate) fn via(gateway: &str) -> Route {
    let target = Target::Via { link: vx(), gateway: gateway.parse().unwrap() };
    Route { target, source: None, mtu: None }
}

/// A node that reaches two gateways over VXLAN: every kind of object that rtnetlink carries, both
/// families, next hops of the other family, and the form that needs no IPv6.
pub(crate) fn node() -> HostState {
    let vxlan = Vxlan {
        vni: owner::VXLAN_VNI,
        port: owner::VXLAN_PORT,
        local: "192.0.2.11".parse().unwrap(),
        underlay: "up0".parse().unwrap(),
        mac: Mac([2, 0x5e, 0xa1, 0, 0, 0x11]),
    };
    let gateways = [("fe80::21", "192.0.2.21", 0x21), ("fe80::22", "192.0.2.22", 0x22)];
    let address = |net: &str| Address { link: vx(), net: net.parse().unwrap() };
    let neighbour = |hop: &str, mac| Neighbour {
        link: vx(),
        address: hop.parse().unwrap(),
        mac: Mac([2, 0x5e, 0xa1, 0, 0, mac]),
    };
    let fdb = |(_, outer, mac): &(&str, &str, u8)| Fdb {
        link: vx(),
        mac: Mac([2, 0x5e, 0xa1, 0, 0, *mac]),
        remote: outer.parse().unwrap(),
    };
    let table = owner::TABLE_REMOTE;
    let hinted = |source: &str, mtu, route| Route {
        source: Some(source.parse().unwrap()),
        mtu: Some(mtu),
        ..route
    };
    let refused = Route { target: Target::Unreachable, source: None, mtu: None };
    let out = Route { target: Target::Link(vx()), source: None, mtu: None };
    HostState {
        links: BTreeMap::from([(vx(), Link { kind: LinkKind::Vxlan(vxlan), mtu: 1450, up: true })]),
        addresses: BTreeSet::from(["fe80::11/64", "10.1.0.0/32", "fd01::/128"].map(address)),
        neighbours: BTreeSet::from([
            neighbour("fe80::21", 0x21),
            neighbour("fe80::22", 0x22),
            neighbour("192.0.2.21", 0x21),
        ]),
        fdb: gateways.iter().map(fdb).collect(),
        routes: BTreeMap::from([
            (key(table, "10.2.0.0/16"), hinted("10.1.0.0", 1400, via("fe80::21"))),
            (key(table, "10.3.0.0/16"), via("192.0.2.21")),
            (key(table, "10.4.0.0/16"), refused.clone()),
            (key(table, "fd02::/32"), hinted("fd01::", 1400, via("fe80::21"))),
            (key(table, "fd04::/32"), refused),
            (key(owner::TABLE_NODES, "10.5.0.0/16"), out.clone()),
            (RouteKey { metric: 7, ..key(owner::TABLE_NODES, "fd05::/32") }, out),
            (key(owner::TABLE_GATEWAY_BASE + 1, "0.0.0.0/0"), via("fe80::21")),
            (key(owner::TABLE_GATEWAY_BASE + 1, "::/0"), via("fe80::21")),
            (key(owner::TABLE_GATEWAY_BASE + 2, "0.0.0.0/0"), via("fe80::22")),
        ]),
        rules: [Family::V4, Family::V6].into_iter().flat_map(rules).collect(),
        ..HostState::default()
    }
}

fn rules(family: Family) -> [Rule; 4] {
    let rule = |priority, table| Rule { priority, family, input: None, mark: None, table };
    let mark = |value, mask, sense| Some(MarkMatch { value, mask, sense });
    let encrypted = mark(owner::MARK_ENCRYPTED, owner::MARK_ENCRYPTED_MASK, Sense::IsNot);
    let steered = |slot| mark(owner::MARK_GATEWAY_BASE + slot, owner::MARK_MASK, Sense::Is);
    [
        Rule { input: Some(vx()), ..rule(owner::RULE_FROM_LANE, owner::TABLE_NODES) },
        Rule { mark: steered(1), ..rule(owner::RULE_STEERED, owner::TABLE_GATEWAY_BASE + 1) },
        Rule { mark: steered(2), ..rule(owner::RULE_STEERED, owner::TABLE_GATEWAY_BASE + 2) },
        Rule { mark: encrypted, ..rule(owner::RULE_REMOTE, owner::TABLE_REMOTE) },
    ]
}

/// The lane of [`gateway`].
pub(crate) fn lane() -> LinkName {
    "sealane0".parse().unwrap()
}

/// The node, with a lane of this backend, its filter and its settings.
pub(crate) fn gateway(backend: Backend) -> HostState {
    let mut want = node();
    let mut peer = full_peer();
    if backend == Backend::Kernel {
        peer.accepted_sources.clear();
    }
    let kind = LinkKind::WireGuard(backend);
    want.links.insert(lane(), Link { kind, mtu: 1380, up: true });
    want.devices.insert(lane(), device_with(&[peer]));
    want.addresses.insert(Address { link: lane(), net: net("10.1.0.0/32") });
    let source = Some("10.1.0.0".parse().unwrap());
    let out = Route { target: Target::Link(lane()), source, mtu: Some(1380) };
    want.routes.insert(key(owner::TABLE_REMOTE, "10.6.0.0/16"), out);
    let out = Route { target: Target::Link(lane()), source: None, mtu: None };
    want.routes.insert(key(owner::TABLE_REMOTE, "fd06::/32"), out);
    let hook = Hook { kind: HookKind::Filter, point: HookPoint::Prerouting, priority: -150 };
    let rule = FilterRule("iifname \"sealane0\" ct state invalid notrack".to_owned());
    let chain = Chain { hook: Some(hook), rules: vec![rule] };
    want.filter = Some(FilterTable {
        sets: BTreeMap::new(),
        chains: BTreeMap::from([("transit".to_owned(), chain)]),
    });
    want.sysctls = BTreeMap::from([
        (SysctlKey::new(["net", "ipv4", "ip_forward"]), "1".to_owned()),
        (SysctlKey::new(["net", "ipv6", "conf", "all", "forwarding"]), "1".to_owned()),
        (SysctlKey::new(["net", "ipv6", "conf", "sealane-vx", "disable_ipv6"]), "0".to_owned()),
        (SysctlKey::new(["net", "ipv4", "conf", "sealane0", "rp_filter"]), "2".to_owned()),
        (SysctlKey::new(["net", "ipv4", "conf", "sealane-vx", "rp_filter"]), "2".to_owned()),
    ]);
    if backend == Backend::Kernel {
        // The kernel does it with the link; wanted, it goes back.
        let redirects = SysctlKey::new(["net", "ipv4", "conf", "all", "send_redirects"]);
        want.sysctls.insert(redirects, "0".to_owned());
    }
    want
}

/// What a person would compare before and after.
pub(crate) fn everything() -> String {
    let lines = [
        "ip -o link | sed 's/ qlen.*//'",
        "ip -o addr | sed 's/valid_lft.*//'",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip -6 rule",
        "nft list ruleset",
        "grep -s . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv[46]/conf/*/*",
        "find /run -type s",
    ];
    lines.iter().map(|line| sh(&format!("{line} || true"))).collect()
}
