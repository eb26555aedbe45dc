//! Owns the lies of a hostile member that writes to the broker as it likes and answers peers' questions:
//! what it signs, and in whose name. None of it may ever count.

use sealane_api::advertisement::{self, Candidate, CandidateKind, Networks, State};
use sealane_api::cidr::Cidr;
use sealane_api::clusterset::ClusterSet;
use sealane_api::gossip::frame::Frame;
use sealane_api::keys::{PairSecret, SigningSeed, TunnelSeed};
use sealane_api::kinds::{AdvertisementSpec, ClusterSetSpec};
use sealane_api::names::GatewayId;
use sealane_api::sign::{self, CertRequest, Draft, TunnelOwner, TunnelSettings};
use sealane_api::signed::{Signed, Statement};
use sealane_api::time::UnixTime;
use sealane_broker::board::{CLUSTER_SET_NAME, Kind};
use zeroize::Zeroizing;

use super::broker::{self, Key};
use super::world::World;

/// The lies there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Its own word, rightly signed, with networks of another member.
    ForeignNetworks,
    /// A word in another's name, signed by itself.
    ForeignName,
    /// Another's word with another's signature, and one letter changed.
    Changed,
    /// Its own word with another's tunnel entry.
    ForeignTunnel,
    /// A list that it signed as if it were root.
    List,
    /// What another said long ago.
    Replay,
}

/// All of them.
pub const LIES: [Lie; 6] = [
    Lie::ForeignNetworks,
    Lie::ForeignName,
    Lie::Changed,
    Lie::ForeignTunnel,
    Lie::List,
    Lie::Replay,
];

/// Has the hostile member tell a lie, on the broker and in its lanes.
pub fn lie(world: &mut World, lie: Lie) {
    let Some(liar) = world.hostile else { return };
    let Some(told) = made(world, lie, liar) else { return };
    world.tell(format!("{} lies: {lie:?}", world.members[liar].name()));
    let (key, spec, frame): (Key, _, _) = match told {
        Told::Word(name, word) => {
            let bare = AdvertisementSpec { view: None, ..(*word).clone() };
            let key = (Kind::Advertisement, name);
            (key, broker::value(&*word), Frame::Word(Box::new(bare)))
        }
        Told::List(list) => {
            let bare = ClusterSetSpec { view: None, ..(*list).clone() };
            let key = (Kind::ClusterSet, CLUSTER_SET_NAME.to_owned());
            (key, broker::value(&*list), Frame::List(Box::new(bare)))
        }
    };
    if let Some(agent) = &mut world.members[liar].agent {
        agent.lies.push(frame.encode());
    }
    let event = world.board.write(key, spec);
    world.announce(event);
}

enum Told {
    Word(String, Box<AdvertisementSpec>),
    List(Box<ClusterSetSpec>),
}

fn made(world: &mut World, lie: Lie, liar: usize) -> Option<Told> {
    let others: Vec<usize> = (0..world.members.len()).filter(|number| *number != liar).collect();
    let victim = world.chance.one_of(&others)?;
    let victim_id = world.members[victim].profile.id.clone();
    let own_id = world.members[liar].profile.id.clone();
    let now = world.members[liar].now(world.now).wall;
    let networks = world.members[victim].profile.networks.clone();
    let victims = world.members[victim].agent.as_ref().and_then(|agent| agent.word.clone());
    let seed = world.chance.key();
    match lie {
        Lie::ForeignNetworks => {
            let word = word(world, liar, &own_id, networks, now)?;
            // It says this indeed; that it may not is the list's to say.
            world.truth.record(&own_id, &word);
            Some(Told::Word(own_id.to_string(), Box::new(word)))
        }
        Lie::ForeignName => {
            let word = word(world, liar, &victim_id, networks, now)?;
            Some(Told::Word(victim_id.to_string(), Box::new(word)))
        }
        Lie::Changed => {
            let mut word = victims?;
            // The last letters before the padding are of the payload's end; its head stays JSON.
            let place = word.signed.payload.len() / 2;
            let letter = word.signed.payload.as_bytes().get(place).copied()?;
            let other = if letter == b'A' { "B" } else { "A" };
            word.signed.payload.replace_range(place..=place, other);
            Some(Told::Word(victim_id.to_string(), Box::new(word)))
        }
        Lie::ForeignTunnel => {
            let own = world.members[liar].profile.networks.clone();
            let mut word = word(world, liar, &own_id, own, now)?;
            let mut said = payload(&word)?;
            said["tunnels"] = payload(&victims?)?["tunnels"].take();
            let key = &world.members[liar].agent.as_ref()?.keys().gateway;
            let bytes = said.to_string();
            word.signed = Signed::seal(key, Statement::Advertisement, bytes.as_bytes());
            // It says this indeed; that the key is not its own is for the proof to show.
            world.truth.record(&own_id, &word);
            Some(Told::Word(own_id.to_string(), Box::new(word)))
        }
        Lie::List => {
            let list: ClusterSet = world.truth.list.next(now).next(now);
            let root = SigningSeed::from_bytes(Zeroizing::new(seed));
            let genesis = world.truth.genesis();
            let list = sign::clusterset(&root, genesis, Vec::new(), &list);
            Some(Told::List(Box::new(list)))
        }
        Lie::Replay => {
            let old = world.old_words.get(&victim_id).cloned()?;
            Some(Told::Word(victim_id.to_string(), Box::new(old)))
        }
    }
}

/// What a word says, as its owner signed it.
fn payload(word: &AdvertisementSpec) -> Option<serde_json::Value> {
    let signed = word.signed.decode(advertisement::MAX_BYTES).ok()?;
    serde_json::from_slice(&signed.payload).ok()
}

/// Signs a word of `name` with the keys of `liar`.
fn word(
    world: &World,
    liar: usize,
    name: &GatewayId,
    networks: Networks<Cidr>,
    now: UnixTime,
) -> Option<AdvertisementSpec> {
    let keys = world.members[liar].agent.as_ref()?.keys();
    let id = world.truth.id();
    let key = keys.gateway.public();
    let generation = now.0.saturating_add(1_000);
    let request = CertRequest { id, gateway: name, key, generation, revoked: Vec::new() };
    let cert = sign::gateway_cert(&keys.identity, &request, now);
    let candidates = world.members[liar].profile.candidates.clone();
    let candidates =
        candidates.into_iter().map(|it| Candidate { kind: CandidateKind::Public, ..it });
    let tunnel = sign::tunnel(
        &TunnelSeed::from_bytes(Zeroizing::new([9; 32])),
        &PairSecret::from_bytes(Zeroizing::new([8; 32])),
        TunnelOwner { id, gateway: name, gateway_key: key },
        TunnelSettings { slot: 0, mtu: 1420, candidates: candidates.collect() },
    );
    let draft = Draft {
        id,
        gateway: name,
        cert: &cert,
        enrolment: None,
        sequence: 1_000,
        state: State::Active,
        networks,
        probe4: None,
        tunnels: vec![tunnel],
        agent: "0.1.0",
    };
    sign::advertisement(&keys.gateway, &draft, now).ok()
}
