//! Owns the tests that a broker full of lies changes nothing: each is refused by name, and nobody
//! else notices. What every rule of verification refuses is tested where the rules are.

use sealane_api::advertisement;
use sealane_api::kinds::AdvertisementSpec;
use sealane_api::reason::Reason;
use sealane_api::signed::{Signed, Statement};
use sealane_tests::lab::address::Family;
use sealane_tests::lab::host::Host;
use sealane_tests::lab::wait::eventually;
use sealane_tests::product::agent::{self, LANES};
use sealane_tests::product::{admin, command};
use serde_json::{Value, json};

use crate::mallory::{Mallory, Says};
use crate::stage::{LONG, Stage, alone};

const GRANTED: &str = "10.99.0.0/16";

#[test]
fn lies_on_the_broker_are_refused_by_name_and_disturb_nobody() {
    let _machine = alone();
    let stage = Stage::joined("hostile", Family::Dual);
    let networks = [GRANTED.parse().unwrap()];
    admin::admit(&stage.ground, "mallory", &networks, &[]).unwrap();
    let mallory = Mallory::of_token(&stage.ground);
    let flow = stage.flow(1000, LONG);

    // A member in good standing, so that what follows is refused for what it is.
    publish(&stage, "mallory.gw", &mallory.says(&Says::honest(5)));
    believed(&stage);

    let forged = forge(&mallory.says(&Says::honest(6)));
    refused(&stage, "mallory.gw", &forged, Reason::BadSignature);

    let replayed = mallory.says(&Says::honest(4));
    refused(&stage, "mallory.gw", &replayed, Reason::SequenceRolledBack);

    let widened = mallory.says(&Says { networks: &[GRANTED, "10.41.0.0/17"], ..Says::honest(7) });
    refused(&stage, "mallory.gw", &widened, Reason::CidrNotGranted);

    let posing = mallory.says(&Says { gateway: "berlin.other", ..Says::honest(8) });
    refused(&stage, "berlin.other", &posing, Reason::CertBadSignature);

    let victim = tunnel_of_the_edge(&stage);
    let stolen = mallory.says(&Says { tunnel: Some(&victim), ..Says::honest(9) });
    refused(&stage, "mallory.gw", &stolen, Reason::TunnelProofBad);

    stage.ground.admin.run(&command::remove("mallory")).unwrap();
    let revoked = mallory.says(&Says::honest(10));
    refused(&stage, "mallory.gw", &revoked, Reason::MemberRevoked);

    let report = flow.stop().unwrap();
    assert_eq!(report.lost, 0, "{report:?}");
}

/// Writes as one who may write anything: the broker itself is not trusted.
fn publish(stage: &Stage, name: &str, spec: &AdvertisementSpec) {
    let object = json!({
        "apiVersion": "sealane.dev/v1alpha1",
        "kind": "Advertisement",
        "metadata": { "name": name },
        "spec": spec,
    });
    let kubectl = stage.ground.admin.command("kubectl");
    let kubectl = kubectl.args(["--kubeconfig", command::KUBECONFIG, "apply", "--server-side"]);
    let kubectl = kubectl.args(["--force-conflicts", "--field-manager=mallory", "-f", "-"]);
    kubectl.stdin(&object.to_string()).output().unwrap().success().unwrap();
}

fn believed(stage: &Stage) {
    on_every_gateway(stage, "mallory is believed", |host| {
        let status = agent::status(host).unwrap();
        let mallory = status.members.iter().find(|member| member.member == "mallory");
        match mallory {
            Some(member) if member.gateways == 1 => Ok(()),
            other => Err(format!("{other:?}; {:?}", status.rejections)),
        }
    });
}

/// The object is refused for that reason, and the others reach each other as before.
fn refused(stage: &Stage, name: &str, spec: &AdvertisementSpec, reason: Reason) {
    publish(stage, name, spec);
    on_every_gateway(stage, &format!("{name} is refused: {}", reason.as_str()), |host| {
        let status = agent::status(host).unwrap();
        let is_it = |object: &str, why: &str| object == name && why == reason.as_str();
        if status.rejections.iter().any(|it| is_it(&it.object, &it.reason)) {
            Ok(())
        } else {
            Err(format!("{:?}", status.rejections))
        }
    });
    for (host, other) in [(&stage.berlin.gateway.host, "edge"), (&stage.edge.host, "berlin")] {
        let told = host.command("sealane").arg("status").output().unwrap().stdout;
        assert!(told.contains(reason.as_str()), "{told}");
        let status = agent::status(host).unwrap();
        let member = status.members.into_iter().find(|member| member.member == other).unwrap();
        assert_eq!(member.state, sealane_view::status::MemberState::Up, "{member:?}");
    }
}

fn on_every_gateway(stage: &Stage, what: &str, holds: impl Fn(&Host) -> Result<(), String>) {
    for host in [&stage.berlin.gateway.host, &stage.edge.host] {
        eventually(LANES, format!("{}: {what}", host.name()), || holds(host)).unwrap();
    }
}

/// The same payload, signed by a key that nobody certified.
fn forge(spec: &AdvertisementSpec) -> AdvertisementSpec {
    let payload = spec.signed.decode(advertisement::MAX_BYTES).unwrap().payload;
    let signed = Signed::seal(&crate::mallory::seed(66), Statement::Advertisement, &payload);
    AdvertisementSpec { signed, ..spec.clone() }
}

/// The first tunnel entry that the edge advertises.
fn tunnel_of_the_edge(stage: &Stage) -> Value {
    let line =
        format!("kubectl --kubeconfig {} get advertisement edge.edge -o json", command::KUBECONFIG);
    let object = stage.ground.admin.json(&line).unwrap();
    let spec: AdvertisementSpec = serde_json::from_value(object["spec"].clone()).unwrap();
    let payload = spec.signed.decode(advertisement::MAX_BYTES).unwrap().payload;
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    payload["tunnels"][0].clone()
}
