//! Writing own objects, making accounts and reading kubeconfigs.

use crate::door::*;
use crate::support::{Broker, NAMESPACE, advertisement, advertisements, cluster_set};
use sealane_broker::{
    access, account,
    board::Kind,
    publish::{self, Retry},
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU16, Ordering};

fn spec(word: &str) -> Value {
    advertisement("west", "gw", word).data["spec"].clone()
}

async fn version(broker: &Broker) -> String {
    let object = advertisements(&broker.admin().await).get("west.gw").await.unwrap();
    object.metadata.resource_version.unwrap()
}

#[tokio::test]
async fn a_word_is_written_once_and_again_when_somebody_changed_it() {
    let broker = Broker::start().await;
    let west = member(&broker, "member-west").await;
    let say = async |word: &str| {
        publish::publish(&west, Kind::Advertisement, "west.gw", &spec(word)).await.unwrap();
        version(&broker).await
    };
    let read = async || publish::read(&west, Kind::Advertisement, "west.gw").await.unwrap();
    assert_eq!(read().await, None);
    let first = say("one").await;
    assert_eq!(read().await, Some(spec("one")));
    assert_eq!(say("one").await, first, "a write that changes nothing was sent");
    assert_ne!(say("two").await, first);
    let change = json!({"spec": {"signed": {"payload": "meddled"}}});
    let meddle = kube::api::Patch::Merge(&change);
    advertisements(&broker.admin().await)
        .patch("west.gw", &kube::api::PatchParams::default(), &meddle)
        .await
        .unwrap();
    say("two").await;
    assert_eq!(read().await, Some(spec("two")));
}

#[tokio::test]
async fn what_must_change_first_is_not_worth_trying_again() {
    let broker = Broker::start().await;
    let west = member(&broker, "member-west").await;
    let other = advertisement("east", "gw", "one").data["spec"].clone();
    let refused = publish::publish(&west, Kind::Advertisement, "east.gw", &other).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.retry, Retry::OnChange);
    assert!(refused.to_string().contains("write east.gw to broker https://localhost"), "{refused}");
    let stranger = reach(broker.server.addresses()[0], pin_of(&broker), "nonsense");
    let refused = publish::publish(&stranger, Kind::Advertisement, "west.gw", &spec("one")).await;
    assert_eq!(refused.unwrap_err().retry, Retry::OnChange);
    let set = cluster_set("ours", 1).data["spec"].clone();
    let refused = publish::publish(&west, Kind::ClusterSet, "sealane", &set).await;
    assert_eq!(refused.unwrap_err().retry, Retry::OnChange);

    let address = broker.server.addresses()[0];
    let pin = pin_of(&broker);
    broker.server.stop().await;
    let away = reach(address, pin, "nonsense");
    let refused = publish::publish(&away, Kind::Advertisement, "west.gw", &spec("one")).await;
    assert_eq!(refused.unwrap_err().retry, Retry::Soon);
}

#[tokio::test]
async fn a_busy_broker_is_asked_once_and_the_caller_decides_when_again() {
    static CODE: AtomicU16 = AtomicU16::new(0);
    let door = Door::open(|_| {
        let code = CODE.load(Ordering::Relaxed);
        Reply::Whole(code, json!({"kind": "Status", "code": code, "message": "told by the test"}))
    })
    .await;
    let broker = door.broker();
    for (at, (code, retry)) in [
        (409, Retry::Soon),
        (429, Retry::Soon),
        (500, Retry::Soon),
        (503, Retry::Soon),
        (504, Retry::Soon),
        (422, Retry::OnChange),
        (413, Retry::OnChange),
    ]
    .into_iter()
    .enumerate()
    {
        CODE.store(code, Ordering::Relaxed);
        let refused = publish::publish(&broker, Kind::Advertisement, "west.gw", &spec("one")).await;
        assert_eq!(refused.unwrap_err().retry, retry, "{code}");
        assert_eq!(door.heard().len(), at + 1, "{code} was tried again behind the caller's back");
    }
}

#[tokio::test]
async fn an_administrator_issues_a_credential_that_the_member_can_use() {
    let broker = Broker::start().await;
    let admin = access::from_kubeconfig(broker.server.admin_kubeconfig(), None).await.unwrap();
    assert_eq!(admin.namespace, NAMESPACE);
    let (address, pin) = (broker.server.addresses()[0], pin_of(&broker));
    for word in ["new member", "existing account"] {
        let token = account::issue(&admin, "west", 3_600).await.unwrap().token;
        let west = reach(address, pin, &token);
        publish::publish(&west, Kind::Advertisement, "west.gw", &spec(word)).await.unwrap();
    }
    let token = account::issue(&admin, "west", 3_600).await.unwrap().token;
    let refused = account::issue(&reach(address, pin, &token), "east", 3_600).await.err().unwrap();
    let refused = refused.to_string();
    assert!(refused.contains("member-east") && refused.contains("administrator"), "{refused}");
}

#[tokio::test]
async fn a_broker_without_tokens_is_told_from_one_that_refuses() {
    let door = Door::open(|_| Reply::Whole(201, json!({"status": {}}))).await;
    let refused = account::issue(&door.broker(), "west", 3_600).await.err().unwrap();
    assert!(refused.to_string().ends_with("the broker sent no token"), "{refused}");
}

#[tokio::test]
async fn a_kubeconfig_names_broker_and_namespace_or_says_what_is_wrong() {
    let broker = Broker::start().await;
    let path = broker.server.admin_kubeconfig();
    let text = std::fs::read_to_string(path).unwrap();
    let mut file: Value = serde_saphyr::from_str(&text).unwrap();
    let other = broker.directory.path().join("other");
    let read = async |file: &Value| {
        std::fs::write(&other, file.to_string()).unwrap();
        access::from_kubeconfig(&other, None).await.map_err(|error| error.to_string())
    };
    for (namespace, expected) in [
        (json!("team-a"), "team-a"),
        (json!("default"), "default"),
        (Value::Null, sealane_api::clusterset::DEFAULT_NAMESPACE),
    ] {
        file["contexts"][0]["context"]["namespace"] = namespace;
        assert_eq!(read(&file).await.ok().map(|it| it.namespace).as_deref(), Some(expected));
    }
    file["clusters"][0]["cluster"]["proxy-url"] = json!("http://proxy.example:3128");
    let refused = read(&file).await.err().unwrap();
    assert!(refused.contains("proxy.example") && refused.contains("other"), "{refused}");

    let unknown = access::from_kubeconfig(path, Some("nobody")).await.err().unwrap().to_string();
    assert!(unknown.contains("nobody"), "{unknown}");
    let missing = broker.directory.path().join("missing");
    let missing = access::from_kubeconfig(&missing, None).await.err().unwrap().to_string();
    assert!(missing.contains("missing"), "{missing}");
}
