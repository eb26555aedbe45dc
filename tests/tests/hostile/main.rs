//! Owns the test that a broker full of lies changes nothing: each is refused by name, on the status
//! and in the metrics, what was believed stays in force, and nobody else notices. What every rule of
//! verification refuses is tested where the rules are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod liar;
mod scene;

use sealane_api::kinds::AdvertisementSpec;
use sealane_api::reason::Reason;
use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::impair::cut::Cut;
use sealane_tests::lab::wait::eventually;
use sealane_tests::product::agent::{self, LANES};
use sealane_tests::product::command;
use sealane_tests::traffic::drive::Flow;
use sealane_view::status::MemberState;

use crate::liar::{Liar, payload};
use crate::scene::{HER_KUBECONFIG, Scene};

/// Agents ask one another on this port, and nothing else is on it over TCP.
const DEAF: &str = "table inet deaf {
    chain in { type filter hook input priority -10; tcp dport 5183 drop; }
    chain out { type filter hook output priority -10; tcp dport 5183 drop; }
}";
/// Her own advertisement.
const HERS: &str = "mallory.mallory";

#[test]
fn lies_on_the_broker_are_refused_by_name_and_disturb_nobody() {
    let scene = Scene::joined("hostile", Family::Dual);
    scene.steal_credential();
    let honest = scene.read(HERS);
    let mallory = Liar::of(&scene.mallory.host, honest);
    // Her agent would put its own word back as soon as it saw another.
    let _away =
        Cut::between(&scene.ground.internet, &scene.mallory.host, &scene.ground.broker).unwrap();
    // Nor does it hear of them from others: here she lies on the broker alone.
    scene.mallory.host.nft(DEAF).unwrap();
    let [to_bob, to_mallory] = [&scene.bob, &scene.mallory].map(|member| scene.flow_to(member));
    let [alice, bob] = [&scene.alice.host, &scene.bob.host];
    let both = &[alice, bob][..];

    the_broker_refuses_what_is_not_hers(&scene, &mallory);

    refused(&scene, both, HERS, &mallory.forged(1), Reason::BadSignature);
    // The same again, soundly signed, is believed: lies are refused for what they are.
    believed(&scene, both, &mallory.says(1, |_| {}));
    refused(&scene, both, HERS, &mallory.honest(), Reason::SequenceRolledBack);

    let bobs = scene.bob.networks.iter().map(ToString::to_string);
    let widened = mallory.says(2, |said| {
        said["networks"]["pods"].as_array_mut().unwrap().extend(bobs.map(Into::into));
    });
    refused(&scene, both, HERS, &widened, Reason::CidrNotGranted);

    // Bob does not judge gateways of his own member as peers.
    let posing = mallory.posing_as("bob.g1");
    refused(&scene, &[alice], "bob.g1", &posing, Reason::CertBadSignature);

    let victim = payload(&scene.read("bob.bob"))["tunnels"][0].take();
    let stolen = mallory.says(2, |said| {
        for field in ["key", "proof", "pair"] {
            said["tunnels"][0][field] = victim[field].clone();
        }
    });
    refused(&scene, both, HERS, &stolen, Reason::TunnelProofBad);

    unharmed(to_mallory);
    scene.ground.admin.run(&command::remove("mallory")).unwrap();
    refused(&scene, both, HERS, &mallory.says(2, |_| {}), Reason::MemberRevoked);
    unharmed(to_bob);
}

/// Her credential writes her own objects and nobody else's, and no name but the one signed.
fn the_broker_refuses_what_is_not_hers(scene: &Scene, mallory: &Liar) {
    let bobs = scene.read("bob.bob");
    let write = |kubeconfig, name| scene.write(kubeconfig, name, &mallory.posing_as("bob.g1"));
    let delete = scene.kubectl(HER_KUBECONFIG, "delete advertisement bob.bob", "");
    let not_hers = ["(Forbidden)", "a member writes only objects named <its own id>.*"];
    let not_its_name = ["is invalid", "must be bob.g1"];
    for (refusal, named) in [
        (write(HER_KUBECONFIG, "bob.g1"), not_hers),
        (delete, not_hers),
        (write(HER_KUBECONFIG, "mallory.g1"), not_its_name),
        (write(command::KUBECONFIG, "bob.g2"), not_its_name),
    ] {
        let told = refusal.success().unwrap_err().to_string();
        assert!(named.iter().all(|named| told.contains(named)), "{named:?} is not in: {told}");
    }
    assert_eq!(scene.read("bob.bob"), bobs);
}

/// Everybody named refuses the object for that reason, says so, and goes on as before.
fn refused(
    scene: &Scene,
    observers: &[&Host],
    name: &str,
    spec: &AdvertisementSpec,
    reason: Reason,
) {
    let before: Vec<u64> = observers.iter().map(|host| counted(host, reason)).collect();
    scene.write(command::KUBECONFIG, name, spec).success().unwrap();
    for (host, before) in observers.iter().zip(before) {
        let what = format!("{}: {name} is refused: {}", host.name(), reason.as_str());
        let told = eventually(LANES, what, || refusal(host, name, reason)).unwrap();
        assert_eq!(told.kind, "Advertisement", "{told:?}");
        assert_eq!(told.member, spec.member, "{told:?}");
        assert_eq!(counted(host, reason), before + 1, "{}: {}", host.name(), reason.as_str());
        let screen = host.command("sealane").arg("status").output().unwrap().stdout;
        assert!(screen.contains(name) && screen.contains(reason.as_str()), "{screen}");
        let revoked = reason == Reason::MemberRevoked;
        assert_eq!(up(host).contains(&"mallory".to_owned()), !revoked, "{}", host.name());
    }
    assert!(up(&scene.alice.host).contains(&"bob".to_owned()));
    assert!(up(&scene.bob.host).contains(&"alice".to_owned()));
}

/// Everybody named takes the object in place of what was refused.
fn believed(scene: &Scene, observers: &[&Host], spec: &AdvertisementSpec) {
    // Her own credential is enough for her own object.
    scene.write(HER_KUBECONFIG, HERS, spec).success().unwrap();
    for host in observers {
        eventually(LANES, format!("{}: {HERS} is believed", host.name()), || {
            let rejections = agent::status(host).unwrap().rejections;
            if rejections.is_empty() { Ok(()) } else { Err(format!("{rejections:?}")) }
        })
        .unwrap();
    }
}

fn refusal(
    host: &Host,
    name: &str,
    reason: Reason,
) -> Result<sealane_view::status::RejectionView, String> {
    let rejections = agent::status(host).unwrap().rejections;
    let found = rejections.iter().find(|it| it.object == name && it.reason == reason.as_str());
    found.cloned().ok_or_else(|| format!("{rejections:?}"))
}

/// How often the agent's metrics say that it refused an advertisement for that reason.
fn counted(host: &Host, reason: Reason) -> u64 {
    let page = host.run("lab-traffic http-get http://127.0.0.1:9182/metrics").unwrap();
    let reason = format!("reason=\"{}\"", reason.as_str());
    let of_it = |line: &&str| {
        line.starts_with("sealane_rejected_total{")
            && line.contains("kind=\"Advertisement\"")
            && line.contains(&reason)
    };
    let line = page.lines().find(of_it);
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// The members that a host reaches.
fn up(host: &Host) -> Vec<String> {
    let members = agent::status(host).unwrap().members;
    let up = members.into_iter().filter(|member| member.state == MemberState::Up);
    up.map(|member| member.member).collect()
}

fn unharmed(flow: Flow) {
    let report = flow.stop().unwrap();
    assert!(report.sent > 0 && report.lost == 0, "{report:?}");
}
