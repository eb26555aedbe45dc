//! Writing and listing objects.

use crate::support::*;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use sealane_broker::server::history::HistoryBounds;
use serde_json::json;

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let broker = Broker::start().await;
    let api = advertisements(&broker.admin().await);
    let created =
        api.create(&PostParams::default(), &advertisement("west", "gw", "one")).await.unwrap();
    assert_eq!(created.metadata.generation, Some(1));
    assert!(created.uid().is_some() && created.creation_timestamp().is_some());

    let again = api.create(&PostParams::default(), &advertisement("west", "gw", "one")).await;
    assert_eq!(code(&again.unwrap_err()), 409);

    let mut next = created.clone();
    next.data["spec"]["signed"]["payload"] = json!("two");
    let updated = api.replace("west.gw", &PostParams::default(), &next).await.unwrap();
    assert_eq!(updated.metadata.generation, Some(2));
    assert_eq!(updated.uid(), created.uid());
    assert_ne!(updated.resource_version(), created.resource_version());
    assert_eq!(api.get("west.gw").await.unwrap(), updated);

    let stale = api.replace("west.gw", &PostParams::default(), &next).await;
    assert_eq!(code(&stale.unwrap_err()), 409);

    api.delete("west.gw", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(&api.get("west.gw").await.unwrap_err()), 404);
    let gone = api.delete("west.gw", &DeleteParams::default()).await;
    assert_eq!(code(&gone.unwrap_err()), 404);
}

#[tokio::test]
async fn of_many_writers_with_one_version_exactly_one_wins() {
    let broker = Broker::start().await;
    let api = advertisements(&broker.admin().await);
    let held = api.create(&PostParams::default(), &advertisement("west", "gw", "0")).await.unwrap();
    let writes = (1..=20).map(|word| {
        let (api, mut next) = (api.clone(), held.clone());
        next.data["spec"]["signed"]["payload"] = json!(word.to_string());
        async move { api.replace("west.gw", &PostParams::default(), &next).await }
    });
    let outcomes = futures::future::join_all(writes).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(code);
    assert!(refused.into_iter().all(|code| code == 409));
}

#[tokio::test]
async fn apply_creates_then_replaces_the_spec_and_is_silent_when_nothing_changes() {
    let broker = Broker::start().await;
    let api = advertisements(&broker.admin().await);
    let apply = PatchParams::apply("agent").force();
    let first = advertisement("west", "gw", "one");
    let created = api.patch("west.gw", &apply, &Patch::Apply(&first)).await.unwrap();
    let repeated = api.patch("west.gw", &apply, &Patch::Apply(&first)).await.unwrap();
    assert_eq!(repeated.resource_version(), created.resource_version());

    let label = json!({"metadata": {"labels": {"by": "human"}}});
    api.patch("west.gw", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    let mut second = advertisement("west", "gw", "two");
    second.data["spec"].as_object_mut().unwrap().remove("view");
    let applied = api.patch("west.gw", &apply, &Patch::Apply(&second)).await.unwrap();
    assert_eq!(applied.data["spec"], second.data["spec"]);
    assert_eq!(applied.labels()["by"], "human");
}

#[tokio::test]
async fn a_dry_run_answers_and_stores_nothing() {
    let broker = Broker::start().await;
    let api = advertisements(&broker.admin().await);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry, &advertisement("west", "gw", "one")).await.unwrap();
    assert!(api.get_opt("west.gw").await.unwrap().is_none());
    api.create(&PostParams::default(), &advertisement("west", "gw", "one")).await.unwrap();
    api.delete("west.gw", &DeleteParams::default().dry_run()).await.unwrap();
    assert!(api.get_opt("west.gw").await.unwrap().is_some());
}

#[tokio::test]
async fn a_delete_with_other_preconditions_deletes_nothing() {
    let broker = Broker::start().await;
    let api = advertisements(&broker.admin().await);
    api.create(&PostParams::default(), &advertisement("west", "gw", "one")).await.unwrap();
    let preconditions = Some(Preconditions { uid: Some("other".into()), resource_version: None });
    let refused =
        api.delete("west.gw", &DeleteParams { preconditions, ..DeleteParams::default() }).await;
    assert_eq!(code(&refused.unwrap_err()), 409);
    assert!(api.get_opt("west.gw").await.unwrap().is_some());
}

#[tokio::test]
async fn malformed_objects_are_refused_with_the_field_and_nothing_else_is_harmed() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let api = advertisements(&admin);
    let good =
        api.create(&PostParams::default(), &advertisement("west", "gw", "one")).await.unwrap();
    let mut unsigned = advertisement("east", "gw", "one");
    unsigned.data["spec"].as_object_mut().unwrap().remove("signed");
    match api.create(&PostParams::default(), &unsigned).await.unwrap_err() {
        kube::Error::Api(status) => {
            assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
            assert!(status.message.contains("spec.signed.payload"), "{}", status.message);
        }
        other => panic!("{other}"),
    }
    let path = format!("/apis/sealane.dev/v1alpha1/namespaces/{NAMESPACE}/advertisements");
    for (body, expected) in [
        (json!("text"), 400),
        (json!([]), 400),
        (json!({"kind": "Pod", "apiVersion": "v1"}), 400),
        (
            json!({"kind": "Advertisement", "apiVersion": "sealane.dev/v1alpha1", "metadata": {"generateName": "x"}, "spec": {}}),
            422,
        ),
        (
            json!({"kind": "Advertisement", "apiVersion": "sealane.dev/v1alpha1", "metadata": {"name": "West.Gw"}, "spec": {}}),
            422,
        ),
        (
            json!({"kind": "Advertisement", "apiVersion": "sealane.dev/v1alpha1", "metadata": {"name": "a/b"}, "spec": 7}),
            422,
        ),
    ] {
        assert_eq!(send(&admin, "POST", &path, &body).await, Err(expected), "{body}");
    }
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    assert_eq!(send(&admin, "GET", &pods, &json!(null)).await, Err(404));
    assert_eq!(send(&admin, "GET", &format!("{path}/%ff"), &json!(null)).await, Err(404));
    assert_eq!(api.get("west.gw").await.unwrap(), good);
}

#[tokio::test]
async fn pages_show_one_moment_even_when_objects_change_between_them() {
    let broker = Broker::start().await;
    let api = advertisements(&broker.admin().await);
    for at in 0..9 {
        api.create(&PostParams::default(), &advertisement("west", &format!("gw{at}"), "one"))
            .await
            .unwrap();
    }
    let page = ListParams::default().limit(4);
    let first = api.list(&page).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(5));
    let token = first.metadata.continue_.clone().unwrap();

    api.delete("west.gw5", &DeleteParams::default()).await.unwrap();
    api.create(&PostParams::default(), &advertisement("west", "gw4a", "one")).await.unwrap();
    let second = api.list(&page.clone().continue_token(&token)).await.unwrap();
    let token = second.metadata.continue_.clone().unwrap();
    let third = api.list(&page.continue_token(&token)).await.unwrap();

    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    assert_eq!(third.metadata.continue_, None);
    let names: Vec<String> =
        [first, second, third].iter().flatten().map(ResourceExt::name_any).collect();
    let wanted: Vec<String> = (0..9).map(|at| format!("west.gw{at}")).collect();
    assert_eq!(names, wanted);
}

#[tokio::test]
async fn a_page_that_history_has_forgotten_is_answered_with_410() {
    let bounds = HistoryBounds { events: 3, ..HistoryBounds::default() };
    let broker = Broker::with(|config| config.history = bounds).await;
    let api = advertisements(&broker.admin().await);
    for at in 0..3 {
        api.create(&PostParams::default(), &advertisement("west", &format!("gw{at}"), "one"))
            .await
            .unwrap();
    }
    let page = ListParams::default().limit(1);
    let token = api.list(&page).await.unwrap().metadata.continue_.unwrap();
    for at in 3..9 {
        api.create(&PostParams::default(), &advertisement("west", &format!("gw{at}"), "one"))
            .await
            .unwrap();
    }
    let late = api.list(&page.continue_token(&token)).await;
    assert_eq!(code(&late.unwrap_err()), 410);
}

#[tokio::test]
async fn selectors_narrow_lists() {
    let broker = Broker::start().await;
    let admin = broker.admin().await;
    let api = advertisements(&admin);
    for (gateway, site) in [("a", "north"), ("b", "south"), ("c", "south")] {
        let mut object = advertisement("west", gateway, "one");
        object.labels_mut().insert("site".into(), site.into());
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    let names = |params: ListParams| {
        let api = api.clone();
        async move {
            let list = api.list(&params).await.unwrap();
            list.iter().map(ResourceExt::name_any).collect::<Vec<_>>()
        }
    };
    assert_eq!(names(ListParams::default().labels("site=south")).await, ["west.b", "west.c"]);
    assert_eq!(names(ListParams::default().fields("metadata.name=west.a")).await, ["west.a"]);
    let all: Api<DynamicObject> = Api::all_with(admin, &kind("Advertisement", "advertisements"));
    assert_eq!(all.list(&ListParams::default()).await.unwrap().items.len(), 3);
    let unknown = api.list(&ListParams::default().fields("spec.member=west")).await;
    assert_eq!(code(&unknown.unwrap_err()), 400);
}
