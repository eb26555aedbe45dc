//! Owns what mallory signs: with her member's own keys, as its agent keeps them, but not what it
//! would say. Each lie changes one thing of a sound advertisement. Publishes nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use sealane_api::advertisement::{self, Networks, State};
use sealane_api::keys::{PairSecret, SigningSeed, TunnelSeed};
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::names::{ClusterSetId, GatewayId};
use sealane_api::sign::{self, CertRequest, Draft, TunnelOwner, TunnelSettings};
use sealane_api::signed::{Signed, Statement};
use sealane_api::time::UnixTime;
use sealane_tests::lab::host::Host;
use serde_json::Value;
use zeroize::Zeroizing;

/// A member that says what is not so.
pub(crate) struct Liar {
    identity: SigningSeed,
    gateway: SigningSeed,
    tunnel: TunnelSeed,
    pair: PairSecret,
    honest: AdvertisementSpec,
}

impl Liar {
    /// Takes the keys of the agent on `host`, and what it said last.
    pub(crate) fn of(host: &Host, honest: AdvertisementSpec) -> Self {
        let key = |name: &str| Zeroizing::new(key_file(host, name));
        Self {
            identity: SigningSeed::from_bytes(key("identity")),
            gateway: SigningSeed::from_bytes(key("gateway")),
            tunnel: TunnelSeed::from_bytes(key("tunnel")),
            pair: PairSecret::from_bytes(key("pair")),
            honest,
        }
    }

    /// What the agent said last.
    pub(crate) fn honest(&self) -> AdvertisementSpec {
        self.honest.clone()
    }

    /// The next advertisement after `steps` more, changed, signed as the agent would.
    pub(crate) fn says(&self, steps: u64, change: impl FnOnce(&mut Value)) -> AdvertisementSpec {
        self.signed_by(&self.gateway, steps, change)
    }

    /// The same, signed by a key that nobody certified.
    pub(crate) fn forged(&self, steps: u64) -> AdvertisementSpec {
        let stranger = SigningSeed::from_bytes(Zeroizing::new([66; 32]));
        self.signed_by(&stranger, steps, |_| {})
    }

    fn signed_by(
        &self,
        key: &SigningSeed,
        steps: u64,
        change: impl FnOnce(&mut Value),
    ) -> AdvertisementSpec {
        let mut said = payload(&self.honest);
        said["sequence"] = (said["sequence"].as_u64().unwrap() + steps).into();
        change(&mut said);
        let signed = Signed::seal(key, Statement::Advertisement, said.to_string().as_bytes());
        AdvertisementSpec { signed, ..self.honest.clone() }
    }

    /// A gateway of another member, certified by her own identity and sound otherwise.
    pub(crate) fn posing_as(&self, name: &str) -> AdvertisementSpec {
        let said = payload(&self.honest);
        let id = ClusterSetId::parse(said["clusterset"].as_str().unwrap()).unwrap();
        let gateway = GatewayId::parse(name).unwrap();
        let now = now();
        let key = self.gateway.public();
        let request =
            CertRequest { id: &id, gateway: &gateway, key, generation: now.0, revoked: Vec::new() };
        let cert = sign::gateway_cert(&self.identity, &request, now);
        let owner = TunnelOwner { id: &id, gateway: &gateway, gateway_key: key };
        let settings = TunnelSettings { slot: 0, mtu: 1420, candidates: Vec::new() };
        let draft = Draft {
            id: &id,
            gateway: &gateway,
            cert: &cert,
            enrolment: None,
            sequence: 1,
            state: State::Active,
            networks: Networks::default(),
            probe4: None,
            tunnels: vec![sign::tunnel(&self.tunnel, &self.pair, owner, settings)],
            agent: "mallory",
        };
        sign::advertisement(&self.gateway, &draft, now).unwrap()
    }
}

/// What an advertisement says, whoever signed it.
pub(crate) fn payload(spec: &AdvertisementSpec) -> Value {
    let signed = spec.signed.decode(advertisement::MAX_BYTES).unwrap();
    serde_json::from_slice(&signed.payload).unwrap()
}

fn key_file(host: &Host, name: &str) -> [u8; 32] {
    let dump = host.run(&format!("od -An -v -tx1 /var/lib/sealane/{name}.key")).unwrap();
    let bytes = dump.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap());
    bytes.collect::<Vec<u8>>().try_into().unwrap()
}

fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}
