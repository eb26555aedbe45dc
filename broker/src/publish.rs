//! Owns writing our own objects to a broker. Signs nothing and decides nothing: it writes the
//! `spec` that it is given unless the broker has it already.

use kube::Api;
use kube::api::{DynamicObject, GetParams, Patch, PatchParams};
use kube::core::Request;
use sealane_api::kinds::{ACCEPT_LINK, ClusterSetSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Broker;
use crate::board::{CLUSTER_SET_NAME, GROUP, Kind, VERSION};
use crate::mirror::root_cause;

/// The field manager under which we write.
const FIELD_MANAGER: &str = "sealane";

/// Why a write was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write {name} to broker {url}: {cause}")]
pub struct PublishError {
    /// Object name.
    pub name: String,
    /// The broker.
    pub url: String,
    /// The broker's answer or what kept it from us.
    pub cause: String,
    /// Whether the same write may be taken later without anybody doing anything.
    pub retry: Retry,
}

/// Whether trying again helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The broker is away, busy or raced with another writer.
    Soon,
    /// The broker refused: the credential or the object must change first.
    OnChange,
}

/// What [`publish`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The broker had something else, or nothing; it was written.
    Other,
    /// The broker had it already; nothing was written.
    Same,
}

/// Brings the object's `spec` on the broker to `spec`; writes nothing when it is that already.
///
/// # Errors
/// [`PublishError`] when the broker could not be asked or refused.
pub async fn publish(
    broker: &Broker,
    kind: Kind,
    name: &str,
    spec: &Value,
) -> Result<Found, PublishError> {
    if read(broker, kind, name).await?.as_ref() == Some(spec) {
        return Ok(Found::Same);
    }
    apply(broker, kind, &json!({ "name": name }), spec).await?;
    Ok(Found::Other)
}

/// Brings a ClusterSet to the broker in place of one whose root links fork from its own, as an
/// administrator who made sure which side is right.
///
/// # Errors
/// [`PublishError`] when the broker could not be asked or refused.
pub async fn replace_fork(broker: &Broker, spec: &ClusterSetSpec) -> Result<(), PublishError> {
    let links = spec.links.len().to_string();
    let metadata = json!({ "name": CLUSTER_SET_NAME, "annotations": { ACCEPT_LINK: links } });
    // Strings and lists always serialise.
    let spec = serde_json::to_value(spec).unwrap_or_default();
    apply(broker, Kind::ClusterSet, &metadata, &spec).await
}

async fn apply(
    broker: &Broker,
    kind: Kind,
    metadata: &Value,
    spec: &Value,
) -> Result<(), PublishError> {
    let name = metadata["name"].as_str().unwrap_or_default();
    let object = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": kind.resource().kind,
        "metadata": metadata,
        "spec": spec,
    });
    let how = PatchParams::apply(FIELD_MANAGER).force();
    let request = endpoint(broker, kind).patch(name, &how, &Patch::Apply(&object));
    ask(broker, request).await.map(drop).map_err(|error| refused(broker, name, &error))
}

/// Reads one object's `spec`; `None` when the broker has no such object.
///
/// # Errors
/// [`PublishError`] when the broker could not be asked or refused.
pub async fn read(broker: &Broker, kind: Kind, name: &str) -> Result<Option<Value>, PublishError> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        spec: Value,
    }
    let request = endpoint(broker, kind).get(name, &GetParams::default());
    let object = match ask(broker, request).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        text => text.and_then(|text| {
            serde_json::from_str::<Object>(&text).map_err(kube::Error::SerdeError)
        }),
    };
    object.map(|object| Some(object.spec)).map_err(|error| refused(broker, name, &error))
}

fn endpoint(broker: &Broker, kind: Kind) -> Request {
    let Broker { client, namespace, .. } = broker;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource());
    Request::new(api.resource_url())
}

/// Answers are read as text: kube would log the whole of one that it cannot parse.
async fn ask(
    broker: &Broker,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> kube::Result<String> {
    broker.client.request_text(request.map_err(kube::Error::BuildRequest)?).await
}

fn refused(broker: &Broker, name: &str, error: &kube::Error) -> PublishError {
    let retry = match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 413 | 422) => {
            Retry::OnChange
        }
        kube::Error::BuildRequest(_) => Retry::OnChange,
        _ => Retry::Soon,
    };
    PublishError { name: name.to_owned(), url: broker.url.clone(), cause: root_cause(error), retry }
}
