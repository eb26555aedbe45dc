//! What members may do on an API server with the manifests of `charts/broker`; `sealane-broker` has the
//! same rules built in, so the cases are the same there.

use std::time::Instant;

use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, ResourceExt};
use sealane_broker::board::Kind;
use sealane_tests::kubernetes::board::Make;
use serde_json::json;

use crate::stage::{DEADLINE, Room, advertisement, object, objects, refusal};

on_each_broker!(
    a_member_writes_its_own_objects,
    a_member_writes_no_objects_of_others,
    a_member_takes_nothing_over,
    a_member_writes_no_clusterset_of_its_making,
    accounts_that_are_no_members_write_nothing,
    a_member_sees_its_namespace_and_nothing_else,
);

async fn as_member(room: &Room, member: &str, kind: Kind) -> Api<DynamicObject> {
    let token = room.board.member(&room.namespace, member).await.unwrap();
    objects(&room.board.client(&room.board.url, &room.namespace, &token).unwrap(), kind)
}

fn forbidden(status: &Status) {
    assert_eq!((status.code, &*status.reason), (403, "Forbidden"), "{}", status.message);
}

async fn a_member_writes_its_own_objects(room: Room) {
    let api = as_member(&room, "west", Kind::Advertisement).await;
    let held =
        api.create(&PostParams::default(), &advertisement("west", "a", "one")).await.unwrap();
    let mut next = held.clone();
    next.data["spec"]["signed"]["payload"] = json!("two");
    api.replace("west.a", &PostParams::default(), &next).await.unwrap();
    let apply = PatchParams::apply("agent").force();
    let new = advertisement("west", "b", "one");
    api.patch("west.b", &apply, &Patch::Apply(&new)).await.unwrap();
    let change = json!({"spec": {"signed": {"payload": "three"}}});
    api.patch("west.b", &PatchParams::default(), &Patch::Merge(&change)).await.unwrap();
    api.delete("west.a", &DeleteParams::default()).await.unwrap();
    let left = api.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(left.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["west.b"]);
}

async fn a_member_writes_no_objects_of_others(room: Room) {
    let all = room.advertisements();
    let held =
        all.create(&PostParams::default(), &advertisement("east", "gw", "one")).await.unwrap();
    let api = as_member(&room, "west", Kind::Advertisement).await;
    let how = PostParams::default();
    let apply = PatchParams::apply("agent").force();
    for member in ["east", "west-2", "wes"] {
        let new = advertisement(member, "new", "one");
        forbidden(&refusal(api.create(&how, &new).await));
        forbidden(&refusal(api.patch(&format!("{member}.new"), &apply, &Patch::Apply(&new)).await));
    }
    let mut next = held.clone();
    next.data["spec"]["signed"]["payload"] = json!("two");
    let status = refusal(api.replace("east.gw", &how, &next).await);
    forbidden(&status);
    if room.board.make == Make::ApiServer {
        let said = "member west writes Advertisements named west.* with itself as spec.member";
        assert!(status.message.contains(said), "{}", status.message);
    }
    let label = json!({"metadata": {"labels": {"by": "west"}}});
    forbidden(&refusal(api.patch("east.gw", &PatchParams::default(), &Patch::Merge(&label)).await));
    forbidden(&refusal(api.delete("east.gw", &DeleteParams::default()).await));
    let whole = api.delete_collection(&DeleteParams::default(), &ListParams::default()).await;
    forbidden(&refusal(whole.map(|_| ())));
    assert_eq!(all.get("east.gw").await.unwrap(), held);
    assert_eq!(all.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

/// Neither by what an object says of itself, nor by what it said before.
async fn a_member_takes_nothing_over(room: Room) {
    let api = as_member(&room, "west", Kind::Advertisement).await;
    let other = advertisement("east", "gw", "one");
    let disguised = object("Advertisement", "west.gw", &other.data["spec"]);
    assert!(matches!(
        refusal(api.create(&PostParams::default(), &disguised).await).code,
        403 | 422
    ));
    api.create(&PostParams::default(), &advertisement("west", "gw", "one")).await.unwrap();
    let change = json!({"spec": {"member": "east"}});
    let status =
        refusal(api.patch("west.gw", &PatchParams::default(), &Patch::Merge(&change)).await);
    assert!(matches!(status.code, 403 | 422), "{}", status.message);
}

async fn a_member_writes_no_clusterset_of_its_making(room: Room) {
    let api = as_member(&room, "west", Kind::ClusterSet).await;
    let signed = json!({"payload": "x", "signature": "A".repeat(88)});
    let key = "k".repeat(43);
    let set = json!({"genesis": {"root": key, "recovery": key}, "signed": signed});
    let set = object("ClusterSet", "sealane", &set);
    let status = refusal(api.create(&PostParams::default(), &set).await);
    assert!(matches!(status.code, 403 | 422), "{}", status.message);
    let apply = PatchParams::apply("agent").force();
    let status = refusal(api.patch("sealane", &apply, &Patch::Apply(&set)).await);
    assert!(matches!(status.code, 403 | 422), "{}", status.message);
    assert!(api.list(&ListParams::default()).await.unwrap().items.is_empty());
    if room.board.make == Make::ApiServer {
        // A role that gives too much does not undo the policy.
        room.kubectl("create role too-much --verb=* --resource=clustersets.sealane.dev").unwrap();
        let account = format!("{}:member-west", room.namespace);
        let bind =
            format!("create rolebinding too-much --role=too-much --serviceaccount={account}");
        room.kubectl(&bind).unwrap();
        let begin = Instant::now();
        let said = loop {
            assert!(begin.elapsed() < DEADLINE, "the role never counts");
            let status = refusal(api.create(&PostParams::default(), &set).await);
            // The authorizer hears of a role a moment later.
            if !status.message.contains("cannot create resource") {
                break status;
            }
        };
        forbidden(&said);
        assert!(
            said.message.contains("the ClusterSet is the administrator's to write"),
            "{}",
            said.message
        );
    }
}

async fn accounts_that_are_no_members_write_nothing(room: Room) {
    room.kubectl("create serviceaccount visitor").unwrap();
    let token = room.kubectl("create token visitor").unwrap();
    let broker = room.board.client(&room.board.url, &room.namespace, token.trim()).unwrap();
    let api = objects(&broker, Kind::Advertisement);
    let status =
        refusal(api.create(&PostParams::default(), &advertisement("visitor", "gw", "one")).await);
    forbidden(&status);
    if room.board.make == Make::ApiServer {
        assert!(status.message.contains("account visitor is no member"), "{}", status.message);
    }
}

async fn a_member_sees_its_namespace_and_nothing_else(room: Room) {
    let token = room.board.member(&room.namespace, "west").await.unwrap();
    let at_home = room.board.client(&room.board.url, &room.namespace, &token).unwrap();
    for kind in [Kind::ClusterSet, Kind::Advertisement] {
        objects(&at_home, kind).list(&ListParams::default()).await.unwrap();
        let elsewhere = room.board.client(&room.board.url, "sealane-system", &token).unwrap();
        forbidden(&refusal(objects(&elsewhere, kind).list(&ListParams::default()).await));
    }
    for path in ["secrets", "serviceaccounts", "configmaps"] {
        let path = format!("/api/v1/namespaces/{}/{path}", room.namespace);
        let request = http::Request::get(&path).body(Vec::new()).unwrap();
        let code = refusal(at_home.client.request::<serde_json::Value>(request).await).code;
        assert!(matches!(code, 403 | 404), "{path}: {code}");
    }
    let path = format!("/api/v1/namespaces/{}/serviceaccounts/member-east/token", room.namespace);
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let request = http::Request::post(&path).header("content-type", "application/json");
    let request = request.body(body.to_string().into_bytes()).unwrap();
    forbidden(&refusal(at_home.client.request::<serde_json::Value>(request).await));
}
