//! The administrator's commands against a real embedded broker: accounts, positions, pinning.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use sealane_api::advertisement::State;
use sealane_api::keys::{PairSecret, SigningSeed, TunnelSeed, VerifyKey};
use sealane_api::names::GatewayId;
use sealane_api::sign::{self, CertRequest, Draft, TunnelOwner, TunnelSettings};
use sealane_api::time::UnixTime;
use sealane_api::token::Token;
use sealane_broker::access::{self, Broker, Credential};
use sealane_broker::board::Kind;
use sealane_broker::pin::SpkiPin;
use sealane_broker::publish;
use sealane_broker::server::config::Config;
use sealane_broker::server::serve::Server;
use sealane_broker::server::signature_gate::SignatureGate;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use support::program::{Desk, Run};

/// A broker on loopback and an administrator beside it.
struct Office {
    desk: Desk,
    server: Server,
}

impl Office {
    async fn open() -> Self {
        let desk = Desk::new();
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            hosts: vec!["127.0.0.1".to_owned()],
            ..Config::new(desk.path("broker"))
        };
        let server = Server::start(config, SignatureGate).await.unwrap();
        let office = Self { desk, server };
        let (url, pin) = (office.server.url(), &office.server.pins()[0]);
        let init = format!(
            "clusterset init --no-passphrase --recovery-file recovery --broker {url} --broker-pin {pin}"
        );
        office.run(&init).await.ends(0);
        office
    }

    /// Runs the program while the broker goes on serving.
    async fn run(&self, line: &str) -> Run {
        tokio::task::block_in_place(|| self.desk.run(line))
    }

    async fn admin(&self, line: &str) -> Run {
        let kubeconfig = self.server.admin_kubeconfig().display().to_string();
        self.run(&format!("{line} --kubeconfig {kubeconfig}")).await
    }

    fn token(&self, file: &str) -> Token {
        Token::decode(&self.desk.read(file)).unwrap()
    }

    async fn as_admin(&self) -> Broker {
        access::from_kubeconfig(self.server.admin_kubeconfig(), None).await.unwrap()
    }

    async fn list_on_broker(&self) -> Value {
        publish::read(&self.as_admin().await, Kind::ClusterSet, "sealane")
            .await
            .unwrap()
            .unwrap_or_default()
    }
}

/// Reaches the broker as the member would: by what stands in its token, and nothing else.
fn as_member(token: &Token) -> Broker {
    let address = &token.brokers[0];
    let pins = address.spki.iter().map(|pin| SpkiPin(sealane_api::keys::key_bytes(pin).unwrap()));
    access::BrokerAddress::parse(&address.url, &address.namespace, pins.collect())
        .unwrap()
        .client(&Credential::new(token.credential.as_str().to_owned()))
        .unwrap()
}

/// Enrols an identity as the keeper of the token's member does, and returns its key.
async fn enrol(token: &Token, seed: u8) -> VerifyKey {
    say(token, seed, State::Active).await
}

async fn say(token: &Token, seed: u8, state: State) -> VerifyKey {
    let identity = SigningSeed::from_bytes(Zeroizing::new([seed; 32]));
    let gateway_seed = SigningSeed::from_bytes(Zeroizing::new([seed + 1; 32]));
    let (id, now) = (token.clusterset(), UnixTime(1_780_000_000));
    let gateway = GatewayId::parse(&format!("{}.node-1", token.member)).unwrap();
    let enrolment =
        sign::enrolment(token.join.as_ref().unwrap(), &id, &token.member, &identity.public());
    let request = CertRequest {
        id: &id,
        gateway: &gateway,
        key: gateway_seed.public(),
        generation: 1,
        revoked: Vec::new(),
    };
    let cert = sign::gateway_cert(&identity, &request, now);
    let draft = Draft {
        id: &id,
        gateway: &gateway,
        cert: &cert,
        enrolment: Some(&enrolment),
        sequence: if state == State::Active { 1 } else { 2 },
        state: State::Active,
        networks: Default::default(),
        probe4: None,
        tunnels: vec![sign::tunnel(
            &TunnelSeed::from_bytes(Zeroizing::new([seed + 2; 32])),
            &PairSecret::from_bytes(Zeroizing::new([seed + 3; 32])),
            TunnelOwner { id: &id, gateway: &gateway, gateway_key: gateway_seed.public() },
            TunnelSettings { slot: 0, mtu: 1420, candidates: Vec::new() },
        )],
        agent: "test",
    };
    let draft = if state == State::Withdrawn { draft.withdrawn() } else { draft };
    let spec = sign::advertisement(&gateway_seed, &draft, now).unwrap();
    let spec = serde_json::to_value(&spec).unwrap();
    let name = format!("{}.node-1", token.member);
    publish::publish(&as_member(token), Kind::Advertisement, &name, &spec).await.unwrap();
    identity.public()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_brings_its_member_to_the_broker_and_to_its_own_objects_only() {
    let office = Office::open().await;
    let create = "token create --cluster cluster-a --cidr 10.1.0.0/16 --token-file a.token";
    office.admin(create).await.ends(0);
    let spec = office.list_on_broker().await;
    assert_eq!(spec["view"]["version"], json!(2));
    let token = office.token("a.token");
    assert!(!token.credential.is_empty());
    let life = token.credential_expires.unwrap().0 - sealane_cli::clock::now().0;
    assert!((364 * 86_400..=365 * 86_400).contains(&life), "{life} s");
    let shown = office.run("token inspect --token-file a.token").await.ends(0);
    assert!(shown.out.contains("in the token, good until 20"), "{}", shown.out);
    enrol(&token, 40).await;
    let broker = as_member(&token);
    let other = publish::publish(&broker, Kind::Advertisement, "cluster-b.x", &json!({})).await;
    assert!(other.is_err(), "a member wrote another member's object");
    let list = publish::publish(&broker, Kind::ClusterSet, "sealane", &json!({})).await;
    assert!(list.is_err(), "a member wrote the list");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_enrolled_is_pinned_by_its_fingerprint() {
    let office = Office::open().await;
    let create = "token create --cluster cluster-a --cidr 10.1.0.0/16 --token-file a.token";
    office.admin(create).await.ends(0);
    let key = enrol(&office.token("a.token"), 50).await;
    let wrong = VerifyKey::fingerprint(&SigningSeed::from_bytes(Zeroizing::new([9; 32])).public());
    let refused = office.admin(&format!("clusterset sign --pin cluster-a={wrong}")).await.ends(5);
    refused.complains(&["no identity with this fingerprint", "identity show"]);
    let sign = format!("clusterset sign --pin cluster-a={}", key.fingerprint());
    let asked = office.admin("clusterset sign").await.ends(0);
    let told = format!(
        "cluster-a enrolled and is not pinned; to pin it: --pin cluster-a={}",
        key.fingerprint()
    );
    assert!(asked.err.contains(&told), "{}", asked.err);
    office.admin(&sign).await.ends(0);
    let shown = office.run("member list -o json").await.ends(0);
    let members: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(members[0]["identities"], json!([key.fingerprint()]));
    assert_eq!(members[0].get("enrolsUntilUnixSeconds"), None, "the token still enrols");
    assert_eq!(office.list_on_broker().await["view"]["version"], json!(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_left_is_not_offered_to_be_pinned() {
    let office = Office::open().await;
    let create = "token create --cluster cluster-a --cidr 10.1.0.0/16 --token-file a.token";
    office.admin(create).await.ends(0);
    let token = office.token("a.token");
    enrol(&token, 70).await;
    say(&token, 70, State::Withdrawn).await;
    let run = office.admin("clusterset sign").await.ends(0);
    assert!(!run.err.contains("--pin"), "{}", run.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_is_off_the_list_and_its_credential_is_dead() {
    let office = Office::open().await;
    let create = "token create --cluster cluster-a --cidr 10.1.0.0/16 --token-file a.token";
    office.admin(create).await.ends(0);
    enrol(&office.token("a.token"), 55).await;
    let broker = office.as_admin().await;
    let words = || publish::read(&broker, Kind::Advertisement, "cluster-a.node-1");
    assert!(words().await.unwrap().is_some());
    office.admin("member remove --cluster cluster-a").await.ends(0);
    assert_eq!(words().await.unwrap(), None, "what it said is still refused by everybody");
    let view = office.list_on_broker().await["view"].clone();
    assert_eq!((&view["members"], &view["version"]), (&json!(0), &json!(3)));
    let broker = as_member(&office.token("a.token"));
    let read = publish::read(&broker, Kind::ClusterSet, "sealane").await;
    assert!(read.is_err(), "the credential of a removed member still works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rekeyed_member_has_a_new_credential_and_the_old_one_is_dead() {
    let office = Office::open().await;
    let create = "token create --cluster cluster-a --token-file";
    office.admin(&format!("{create} a.token --cidr 10.1.0.0/16")).await.ends(0);
    office.admin(&format!("{create} b.token --rekey")).await.ends(0);
    let old = as_member(&office.token("a.token"));
    assert!(publish::read(&old, Kind::ClusterSet, "sealane").await.is_err());
    enrol(&office.token("b.token"), 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_folder_cannot_overwrite_the_newer_list_on_the_broker() {
    let office = Office::open().await;
    let old = office.desk.read("clusterset/clusterset.yaml");
    office.admin("clusterset sign").await.ends(0);
    office.desk.write("clusterset/clusterset.yaml", &old);
    let create = "token create --cluster cluster-a --cidr 10.1.0.0/16";
    let run = office.admin(create).await.ends(5);
    run.complains(&["the broker has version 2, this is 1", "newest clusterset.yaml"]);
    assert_eq!(office.desk.read("clusterset/clusterset.yaml"), old);
    office.run("clusterset sign --valid-for 30d").await.ends(0);
    let fork = office.admin("clusterset apply").await.ends(5);
    fork.complains(&["the broker has another version 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_code_four_and_leaves_all_as_it_was() {
    let office = Office::open().await;
    let before = office.desk.read("clusterset/clusterset.yaml");
    let kubeconfig = office.server.admin_kubeconfig().display().to_string();
    let desk = office.desk;
    office.server.stop().await;
    let line = format!(
        "token create --cluster cluster-a --cidr 10.1.0.0/16 --token-file a.token --kubeconfig {kubeconfig}"
    );
    let run = tokio::task::block_in_place(|| desk.run(&line)).ends(4);
    run.complains(&["https://127.0.0.1:", "check that it runs"]);
    assert_eq!(desk.read("clusterset/clusterset.yaml"), before);
    assert!(!desk.path("a.token").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_token_holds_another_credential_and_the_list_is_as_it_was() {
    let office = Office::open().await;
    let create = "token create --cluster cluster-a --cidr 10.1.0.0/16 --token-file a.token";
    office.admin(create).await.ends(0);
    let before = office.desk.read("clusterset/clusterset.yaml");
    // Nothing is signed, so no root key is needed.
    std::fs::rename(office.desk.path("clusterset/root.key"), office.desk.path("away")).unwrap();
    let renew = "token renew --cluster cluster-a --credential-valid-for 30d --token-file b.token";
    let run = office.admin(renew).await.ends(0);
    assert!(run.err.contains("sealane join --token-file"), "{}", run.err);
    let (first, second) = (office.token("a.token"), office.token("b.token"));
    run.hides(&second.credential);
    assert_ne!(first.credential.as_str(), second.credential.as_str());
    assert!(second.join.is_none(), "it enrols nobody");
    assert_eq!((&second.member, second.clusterset()), (&first.member, first.clusterset()));
    assert_eq!(second.brokers, first.brokers);
    let life = second.credential_expires.unwrap().0 - sealane_cli::clock::now().0;
    assert!((29 * 86_400..=30 * 86_400).contains(&life), "{life} s");
    assert_eq!(office.desk.read("clusterset/clusterset.yaml"), before);
    for token in [&first, &second] {
        let read = publish::read(&as_member(token), Kind::ClusterSet, "sealane").await;
        assert!(read.is_ok(), "the one before works on for a day, the new one as well");
    }
    let unknown = office.admin("token renew --cluster nobody --token-file c.token").await.ends(5);
    unknown.complains(&["member nobody", "not on the list"]);
    let bare = office.run("token renew --cluster cluster-a --token-file c.token").await.ends(2);
    bare.complains(&["no broker credential", "--kubeconfig"]);
    assert!(!office.desk.path("c.token").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_side_of_a_fork_is_replaced_when_the_administrator_says_so() {
    let office = Office::open().await;
    office.admin("clusterset apply").await.ends(0);
    // Somebody found the recovery key, and was first.
    std::fs::create_dir(office.desk.path("thief")).unwrap();
    let list = office.desk.read("clusterset/clusterset.yaml");
    office.desk.write("thief/clusterset.yaml", &list);
    let rotate =
        "clusterset rotate-root --no-passphrase --recovery-file recovery --new-recovery-file";
    office.admin(&format!("{rotate} theirs --dir thief")).await.ends(0);
    office.admin("clusterset sign --dir thief").await.ends(0);
    office.run(&format!("{rotate} ours")).await.ends(0);

    let refused = office.admin("clusterset apply").await.ends(5);
    refused.complains(&["another root link 1", "theft", "apply --replace-fork"]);
    let theirs = office.list_on_broker().await;
    assert_eq!(theirs["view"]["version"], json!(2), "nothing was replaced by that");
    office.admin("clusterset apply --replace-fork").await.ends(0);
    let ours = office.list_on_broker().await;
    assert_ne!(ours["links"], theirs["links"]);
    assert_eq!(ours["view"]["version"], json!(1));
    // It is the list there from now on: the next one follows, and the thief's side is the fork.
    office.admin("clusterset sign").await.ends(0);
    office.admin("clusterset apply --dir thief").await.ends(5).complains(&["another root link 1"]);
    assert_eq!(office.list_on_broker().await["view"]["version"], json!(2));
    assert_eq!(office.list_on_broker().await["links"], ours["links"]);
}
