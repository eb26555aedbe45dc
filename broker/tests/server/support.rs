//! A broker in this process, clients of it, and objects to send. Owns no claims about it.

use kube::{
    Api, Client,
    api::{DynamicObject, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use sealane_broker::server::{
    config::Config,
    gate::{Admission, News, Offer, Refusal},
    serve::Server,
};
use serde_json::{Value, json};
use std::{future::Future, net::SocketAddr, path::Path, time::Duration};
use tempfile::TempDir;

pub(crate) const NAMESPACE: &str = "sealane-system";
/// Nothing here takes near this long; a test that waits for it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Broker {
    pub(crate) server: Server,
    pub(crate) directory: TempDir,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(tempfile::tempdir().unwrap(), loopback(), change).await
    }

    async fn on(directory: TempDir, listen: SocketAddr, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { listen: vec![listen], ..Config::new(directory.path()) };
        change(&mut config);
        Self { server: Server::start(config, counting_gate).await.unwrap(), directory }
    }

    /// Stops and starts again on the same address and data.
    pub(crate) async fn restarted(self) -> Self {
        let address = self.server.addresses()[0];
        self.server.stop().await;
        Self::on(self.directory, address, |_| {}).await
    }

    pub(crate) async fn admin(&self) -> Client {
        client(self.server.admin_kubeconfig(), None).await
    }

    /// Makes a service account and a client with a token of it.
    pub(crate) async fn account(&self, namespace: &str, name: &str) -> Client {
        let admin = self.admin().await;
        let accounts: Api<DynamicObject> =
            Api::namespaced_with(admin.clone(), namespace, &service_accounts());
        let account = object("v1", "ServiceAccount", name, json!({}));
        let _ = accounts.create(&PostParams::default(), &account).await;
        let token = new_token(&admin, namespace, name).await;
        self.with_token(&token).await
    }

    pub(crate) async fn with_token(&self, token: &str) -> Client {
        client(self.server.admin_kubeconfig(), Some(token)).await
    }
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A client of whoever `kubeconfig` names; `token` replaces the one in the file.
pub(crate) async fn client(kubeconfig: &Path, token: Option<&str>) -> Client {
    Client::try_from(config(kubeconfig, token).await).unwrap()
}

pub(crate) async fn config(kubeconfig: &Path, token: Option<&str>) -> kube::Config {
    let mut kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    if let Some(token) = token {
        let user = kubeconfig.auth_infos[0].auth_info.as_mut().unwrap();
        user.token = (!token.is_empty()).then(|| token.to_owned().into());
    }
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    // A refusal is what these tests look for, so it must not be tried again behind their back.
    config.default_retry = false;
    config
}

pub(crate) async fn new_token(admin: &Client, namespace: &str, name: &str) -> String {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = send(admin, "POST", &path, &body).await.unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

/// One raw request; the error is the `Status` code.
pub(crate) async fn send(
    client: &Client,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<Value, u16> {
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
    let request = http::Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json").body(body).unwrap();
    client.request::<Value>(request).await.map_err(|error| code(&error))
}

pub(crate) fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("not an answer of the broker: {other}"),
    }
}

pub(crate) fn advertisements(client: &Client) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), NAMESPACE, &kind("Advertisement", "advertisements"))
}

pub(crate) fn cluster_sets(client: &Client) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), NAMESPACE, &kind("ClusterSet", "clustersets"))
}

pub(crate) fn kind(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("sealane.dev", "v1alpha1", kind),
        plural,
    )
}

pub(crate) fn service_accounts() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("", "v1", "ServiceAccount"),
        "serviceaccounts",
    )
}

pub(crate) fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> DynamicObject {
    let mut value = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

/// An advertisement that no receiver would believe; `word` tells versions apart.
pub(crate) fn advertisement(member: &str, gateway: &str, word: &str) -> DynamicObject {
    let signed = json!({"payload": word, "signature": "AA=="});
    let spec = json!({
        "member": member,
        "gateway": gateway,
        "cert": signed,
        "signed": signed,
        "view": {"state": "active", "networks": ["10.1.0.0/16", "fd01::/48"]},
    });
    let name = format!("{member}.{gateway}");
    object("sealane.dev/v1alpha1", "Advertisement", &name, json!({"spec": spec}))
}

/// A `ClusterSet` as [`counting_gate`] reads it.
pub(crate) fn cluster_set(anchor: &str, version: u64) -> DynamicObject {
    let spec = json!({
        "signed": {"payload": version.to_string(), "signature": "AA=="},
        "genesis": {"root": anchor, "recovery": "r"},
        "view": {"version": 0},
    });
    object("sealane.dev/v1alpha1", "ClusterSet", "sealane", json!({"spec": spec}))
}

/// Stands in for signatures: the payload is the version, the root key the clusterset id.
fn counting_gate(offer: &Offer<'_>) -> Result<Admission, Refusal> {
    let version = |spec: &Value| {
        spec["signed"]["payload"].as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    };
    let refuse = |reason: &str| {
        Err(Refusal { reason: reason.to_owned(), message: "told by the test".to_owned() })
    };
    let anchor = offer.offered["genesis"]["root"].as_str().unwrap_or_default().to_owned();
    if offer.anchor.is_some_and(|bound| bound != anchor) {
        return refuse("WrongClusterSet");
    }
    let (held, offered) = (offer.held.map_or(0, version), version(offer.offered));
    if offered == 0 || offered < held {
        return refuse("ClusterSetRolledBack");
    }
    let news = if offered == held { News::Unchanged } else { News::Newer };
    Ok(Admission { anchor, news, view: Some(json!({"version": offered})) })
}

/// Waits for a condition, never longer than [`DEADLINE`].
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "never came true: {what}");
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("took too long: {what}"))
}
