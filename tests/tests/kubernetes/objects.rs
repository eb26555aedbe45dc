//! Objects on a broker: what it says of itself, writing, listing, and what it refuses.

use kube::ResourceExt;
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use sealane_broker::board::Kind;
use sealane_tests::kubernetes::board::Make;
use serde_json::{Value, json};

use crate::stage::{Room, advertisement, object, objects, refusal};

on_each_broker!(
    discovery_tells_our_kinds,
    bad_objects_are_refused_with_the_field_or_the_rule,
    pages_show_one_moment,
    a_stale_version_is_a_conflict,
    patches_change_what_they_name,
    what_is_deleted_is_gone,
);

async fn discovery_tells_our_kinds(room: Room) {
    let ask = async |path: &str| {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        room.admin.client.request::<Value>(request).await.unwrap()
    };
    let group = ask("/apis/sealane.dev").await;
    assert_eq!(group["preferredVersion"]["groupVersion"], "sealane.dev/v1alpha1");
    let told = ask("/apis/sealane.dev/v1alpha1").await;
    for (plural, kind, short) in
        [("advertisements", "Advertisement", "slad"), ("clustersets", "ClusterSet", "slcs")]
    {
        let resource = told["resources"].as_array().unwrap().iter().find(|it| it["name"] == plural);
        let resource = resource.unwrap_or_else(|| panic!("{told}"));
        assert_eq!(resource["kind"], kind);
        assert_eq!(resource["namespaced"], true);
        assert_eq!(resource["shortNames"], json!([short]));
        assert_eq!(resource["categories"], json!(["sealane"]));
        for verb in ["create", "delete", "get", "list", "patch", "update", "watch"] {
            assert!(
                resource["verbs"].as_array().unwrap().contains(&json!(verb)),
                "{verb}: {resource}"
            );
        }
    }
}

async fn bad_objects_are_refused_with_the_field_or_the_rule(room: Room) {
    let api = room.advertisements();
    let good = || advertisement("west", "gw", "one");
    let renamed = object("Advertisement", "east.gw", &good().data["spec"]);
    let with = |field: &str, value: Value| {
        let mut object = good();
        *object.data.pointer_mut(&format!("/spec/{field}")).unwrap() = value;
        object
    };
    let mut unsigned = good();
    unsigned.data["spec"].as_object_mut().unwrap().remove("signed");
    let is_api_server = room.board.make == Make::ApiServer;
    let name = if is_api_server {
        "the name must be spec.member, a dot and spec.gateway"
    } else {
        "metadata.name: must be west.gw"
    };
    let mut refused = vec![
        (renamed, name),
        (unsigned, "spec.signed"),
        (with("cert/payload", json!(7)), "spec.cert.payload"),
        (with("member", json!("w".repeat(64))), "spec.member"),
    ];
    if is_api_server {
        refused.extend([
            (with("signed/signature", json!("short")), "spec.signed.signature"),
            (with("view/networks", json!(vec!["10.0.0.0/8"; 65])), "spec.view.networks"),
            (with("view/sequence", json!("one")), "spec.view.sequence"),
        ]);
    }
    for (bad, named) in refused {
        let status = refusal(api.create(&PostParams::default(), &bad).await);
        assert_eq!((status.code, &*status.reason), (422, "Invalid"), "{}", status.message);
        assert!(status.message.contains(named), "{named}: {}", status.message);
    }
    let signed = json!({"payload": "x", "signature": "A".repeat(88)});
    let key = "k".repeat(43);
    let set = json!({"genesis": {"root": key, "recovery": key}, "signed": signed});
    let other = object("ClusterSet", "other", &set);
    let sets = objects(&room.admin, Kind::ClusterSet);
    let status = refusal(sets.create(&PostParams::default(), &other).await);
    assert_eq!(status.code, 422);
    let named = if is_api_server {
        "the one ClusterSet of a namespace is named sealane"
    } else {
        "metadata.name: must be \"sealane\""
    };
    assert!(status.message.contains(named), "{}", status.message);

    assert!(api.list(&ListParams::default()).await.unwrap().items.is_empty());
    api.create(&PostParams::default(), &good()).await.unwrap();
}

async fn pages_show_one_moment(room: Room) {
    let api = room.advertisements();
    let write = async |gateway: &str| {
        api.create(&PostParams::default(), &advertisement("west", gateway, "one")).await.unwrap();
    };
    for gateway in ["a", "b", "c", "d", "e"] {
        write(gateway).await;
    }
    let (mut seen, mut next) = (Vec::new(), None::<String>);
    loop {
        let params = ListParams { limit: Some(2), continue_token: next, ..ListParams::default() };
        let page = api.list(&params).await.unwrap();
        assert!(!page.metadata.resource_version.clone().unwrap_or_default().is_empty());
        seen.push(page.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
        next = page.metadata.continue_.filter(|token| !token.is_empty());
        if seen.len() == 1 {
            write("bb").await;
        }
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, [vec!["west.a", "west.b"], vec!["west.c", "west.d"], vec!["west.e"]]);
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 6);
}

async fn a_stale_version_is_a_conflict(room: Room) {
    let api = room.advertisements();
    let how = PostParams::default();
    let first = api.create(&how, &advertisement("west", "gw", "one")).await.unwrap();
    let status = refusal(api.create(&how, &advertisement("west", "gw", "one")).await);
    assert_eq!((status.code, &*status.reason), (409, "AlreadyExists"));

    let mut next = first.clone();
    next.data["spec"]["signed"]["payload"] = json!("two");
    let second = api.replace("west.gw", &how, &next).await.unwrap();
    assert_eq!((first.metadata.generation, second.metadata.generation), (Some(1), Some(2)));
    assert_eq!(first.uid(), second.uid());
    next.data["spec"]["signed"]["payload"] = json!("three");
    let status = refusal(api.replace("west.gw", &how, &next).await);
    assert_eq!((status.code, &*status.reason), (409, "Conflict"));
    assert_eq!(payload(&api.get("west.gw").await.unwrap()), "two");
}

async fn patches_change_what_they_name(room: Room) {
    let api = room.advertisements();
    let apply = PatchParams::apply("agent").force();
    let wanted = advertisement("west", "gw", "one");
    let created = api.patch("west.gw", &apply, &Patch::Apply(&wanted)).await.unwrap();
    let again = api.patch("west.gw", &apply, &Patch::Apply(&wanted)).await.unwrap();
    assert_eq!(again.resource_version(), created.resource_version());

    let label = json!({"metadata": {"labels": {"by": "human"}}});
    api.patch("west.gw", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    let mut second = advertisement("west", "gw", "two");
    second.data["spec"].as_object_mut().unwrap().remove("view");
    let applied = api.patch("west.gw", &apply, &Patch::Apply(&second)).await.unwrap();
    assert_eq!(applied.data["spec"], second.data["spec"], "what is no longer applied is gone");
    assert_eq!(applied.labels()["by"], "human");

    let member = json!({"spec": {"member": "east"}});
    let status =
        refusal(api.patch("west.gw", &PatchParams::default(), &Patch::Merge(&member)).await);
    assert_eq!(status.code, 422, "{}", status.message);
}

async fn what_is_deleted_is_gone(room: Room) {
    let api = room.advertisements();
    api.create(&PostParams::default(), &advertisement("west", "gw", "one")).await.unwrap();
    let preconditions = Some(Preconditions { uid: Some("other".into()), resource_version: None });
    let other = DeleteParams { preconditions, ..DeleteParams::default() };
    assert_eq!(refusal(api.delete("west.gw", &other).await).code, 409);
    api.delete("west.gw", &DeleteParams::default().dry_run()).await.unwrap();
    assert_eq!(payload(&api.get("west.gw").await.unwrap()), "one");
    api.delete("west.gw", &DeleteParams::default()).await.unwrap();
    assert_eq!(refusal(api.get("west.gw").await).code, 404);
    assert_eq!(refusal(api.delete("west.gw", &DeleteParams::default()).await).code, 404);
}

fn payload(object: &DynamicObject) -> &str {
    object.data["spec"]["signed"]["payload"].as_str().unwrap()
}
