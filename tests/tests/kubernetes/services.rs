//! The reserved kind ServiceAdvertisement: its rule about names, its columns, and that each member writes its
//! own. No agent uses it yet.

use kube::Api;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use sealane_broker::access::Broker;
use sealane_tests::kubernetes::board::Make;
use serde_json::{Value, json};

use crate::stage::{Room, object, refusal};

on_each_broker!(
    a_service_is_named_by_what_it_says,
    a_member_writes_its_own_services_and_no_others,
    kubectl_shows_services_by_their_short_name,
);

fn services(broker: &Broker) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "sealane.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "sealane.dev/v1alpha1".to_owned(),
        kind: "ServiceAdvertisement".to_owned(),
        plural: "serviceadvertisements".to_owned(),
    };
    Api::namespaced_with(broker.client.clone(), &broker.namespace, &resource)
}

fn spec(member: &str) -> Value {
    let signed = json!({"payload": "x", "signature": "A".repeat(88)});
    json!({
        "member": member, "namespace": "shop", "name": "cart", "cert": signed, "signed": signed,
        "view": {
            "type": "ClusterSetIP", "state": "active", "ports": ["80/TCP"], "addresses": ["10.1.0.7"],
            "sequence": 1, "expires": "2030-01-01T00:00:00Z",
        },
    })
}

fn service(member: &str) -> DynamicObject {
    object("ServiceAdvertisement", &format!("{member}.shop.cart"), &spec(member))
}

async fn a_service_is_named_by_what_it_says(room: Room) {
    let api = services(&room.admin);
    let renamed = object("ServiceAdvertisement", "west.shop.till", &spec("west"));
    let status = refusal(api.create(&PostParams::default(), &renamed).await);
    assert_eq!((status.code, &*status.reason), (422, "Invalid"), "{}", status.message);
    let named = match room.board.make {
        Make::ApiServer => "the name must be spec.member, spec.namespace and spec.name",
        Make::Embedded => "metadata.name: must be west.shop.cart",
    };
    assert!(status.message.contains(named), "{}", status.message);
    for field in ["namespace", "name", "cert", "signed"] {
        let mut bare = service("west");
        bare.data["spec"].as_object_mut().unwrap().remove(field);
        let status = refusal(api.create(&PostParams::default(), &bare).await);
        assert_eq!(status.code, 422, "{field}: {}", status.message);
        assert!(status.message.contains(&format!("spec.{field}")), "{}", status.message);
    }
    api.create(&PostParams::default(), &service("west")).await.unwrap();
}

async fn a_member_writes_its_own_services_and_no_others(room: Room) {
    let token = room.board.member(&room.namespace, "west").await.unwrap();
    let west = services(&room.board.client(&room.board.url, &room.namespace, &token).unwrap());
    let all = services(&room.admin);
    all.create(&PostParams::default(), &service("east")).await.unwrap();
    let apply = PatchParams::apply("agent").force();
    west.patch("west.shop.cart", &apply, &Patch::Apply(&service("west"))).await.unwrap();
    assert_eq!(west.list(&ListParams::default()).await.unwrap().items.len(), 2);
    let label = json!({"metadata": {"labels": {"by": "west"}}});
    let patched =
        west.patch("east.shop.cart", &PatchParams::default(), &Patch::Merge(&label)).await;
    let disguised = object("ServiceAdvertisement", "west.shop.cart", &spec("east"));
    for status in [
        refusal(west.create(&PostParams::default(), &service("north")).await),
        refusal(patched),
        refusal(west.delete("east.shop.cart", &DeleteParams::default()).await),
    ] {
        assert_eq!((status.code, &*status.reason), (403, "Forbidden"), "{}", status.message);
    }
    let status = refusal(west.patch("west.shop.cart", &apply, &Patch::Apply(&disguised)).await);
    assert!(matches!(status.code, 403 | 422), "{}", status.message);
    west.delete("west.shop.cart", &DeleteParams::default()).await.unwrap();
}

async fn kubectl_shows_services_by_their_short_name(room: Room) {
    services(&room.admin).create(&PostParams::default(), &service("west")).await.unwrap();
    let shown = room.kubectl("get slsv").unwrap();
    let words: Vec<&str> = shown.split_whitespace().collect();
    for word in ["NAMESPACE", "SERVICE", "TYPE", "PORTS", "west.shop.cart", "shop", "ClusterSetIP"]
    {
        assert!(words.contains(&word), "{word}: {shown}");
    }
    assert!(room.kubectl("get sealane").unwrap().contains("west.shop.cart"));
    let explained = room.board.kubectl("explain serviceadvertisement").unwrap();
    let words: Vec<&str> = explained.split_whitespace().collect();
    assert!(words.join(" ").contains("Reserved: no agent"), "{explained}");
}
