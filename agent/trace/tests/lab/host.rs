//! A host as lines in the words of `ip`, `bridge` and `wg`, read into what a walk is told.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use sealane_state::address::Address;
use sealane_state::facts::{
    HostFacts, LinkFacts, PeerFacts, RoutingSnapshot, SeenAction, SeenHop, SeenRoute, SeenRule,
};
use sealane_state::host::HostState;
use sealane_state::link::{Backend, Link, LinkKind, Mac, Vxlan};
use sealane_state::name::LinkName;
use sealane_state::neighbour::{Fdb, Neighbour};
use sealane_state::rule::Family;
use sealane_state::sysctl::SysctlKey;
use sealane_state::wireguard::{Device, Peer, PublicKey};
use sealane_trace::nft::ruleset::Ruleset;
use sealane_trace::snapshot::Snapshot;
use sealane_view::peers::{LegView, PathState, PeerView, PeersDocument};

/// What the clock says in every story.
pub const NOW: u64 = 1_800_000_000;

/// A host as text.
pub struct Host {
    lines: Vec<String>,
    rulesets: Vec<String>,
    /// Number of its member.
    pub own: char,
    other: char,
    /// Whether nft could be asked.
    pub nft_answers: bool,
}

impl Host {
    /// Reads `hosts/<kind>.txt` and `rulesets/<kind>.json`.
    pub fn read(kind: &str, own: char, other: char) -> Self {
        let (lines, rulesets) = (Vec::new(), Vec::new());
        let mut host = Self { lines, rulesets, own, other, nft_answers: true };
        let text = host.file(&format!("hosts/{kind}.txt"));
        host.lines = text.lines().map(str::to_owned).collect();
        host.add_ruleset(kind);
        host
    }

    fn file(&self, name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        text.replace("%N", &self.own.to_string()).replace("%M", &self.other.to_string())
    }

    /// Adds the tables of `rulesets/<name>.json`.
    pub fn add_ruleset(&mut self, name: &str) {
        self.rulesets.push(self.file(&format!("rulesets/{name}.json")));
    }

    /// Adds a line.
    pub fn add(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }

    /// Takes away every line that starts so; there must be one.
    pub fn remove(&mut self, start: &str) {
        let before = self.lines.len();
        self.lines.retain(|line| !line.starts_with(start));
        assert!(self.lines.len() < before, "no line starts with {start:?}");
    }

    /// Takes away a line by its number, modulo their count; the host's name stays.
    pub fn remove_at(&mut self, number: usize) {
        let place = 1 + number % (self.lines.len() - 1);
        self.lines.remove(place);
    }

    /// Puts `value` in the place of a statement of a rule.
    pub fn replace_statement(&mut self, number: usize, value: &serde_json::Value) {
        let mut text: serde_json::Value = serde_json::from_str(&self.rulesets[0]).unwrap();
        let objects = text["nftables"].as_array_mut().unwrap();
        let mut statements: Vec<&mut serde_json::Value> = objects
            .iter_mut()
            .filter_map(|object| object.get_mut("rule")?.get_mut("expr")?.as_array_mut())
            .flatten()
            .collect();
        let place = number % statements.len();
        *statements[place] = value.clone();
        self.rulesets[0] = text.to_string();
    }

    /// `member.node`.
    pub fn name(&self) -> String {
        self.lines.iter().find_map(|line| line.strip_prefix("at ")).unwrap().to_owned()
    }

    /// Reads the lines.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts { at: self.name(), ..Facts::default() };
        for line in &self.lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            facts.read(words[0], &words[1..]);
        }
        facts.routing.rules.sort_by_key(|rule| rule.priority);
        facts.ruleset = self.nft_answers.then(|| self.ruleset());
        facts
    }

    fn ruleset(&self) -> Ruleset {
        let objects = self.rulesets.iter().flat_map(|text| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            value["nftables"].as_array().unwrap().clone()
        });
        let whole = serde_json::json!({ "nftables": objects.collect::<Vec<_>>() });
        Ruleset::read(&whole.to_string()).unwrap()
    }
}

/// A host as a walk is told it.
#[derive(Default)]
pub struct Facts {
    at: String,
    routing: RoutingSnapshot,
    host: HostState,
    facts: HostFacts,
    ruleset: Option<Ruleset>,
    peers: PeersDocument,
    networks: Vec<IpNetwork>,
    remotes: Vec<(IpNetwork, String)>,
}

impl Facts {
    /// Lends all of it.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            at: &self.at,
            now: NOW,
            routing: &self.routing,
            host: &self.host,
            facts: &self.facts,
            ruleset: self.ruleset.as_ref(),
            peers: &self.peers,
            networks: &self.networks,
            remotes: &self.remotes,
        }
    }

    fn read(&mut self, kind: &str, words: &[&str]) {
        match (kind, words) {
            ("at", _) => {}
            ("network", [net]) => self.networks.push(parsed(net)),
            ("remote", [net, member]) => self.remotes.push((parsed(net), (*member).to_owned())),
            ("link", [name, words @ ..]) => self.link(parsed(name), words),
            ("neighbour", [address, mac, link]) => {
                let (address, mac) = (parsed(address), mac_of(mac));
                self.host.neighbours.insert(Neighbour { link: parsed(link), address, mac });
            }
            ("fdb", [mac, remote, link]) => {
                let (mac, remote) = (mac_of(mac), parsed(remote));
                self.host.fdb.insert(Fdb { link: parsed(link), mac, remote });
            }
            ("leg", [node, role, underlay, state]) => self.peers.legs.push(LegView {
                node: (*node).to_owned(),
                gateway: *role == "gateway",
                underlay: parsed(underlay),
                state: state_of(state),
                rtt_microseconds: None,
            }),
            ("peer", [number, name, link, nets @ ..]) => self.peer(number, name, link, nets),
            ("endpoint", [number, endpoint]) => {
                if let Some(seen) = self.seen(number) {
                    seen.endpoint = Some(parsed(endpoint));
                }
            }
            ("handshake", [number, age]) => {
                let age: u64 = parsed(age);
                if let Some(seen) = self.seen(number) {
                    seen.counters.last_handshake = Some(NOW - age);
                }
            }
            ("health", [number, state, rest @ ..]) => {
                let key = key(number).to_string();
                for view in self.peers.peers.iter_mut().filter(|it| it.public_key == key) {
                    view.state = state_of(state);
                    view.agent_silent = *state == "silent";
                    view.path_mtu_bytes = rest.first().map(|mtu| parsed(mtu));
                }
            }
            ("sysctl", [key, value]) => {
                let key: SysctlKey = key.split('/').collect();
                self.facts.sysctls.insert(key, (*value).to_owned());
            }
            ("rule", [priority, words @ ..]) => self.rule(parsed(priority), words),
            ("route", [table, kind, destination, words @ ..]) => {
                let route = route(kind, destination, words);
                self.routing.routes.entry(parsed(table)).or_default().push(route);
            }
            _ => panic!("no line of a host: {kind} {words:?}"),
        }
    }

    fn link(&mut self, name: LinkName, words: &[&str]) {
        let at = words.iter().position(|word| *word == "mtu").unwrap();
        let mtu = parsed(words[at + 1]);
        let addresses: Vec<IpNetwork> = words[at + 2..].iter().map(|word| parsed(word)).collect();
        let kind = match words[0] {
            "wireguard" => Some(LinkKind::WireGuard(Backend::Userspace)),
            "vxlan" => Some(LinkKind::Vxlan(Vxlan {
                vni: 5182,
                port: 4801,
                local: parsed("192.0.2.1"),
                underlay: parsed("eth0"),
                mac: mac_of("02:00:00:00:00:00"),
            })),
            _ => None,
        };
        let ours = kind.is_some();
        if let Some(kind) = kind {
            self.host.links.insert(name.clone(), Link { kind, mtu, up: true });
            let placed = addresses.iter().map(|net| Address { link: name.clone(), net: *net });
            self.host.addresses.extend(placed);
        }
        let running = !words.contains(&"down");
        let addresses = addresses.into_iter().collect();
        self.facts.links.insert(name, LinkFacts { index: 1, mtu, running, addresses, ours });
    }

    fn peer(&mut self, number: &str, name: &str, link: &str, nets: &[&str]) {
        let peers = Default::default();
        let device = Device { key: key("0"), listen_port: 51820, mark: 0x2000, peers };
        let device = self.host.devices.entry(parsed(link)).or_insert(device);
        let allowed: Vec<IpNetwork> = nets.iter().map(|net| parsed(net)).collect();
        let allowed_ips = allowed.iter().copied().collect();
        let peer = Peer { keepalive: Some(25), allowed_ips, ..Peer::default() };
        device.peers.insert(key(number), peer);
        let seen = self.facts.peers.entry(parsed(link)).or_default();
        seen.insert(key(number), PeerFacts::default());
        let (member, gateway) = name.split_once('.').unwrap();
        self.peers.peers.push(PeerView {
            member: member.to_owned(),
            gateway: gateway.to_owned(),
            public_key: key(number).to_string(),
            slot: 0,
            link: link.to_owned(),
            state: PathState::Unknown,
            since_unix_seconds: None,
            carries: true,
            agent_silent: false,
            endpoint: None,
            candidates: Vec::new(),
            last_handshake_unix_seconds: None,
            received_bytes: 0,
            sent_bytes: 0,
            rtt_microseconds: None,
            loss_permille: None,
            path_mtu_bytes: None,
            keepalive_seconds: None,
            allowed_ips: allowed,
            accepted_sources: Vec::new(),
            reason: "probes are lost".to_owned(),
        });
    }

    fn seen(&mut self, number: &str) -> Option<&mut PeerFacts> {
        self.facts.peers.values_mut().find_map(|peers| peers.get_mut(&key(number)))
    }

    /// `[not] [iif L] [fwmark V/M] [if CONDITION] (lookup T | goto P | WORD)`, for both families.
    fn rule(&mut self, priority: u32, words: &[&str]) {
        let after =
            |word: &str| words.iter().position(|it| *it == word).map(|place| words[place + 1]);
        let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        let mark = after("fwmark").map(|text| {
            let (value, mask) = text.split_once('/').unwrap();
            (hex(value), hex(mask))
        });
        let action = match (after("lookup"), after("goto")) {
            (Some(table), _) => SeenAction::Lookup(parsed(table)),
            (_, Some(priority)) => SeenAction::Goto(parsed(priority)),
            _ => SeenAction::Refuse(words.last().unwrap().to_string()),
        };
        for family in [Family::V4, Family::V6] {
            self.routing.rules.push(SeenRule {
                priority,
                family,
                protocol: 82,
                inverted: words[0] == "not",
                from: None,
                to: None,
                input: after("iif").map(parsed),
                output: None,
                mark,
                other_conditions: after("if").map(str::to_owned).into_iter().collect(),
                action: action.clone(),
                suppressed_length: None,
            });
        }
    }
}

fn route(kind: &str, destination: &str, words: &[&str]) -> SeenRoute {
    let after = |word: &str| words.iter().position(|it| *it == word).map(|place| words[place + 1]);
    let hop = SeenHop {
        link: after("dev").map(parsed),
        gateway: after("via").map(parsed),
        weight: 1,
        unusable: words.contains(&"linkdown"),
    };
    SeenRoute {
        destination: parsed(destination),
        metric: after("metric").map_or(0, parsed),
        protocol: 82,
        kind: kind.to_owned(),
        hops: hop.link.is_some().then_some(hop).into_iter().collect(),
        source: after("src").map(parsed::<IpAddr>),
        mtu: after("mtu").map(parsed),
    }
}

fn key(number: &str) -> PublicKey {
    PublicKey([number.as_bytes()[0]; 32])
}

fn state_of(word: &str) -> PathState {
    match word {
        "up" => PathState::Up,
        "down" | "silent" => PathState::Down,
        _ => PathState::Unknown,
    }
}

fn mac_of(text: &str) -> Mac {
    let bytes: Vec<u8> = text.split(':').map(|it| u8::from_str_radix(it, 16).unwrap()).collect();
    Mac(bytes.try_into().unwrap())
}

fn parsed<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("fixture: {text:?}"))
}
