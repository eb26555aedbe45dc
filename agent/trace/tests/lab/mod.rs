//! Two members with a worker and a gateway each, from `hosts/*.txt` and `rulesets/*.json`, and agents
//! that ask one another as the real ones do, over bytes. Does not judge what they say.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod host;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;
use sealane_state::name::LinkName;
use sealane_trace::join::{self, Said};
use sealane_trace::owner;
use sealane_trace::walk::{self, Account, Next};
use sealane_trace::wire;
use sealane_view::trace::{TraceAnswer, TraceDocument, TraceRequest};

use host::Host;

/// All hosts by `member.node`.
pub struct Lab {
    hosts: BTreeMap<String, Host>,
    /// What the list grants to whom.
    pub grants: Vec<(IpNetwork, String)>,
    /// Which of several equal ways packets take.
    pub choice: u8,
}

impl Lab {
    /// Two members, each with a worker and a gateway, everything in order.
    pub fn in_order() -> Self {
        let members = [('1', '2'), ('2', '1')];
        let hosts = members.into_iter().flat_map(|(own, other)| {
            ["worker", "gateway"].map(|kind| {
                let host = Host::read(kind, own, other);
                (host.name(), host)
            })
        });
        let granted = [("10.1.0.0/16", '1'), ("fd00:1::/48", '1'), ("10.2.0.0/16", '2')];
        let grants = granted.map(|(net, own)| (net.parse().unwrap(), format!("cluster-{own}")));
        Self { hosts: hosts.collect(), grants: grants.into(), choice: 0 }
    }

    /// A host, to be changed.
    pub fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.get_mut(name).expect("a host of the lab")
    }

    /// The agent of a host answers no more.
    pub fn silence(&mut self, name: &str) {
        self.hosts.remove(name).expect("a host of the lab");
    }

    /// All hosts.
    pub fn hosts(&mut self) -> impl Iterator<Item = &mut Host> {
        self.hosts.values_mut()
    }

    /// Traces from a host, asking agent after agent.
    pub fn trace(&self, at: &str, source: &str, destination: &str) -> TraceDocument {
        self.trace_sized(at, source, destination, None)
    }

    /// The same with a packet of a given size.
    pub fn trace_sized(
        &self,
        at: &str,
        source: &str,
        destination: &str,
        size_bytes: Option<u32>,
    ) -> TraceDocument {
        let source = (!source.is_empty()).then(|| source.parse().unwrap());
        let request =
            TraceRequest { source, destination: destination.parse().unwrap(), size_bytes };
        let facts = self.hosts[at].facts();
        let mut packet = walk::packet(facts.snapshot(), &request);
        packet.choice = self.choice;
        let account = walk::walk(facts.snapshot(), &packet);
        let said = self.ask(&account, wire::MOST_AGENTS);
        let nobodys = owner::of_nobody(facts.snapshot(), request.destination, &self.grants);
        join::document(&request, account, said, nobodys)
    }

    fn ask(&self, account: &Account, hops_left: u8) -> Said {
        let Some(question) = wire::question(account, hops_left) else {
            return Said::Nothing("too many agents were asked".to_owned());
        };
        let (name, link, from) = match &account.next {
            Next::End(_) => return Said::Nothing("nobody is next".to_owned()),
            Next::AskPeer { link, name, .. } => (name, link, self.lane_address(&account.at)),
            Next::AskNode { link, name, .. } => (name, link, self.underlay(&account.at)),
        };
        let Some(host) = self.hosts.get(name) else {
            return Said::Nothing("no answer within 4 s".to_owned());
        };
        let bytes = wire::question_bytes(&question).unwrap();
        let bytes = self.answer(host, &bytes, link, from);
        match wire::read_answer(&bytes, name, &account.at) {
            Ok(answer) => Said::Answer(answer),
            Err(error) => Said::Nothing(error.to_string()),
        }
    }

    fn answer(&self, host: &Host, bytes: &[u8], link: &LinkName, from: IpAddr) -> Vec<u8> {
        let question = wire::read_question(bytes).unwrap();
        let facts = host.facts();
        let entry = facts.snapshot().entry(link, from);
        let account = walk::walk(facts.snapshot(), &wire::packet(&question, entry));
        let said = self.ask(&account, question.hops_left);
        let answer: TraceAnswer = join::answer(account, said);
        wire::answer_bytes(&answer).unwrap()
    }

    fn lane_address(&self, name: &str) -> IpAddr {
        format!("fd00::{}", self.hosts[name].own).parse().unwrap()
    }

    fn underlay(&self, name: &str) -> IpAddr {
        let host = &self.hosts[name];
        let last = if name.ends_with("gw") { 1 } else { 2 };
        format!("192.168.{}.{last}", host.own).parse().unwrap()
    }
}

/// Compares a trace with `tests/cases/<case>.txt`; with `UPDATE_EXPECT=1` writes that file instead.
pub fn check(case: &str, document: &TraceDocument) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/{case}.txt"));
    let found = text(document);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{case} differs from its file");
}

fn text(document: &TraceDocument) -> String {
    let mut text = String::new();
    for hop in &document.hops {
        let outcome = format!("{:?}", hop.outcome).to_lowercase();
        let stage = format!("{:?}", hop.stage);
        writeln!(text, "{outcome:4} {:12} {stage:10} {} {}", hop.at, hop.what, hop.detail).unwrap();
    }
    let outcome = format!("{:?}", document.outcome).to_lowercase();
    writeln!(text, "\n{outcome}: {}", document.verdict).unwrap();
    text
}
