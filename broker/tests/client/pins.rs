//! Whom the client trusts, and who never sees its credential.

use crate::door::*;
use crate::support::NAMESPACE;
use sealane_broker::{access::Broker, board::Kind, pin::SpkiPin, publish};
use serde_json::json;

async fn asks(broker: &Broker) -> Result<(), String> {
    let answer = publish::read(broker, Kind::Advertisement, "west.gw").await;
    answer.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_broker_is_trusted_by_the_pinned_key_of_its_authority() {
    let broker = crate::support::Broker::start().await;
    asks(&member(&broker, "member-west").await).await.unwrap();
}

#[tokio::test]
async fn a_brokers_own_pinned_key_counts_whatever_its_certificate_says() {
    for papers in [Papers::of("localhost", 2100), Papers::of("other.example", 2020)] {
        let door = Door::with(papers, |_| Reply::Whole(404, json!({"code": 404}))).await;
        asks(&door.broker()).await.unwrap();
        assert!(door.heard()[0].contains(TOKEN), "the credential is sent where the pin holds");
    }
}

#[tokio::test]
async fn a_stranger_at_the_brokers_address_never_sees_the_credential() {
    let good = Papers::of("localhost", 2100);
    let others = Papers::of("localhost", 2100);
    let door = Door::with(good, |_| Reply::Whole(404, json!({"code": 404}))).await;
    asks(&door.broker_by_authority()).await.unwrap();
    let told = door.heard().len();
    for pin in [others.own, others.authority, SpkiPin([0; 32])] {
        let refused = asks(&reach(door.address, pin, TOKEN)).await.unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
    }
    assert_eq!(door.heard().len(), told, "a stranger was told something");

    for (papers, why) in [
        (Papers::of("other.example", 2100), "not valid for name"),
        (Papers::of("localhost", 2020), "expired"),
    ] {
        let door = Door::with(papers, |_| Reply::Whole(404, json!({"code": 404}))).await;
        let refused = asks(&door.broker_by_authority()).await.unwrap_err();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(door.heard(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn without_pins_a_broker_needs_a_certificate_of_a_public_authority() {
    let door = Door::open(|_| Reply::Whole(404, json!({"code": 404}))).await;
    let url = format!("https://localhost:{}", door.address.port());
    let address = sealane_broker::access::BrokerAddress::parse(&url, NAMESPACE, vec![]).unwrap();
    let credential = sealane_broker::access::Credential::new(TOKEN.to_owned());
    if let Ok(broker) = address.client(&credential) {
        asks(&broker).await.unwrap_err();
    }
    assert_eq!(door.heard(), Vec::<String>::new());
}
