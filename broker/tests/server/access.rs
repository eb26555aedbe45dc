//! Who may do what, with which credential.

use crate::support::*;
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client, ResourceExt,
    api::{
        DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
        WatchParams,
    },
};
use serde_json::{Value, json};

async fn apply(client: &Client, name: &str, object: &DynamicObject) -> Result<DynamicObject, u16> {
    let apply = PatchParams::apply("test").force();
    let written = advertisements(client).patch(name, &apply, &Patch::Apply(object)).await;
    written.map_err(|error| code(&error))
}

async fn create(client: &Client, object: &DynamicObject) -> Result<DynamicObject, u16> {
    let written = advertisements(client).create(&PostParams::default(), object).await;
    written.map_err(|error| code(&error))
}

async fn offer(client: &Client, set: &DynamicObject) -> Result<DynamicObject, u16> {
    let apply = PatchParams::apply("test").force();
    let written = cluster_sets(client).patch("sealane", &apply, &Patch::Apply(set)).await;
    written.map_err(|error| code(&error))
}

#[tokio::test]
async fn without_a_good_token_only_health_answers() {
    let broker = Broker::start().await;
    for token in
        ["", "nonsense", "slb1.0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
    {
        let stranger = broker.with_token(token).await;
        let health = http::Request::get("/healthz").body(Vec::new()).unwrap();
        assert_eq!(stranger.request_text(health).await.unwrap(), "ok");
        for path in [
            "/version",
            "/apis",
            "/metrics",
            "/api/v1/namespaces",
            "/nowhere",
            "/apis/sealane.dev/v1alpha1/advertisements",
        ] {
            assert_eq!(send(&stranger, "GET", path, &Value::Null).await, Err(401), "{path}");
        }
    }
}

#[tokio::test]
async fn a_member_reads_everything_of_its_namespace_and_writes_only_its_own() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let west = broker.account(NAMESPACE, "member-west").await;
    let east = broker.account(NAMESPACE, "member-east").await;
    create(&west, &advertisement("west", "gw", "one")).await.unwrap();
    apply(&east, "east.gw", &advertisement("east", "gw", "one")).await.unwrap();
    assert_eq!(advertisements(&west).list(&ListParams::default()).await.unwrap().items.len(), 2);

    let forged = advertisement("east", "gw", "forged");
    assert_eq!(create(&west, &advertisement("east", "gw2", "forged")).await, Err(403));
    assert_eq!(apply(&west, "east.gw", &forged).await, Err(403));
    let merge = Patch::Merge(json!({"spec": {"signed": {"payload": "forged"}}}));
    let patched = advertisements(&west).patch("east.gw", &PatchParams::default(), &merge).await;
    assert_eq!(code(&patched.unwrap_err()), 403);
    let replaced = advertisements(&west).replace("east.gw", &PostParams::default(), &forged).await;
    assert_eq!(code(&replaced.unwrap_err()), 403);
    let deleted = advertisements(&west).delete("east.gw", &DeleteParams::default()).await;
    assert_eq!(code(&deleted.unwrap_err()), 403);
    let all = advertisements(&west)
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await;
    assert_eq!(code(&all.unwrap_err()), 403);
    let held = advertisements(&admin).get("east.gw").await.unwrap();
    assert_eq!(held.data["spec"]["signed"]["payload"], "one");

    let claims = Patch::Merge(json!({"spec": {"member": "east"}}));
    let claimed = advertisements(&west).patch("west.gw", &PatchParams::default(), &claims).await;
    assert!([403, 422].contains(&code(&claimed.unwrap_err())));
    advertisements(&west).delete("west.gw", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn an_account_sees_nothing_of_another_namespace() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let other = broker.account("other", "member-west").await;
    create(&admin, &advertisement("west", "gw", "one")).await.unwrap();
    for path in [
        format!("/apis/sealane.dev/v1alpha1/namespaces/{NAMESPACE}/advertisements"),
        format!("/apis/sealane.dev/v1alpha1/namespaces/{NAMESPACE}/advertisements?watch=true"),
        format!("/apis/sealane.dev/v1alpha1/namespaces/{NAMESPACE}/advertisements/west.gw"),
        "/apis/sealane.dev/v1alpha1/advertisements".to_owned(),
        "/api/v1/namespaces/other/serviceaccounts".to_owned(),
        "/metrics".to_owned(),
    ] {
        assert_eq!(send(&other, "GET", &path, &Value::Null).await, Err(403), "{path}");
    }
    let namespaces = send(&other, "GET", "/api/v1/namespaces", &Value::Null).await.unwrap();
    let names: Vec<&Value> = namespaces["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["metadata"]["name"])
        .collect();
    assert_eq!(names, ["other"]);
}

#[tokio::test]
async fn accounts_and_tokens_are_made_by_the_administrator_only() {
    let broker = Broker::start().await;
    let west = broker.account(NAMESPACE, "member-west").await;
    let base = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "member-east"}});
    assert_eq!(send(&west, "POST", &base, &account).await, Err(403));
    assert_eq!(send(&west, "GET", &base, &Value::Null).await, Err(403));
    let token = format!("{base}/member-west/token");
    assert_eq!(send(&west, "POST", &token, &json!({"spec": {}})).await, Err(403));

    let admin = broker.admin().await;
    let nobody = format!("{base}/nobody/token");
    assert_eq!(send(&admin, "POST", &nobody, &json!({"spec": {}})).await, Err(404));
    for refused in [json!(10), json!(-1), json!("1h")] {
        let body = json!({"spec": {"expirationSeconds": refused}});
        assert_eq!(send(&admin, "POST", &token, &body).await, Err(422), "{body}");
    }
    let endless = json!({"spec": {"expirationSeconds": u64::MAX}});
    let granted = send(&admin, "POST", &token, &endless).await.unwrap();
    assert_eq!(granted["spec"]["expirationSeconds"], 10 * 365 * 24 * 3_600);
}

#[tokio::test]
async fn tokens_overlap_at_rotation_and_end_with_their_account() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let old = broker.account(NAMESPACE, "member-west").await;
    let new = broker.with_token(&new_token(&admin, NAMESPACE, "member-west").await).await;
    for client in [&old, &new] {
        advertisements(client).list(&ListParams::default()).await.unwrap();
    }
    let watch = advertisements(&old).watch(&WatchParams::default(), "0").await.unwrap();
    let accounts: Api<DynamicObject> =
        Api::namespaced_with(admin.clone(), NAMESPACE, &service_accounts());
    accounts.delete("member-west", &DeleteParams::default()).await.unwrap();
    for client in [&old, &new] {
        let refused = advertisements(client).list(&ListParams::default()).await;
        assert_eq!(code(&refused.unwrap_err()), 401);
    }
    // A watch that is already open must not go on telling.
    let last = soon("the end of the watch", watch.boxed().try_collect::<Vec<_>>()).await.unwrap();
    assert!(matches!(last.last(), Some(WatchEvent::Error(status)) if status.code == 401));
}

#[tokio::test]
async fn nothing_stored_gives_a_token_away() {
    let broker = Broker::start().await;
    let token = new_token_of(&broker, "member-west").await;
    let secret = token.rsplit('.').next().unwrap().as_bytes().to_vec();
    let data = broker.directory.path().to_owned();
    broker.server.stop().await;
    let file = std::fs::read(data.join("broker.redb")).unwrap();
    assert!(!file.windows(secret.len()).any(|window| window == secret));
    for private in ["broker.redb", "ca.key", "admin.kubeconfig"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(data.join(private)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{private}");
    }
}

async fn new_token_of(broker: &Broker, name: &str) -> String {
    broker.account(NAMESPACE, name).await;
    new_token(&broker.admin().await, NAMESPACE, name).await
}

#[tokio::test]
async fn the_first_cluster_set_is_the_administrators_and_newer_ones_anyones() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let west = broker.account(NAMESPACE, "member-west").await;
    let reader = broker.account(NAMESPACE, "reader").await;
    assert_eq!(offer(&west, &cluster_set("mine", 1)).await, Err(403));
    offer(&admin, &cluster_set("ours", 3)).await.unwrap();
    assert_eq!(offer(&west, &cluster_set("mine", 9)).await, Err(422));
    assert_eq!(offer(&west, &cluster_set("ours", 2)).await, Err(422));
    assert_eq!(offer(&admin, &cluster_set("ours", 2)).await, Err(422));
    let newer = offer(&west, &cluster_set("ours", 4)).await.unwrap();
    assert_eq!(newer.data["spec"]["view"]["version"], 4);
    offer(&reader, &cluster_set("ours", 5)).await.unwrap();

    let refused = cluster_sets(&west).delete("sealane", &DeleteParams::default()).await;
    assert_eq!(code(&refused.unwrap_err()), 403);
    let mut labelled = cluster_set("ours", 6);
    labelled.labels_mut().insert("x".into(), "y".into());
    let stored = offer(&west, &labelled).await.unwrap();
    assert!(stored.labels().is_empty(), "only signed bytes are a member's to change");
}

#[tokio::test]
async fn a_deleted_cluster_set_heals_and_never_goes_back() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let west = broker.account(NAMESPACE, "member-west").await;
    offer(&admin, &cluster_set("ours", 3)).await.unwrap();
    cluster_sets(&admin).delete("sealane", &DeleteParams::default()).await.unwrap();
    let broker = broker.restarted().await;
    assert_eq!(offer(&broker.admin().await, &cluster_set("ours", 2)).await, Err(422));
    offer(&west, &cluster_set("ours", 3)).await.unwrap();
}

#[tokio::test]
async fn an_anchor_given_at_start_lets_a_member_bring_the_first_set() {
    let broker = Broker::with(|config| config.anchor = Some("ours".to_owned())).await;
    let west = broker.account(NAMESPACE, "member-west").await;
    assert_eq!(offer(&west, &cluster_set("theirs", 1)).await, Err(422));
    offer(&west, &cluster_set("ours", 1)).await.unwrap();
}
