//! Owns the asking and answering of traces: looks at this host, has the pure walk judge it, and asks
//! the agent that the packet goes to next. Judges nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use sealane_plan::documents;
use sealane_state::facts::Observation;
use sealane_state::name::LinkName;
use sealane_state::wireguard::PublicKey;
use sealane_trace::join::{self, Said};
use sealane_trace::nft::ruleset::Ruleset;
use sealane_trace::owner;
use sealane_trace::packet::Packet;
use sealane_trace::snapshot::Snapshot;
use sealane_trace::walk::{self, Account, Next};
use sealane_trace::wire;
use sealane_view::peers::PeersDocument;
use sealane_view::trace::TraceRequest;
use tokio::sync::{mpsc, oneshot};

use crate::admin::{Answer, Fault, Refusal};
use crate::answers;
use crate::hand::{Errand, Terrain};
use crate::inquiry::{self, Inquiry};
use crate::probe_io::Way;
use crate::run::Agent;

/// Least time between two questions of one agent: each costs a look at the whole host.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(250);
/// Least time between two questions of anybody.
const BETWEEN_ANY: Duration = Duration::from_millis(50);

/// When other agents asked last, so that none can keep this host busy.
#[derive(Debug, Default)]
pub struct Patience {
    last: Option<Instant>,
    by_agent: BTreeMap<IpAddr, Instant>,
}

impl Patience {
    /// Says whether a question of `from` is worked on, and notes it; not when it came too soon.
    fn grants(&mut self, from: IpAddr) -> bool {
        let now = Instant::now();
        let soon = |last: Option<&Instant>, least| last.is_some_and(|at| now < *at + least);
        if soon(self.last.as_ref(), BETWEEN_ANY)
            || soon(self.by_agent.get(&from), BETWEEN_QUESTIONS)
        {
            return false;
        }
        self.by_agent.retain(|_, at| now < *at + BETWEEN_QUESTIONS);
        self.by_agent.insert(from, now);
        self.last = Some(now);
        true
    }
}

/// Everything that a trace needs of the loop, taken at once.
struct Scene {
    at: String,
    now: u64,
    seen: Arc<Observation>,
    peers: PeersDocument,
    networks: Vec<IpNetwork>,
    remotes: Vec<(IpNetwork, String)>,
    grants: Vec<(IpNetwork, String)>,
    to_peers: BTreeMap<PublicKey, (Way, IpAddr)>,
    on_leg: Option<Way>,
    errands: mpsc::Sender<Errand>,
}

impl Agent {
    /// Begins a trace that a person asked for.
    pub fn trace(&mut self, request: TraceRequest, reply: oneshot::Sender<Answer>) {
        let scene = match self.scene() {
            Ok(scene) => scene,
            // Who asked may have stopped waiting.
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        if let Some(refusal) = scene.elsewhere(request.source) {
            // As above.
            return drop(reply.send(Err(refusal)));
        }
        tokio::spawn(async move {
            let answer = match scene.terrain().await {
                Ok((terrain, ruleset)) => {
                    let snapshot = scene.snapshot(&terrain, ruleset.as_ref());
                    let account = walk::walk(snapshot, &walk::packet(snapshot, &request));
                    let said = scene.ask_next(&account, wire::MOST_AGENTS).await;
                    let nobodys = owner::of_nobody(snapshot, request.destination, &scene.grants);
                    answers::document(&join::document(&request, account, said, nobodys))
                }
                Err(cause) => Err(unknown(cause)),
            };
            // Who asked may have stopped waiting.
            let _ = reply.send(answer);
        });
    }

    /// Answers another agent's question about a packet, unless a stranger asks.
    pub fn answer_inquiry(&mut self, inquiry: Inquiry) {
        let Inquiry { way, from, question, mut reply } = inquiry;
        if !self.paths.knows(from) {
            tracing::debug!(%from, "question of a stranger");
            return;
        }
        // Before anything is gathered for it: whoever sends what is no question costs a look at that.
        let question = match wire::read_question(&question) {
            Ok(question) => question,
            Err(error) => {
                tracing::debug!(%from, %error, "question not understood");
                return;
            }
        };
        let place = self.paths.desk().trace(from);
        let Some(place) = place.filter(|_| self.patience.grants(from)) else {
            tracing::debug!(%from, "too many questions");
            return;
        };
        let (Ok(scene), Some(link)) = (self.scene(), way.link) else { return };
        tokio::spawn(async move {
            let _held = place;
            let answer = async {
                let (terrain, ruleset) = scene.terrain().await.ok()?;
                let snapshot = scene.snapshot(&terrain, ruleset.as_ref());
                let packet: Packet = wire::packet(&question, snapshot.entry(&link, from));
                let account = walk::walk(snapshot, &packet);
                let said = scene.ask_next(&account, question.hops_left).await;
                wire::answer_bytes(&join::answer(account, said)).ok()
            };
            let bytes = tokio::select! {
                // Nobody works for an agent that has stopped waiting.
                () = reply.closed() => None,
                bytes = answer => bytes,
            };
            if let Some(bytes) = bytes {
                let _ = reply.send(bytes);
            }
        });
    }

    fn scene(&self) -> Result<Scene, Refusal> {
        let seen = self.host_seen()?;
        let world = self.fresh_world();
        let name = match &self.session {
            Some(session) => session.own.to_string(),
            None => self.config.node.clone(),
        };
        let networks = world.me.iter().flat_map(|me| me.networks.all()).collect();
        let remotes = world.gateways.iter().flat_map(|(id, gateway)| {
            gateway.networks.all().map(|network| (network, id.member.to_string()))
        });
        let list = self.session.as_ref().and_then(|it| it.trust.receiver().clusterset());
        let grants = list.into_iter().flat_map(|list| &list.members).flat_map(|(member, entry)| {
            entry.cidrs.iter().map(|cidr| (IpNetwork::from(*cidr), member.to_string()))
        });
        Ok(Scene {
            grants: grants.collect(),
            at: name,
            now: self.wall.now(),
            peers: documents::peers::of(&world, &self.plan),
            networks,
            remotes: remotes.collect(),
            to_peers: self.paths.ways_to_peers(),
            on_leg: self.paths.way_on_leg(),
            errands: self.errands.clone(),
            seen,
        })
    }
}

impl Scene {
    /// Packets of another member begin on its hosts, and most never come by here.
    fn elsewhere(&self, source: Option<IpAddr>) -> Option<Refusal> {
        let source = source?;
        if self.networks.iter().any(|network| network.contains(source)) {
            return None;
        }
        let holding = self.remotes.iter().filter(|(network, _)| network.contains(source));
        let (_, member) = holding.max_by_key(|(network, _)| network.prefix())?;
        let cause = format!("{source} is behind {member}, where its packets begin");
        let next = "ask on a host of that member, or trace the way there from this one: self";
        Some(Refusal::new(Fault::Request, "no trace", cause, next))
    }

    async fn terrain(&self) -> Result<(Arc<Terrain>, Option<Ruleset>), String> {
        let (errand, answer) = oneshot::channel();
        let gone = || "the agent is stopping".to_owned();
        self.errands.send(errand).await.map_err(|_| gone())?;
        let terrain = answer.await.map_err(|_| gone())??;
        let ruleset = terrain.ruleset.as_deref().and_then(|text| Ruleset::read(text).ok());
        Ok((terrain, ruleset))
    }

    fn snapshot<'s>(&'s self, terrain: &'s Terrain, ruleset: Option<&'s Ruleset>) -> Snapshot<'s> {
        Snapshot {
            at: &self.at,
            now: self.now,
            routing: &terrain.routing,
            host: &self.seen.ours,
            facts: &self.seen.facts,
            ruleset,
            peers: &self.peers,
            networks: &self.networks,
            remotes: &self.remotes,
        }
    }

    /// Asks the agent that the packet goes to next, if there is one.
    async fn ask_next(&self, account: &Account, hops_left: u8) -> Said {
        let Some(question) = wire::question(account, hops_left) else {
            return Said::Nothing("too many hosts were asked already".to_owned());
        };
        let (name, way) = match &account.next {
            Next::End(_) => return Said::Nothing(String::new()),
            Next::AskPeer { key, name, .. } => (name, self.to_peers.get(key).cloned()),
            Next::AskNode { link, underlay, name } => (name, self.way_to_node(link, *underlay)),
        };
        let Some((way, to)) = way else {
            return Said::Nothing("this host has no way to ask it".to_owned());
        };
        let asked = async {
            let bytes = wire::question_bytes(&question).map_err(|error| error.to_string())?;
            let answer = inquiry::ask(&way, to, &bytes, question.hops_left)
                .await
                .map_err(|error| error.to_string())?;
            wire::read_answer(&answer, name, &self.at).map_err(|error| error.to_string())
        };
        match asked.await {
            Ok(answer) => Said::Answer(answer),
            Err(cause) => Said::Nothing(cause),
        }
    }

    /// Returns the way to the agent of a node that the leg reaches by `underlay`.
    fn way_to_node(&self, link: &LinkName, underlay: IpAddr) -> Option<(Way, IpAddr)> {
        let host = &self.seen.ours;
        let mac = host.fdb.iter().find(|it| it.link == *link && it.remote == underlay)?.mac;
        let mut neighbours = host.neighbours.iter().filter(|it| it.link == *link && it.mac == mac);
        let to = neighbours.find(|it| it.address.is_ipv6())?.address;
        Some((self.on_leg.clone()?, to))
    }
}

fn unknown(cause: String) -> Refusal {
    Refusal::new(Fault::State, "no trace", cause, "look at the agent's log and try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_asks_in_a_row_waits() {
        let mut patience = Patience::default();
        let asker = IpAddr::from([10, 0, 0, 1]);
        assert!(patience.grants(asker));
        patience.last = None;
        assert!(!patience.grants(asker));
    }
}
