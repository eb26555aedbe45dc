//! Owns a member that lies: keys and objects as a modified agent would make them. Publishes nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use sealane_api::advertisement::{Candidate, CandidateKind, Networks, State};
use sealane_api::cidr::Cidr;
use sealane_api::keys::{PairSecret, SigningSeed, TunnelSeed};
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::names::{ClusterSetId, GatewayId};
use sealane_api::sign::{self, CertRequest, Draft, TunnelOwner, TunnelSettings};
use sealane_api::signed::Signed;
use sealane_api::time::UnixTime;
use sealane_api::token::Token;
use sealane_tests::product::command;
use sealane_tests::product::ground::Ground;
use serde_json::Value;
use zeroize::Zeroizing;

/// A key that this test alone knows.
pub(crate) fn seed(number: u8) -> SigningSeed {
    SigningSeed::from_bytes(Zeroizing::new([number; 32]))
}

/// The liar.
pub(crate) struct Mallory {
    id: ClusterSetId,
    enrolment: Signed,
    generation: u64,
}

/// What an advertisement of the liar says.
pub(crate) struct Says<'a> {
    pub(crate) gateway: &'a str,
    pub(crate) sequence: u64,
    pub(crate) networks: &'a [&'a str],
    /// A tunnel entry of somebody else.
    pub(crate) tunnel: Option<&'a Value>,
}

impl Says<'_> {
    /// Nothing wrong.
    pub(crate) fn honest(sequence: u64) -> Self {
        Self { gateway: "mallory.gw", sequence, networks: &["10.99.0.0/16"], tunnel: None }
    }
}

impl Mallory {
    /// Enrols with the token that the administrator made.
    pub(crate) fn of_token(ground: &Ground) -> Self {
        let text = ground.admin.read_file(command::token_file("mallory")).unwrap();
        let token = Token::decode(&text).unwrap();
        let id = token.clusterset();
        let join = token.join.as_ref().unwrap();
        let enrolment = sign::enrolment(join, &id, &token.member, &seed(1).public());
        Self { id, enrolment, generation: sign::next_generation(None, now()) }
    }

    /// Signs.
    pub(crate) fn says(&self, what: &Says<'_>) -> AdvertisementSpec {
        let gateway = GatewayId::parse(what.gateway).unwrap();
        let key = seed(2);
        let request = CertRequest {
            id: &self.id,
            gateway: &gateway,
            key: key.public(),
            generation: self.generation,
            revoked: Vec::new(),
        };
        let cert = sign::gateway_cert(&seed(1), &request, UnixTime(self.generation));
        let enrolment = (gateway.member.as_str() == "mallory").then_some(&self.enrolment);
        let pods = what.networks.iter().map(|network| Cidr::parse(network).unwrap()).collect();
        let draft = Draft {
            id: &self.id,
            gateway: &gateway,
            cert: &cert,
            enrolment,
            sequence: what.sequence,
            state: State::Active,
            networks: Networks { pods, ..Networks::default() },
            probe4: None,
            tunnels: vec![self.tunnel(&gateway, what.tunnel)],
            agent: "mallory",
        };
        sign::advertisement(&key, &draft, now()).unwrap()
    }

    fn tunnel(
        &self,
        gateway: &GatewayId,
        stolen: Option<&Value>,
    ) -> sealane_api::advertisement::TunnelPayload {
        let owner = TunnelOwner { id: &self.id, gateway, gateway_key: seed(2).public() };
        let addr = "203.0.113.66".parse().unwrap();
        let candidate = Candidate { kind: CandidateKind::Private, addr, port: 51820 };
        let settings = TunnelSettings { slot: 0, mtu: 1420, candidates: vec![candidate] };
        let tunnel = TunnelSeed::from_bytes(Zeroizing::new([3; 32]));
        let pair = PairSecret::from_bytes(Zeroizing::new([4; 32]));
        let mut entry = sign::tunnel(&tunnel, &pair, owner, settings);
        if let Some(stolen) = stolen {
            let field = |name: &str| stolen[name].as_str().unwrap().to_owned();
            (entry.key, entry.proof, entry.pair) = (field("key"), field("proof"), field("pair"));
        }
        entry
    }
}

fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}
