//! Owns writing our own objects to a broker. Signs nothing and decides nothing: it writes the
//! `spec` that it is given unless the broker has it already.

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::access::Broker;
use crate::board::{GROUP, Kind, VERSION};
use crate::mirror::root_cause;

/// The field manager under which we write.
const FIELD_MANAGER: &str = "sealane";

/// Why a write was not taken.
#[derive(Debug, thiserror::Error)]
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

/// Brings the object's `spec` on the broker to `spec`; writes nothing when it is that already.
///
/// # Errors
/// [`PublishError`] when the broker could not be asked or refused.
pub async fn publish(
    broker: &Broker,
    kind: Kind,
    name: &str,
    spec: &Value,
) -> Result<(), PublishError> {
    let api = api_of(broker, kind);
    let held = api.get_opt(name).await.map_err(|error| refused(broker, name, &error))?;
    if held.is_some_and(|object| object.data.get("spec") == Some(spec)) {
        return Ok(());
    }
    let object = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": kind.resource().kind,
        "metadata": { "name": name },
        "spec": spec,
    });
    let how = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &how, &Patch::Apply(&object))
        .await
        .map_err(|error| refused(broker, name, &error))?;
    Ok(())
}

/// Reads one object's `spec`; `None` when the broker has no such object.
///
/// # Errors
/// [`PublishError`] when the broker could not be asked or refused.
pub async fn read(broker: &Broker, kind: Kind, name: &str) -> Result<Option<Value>, PublishError> {
    let found =
        api_of(broker, kind).get_opt(name).await.map_err(|error| refused(broker, name, &error))?;
    Ok(found.map(|object| crate::board::Sighting::from(object).spec))
}

fn api_of(broker: &Broker, kind: Kind) -> Api<DynamicObject> {
    Api::namespaced_with(broker.client.clone(), &broker.namespace, &kind.resource())
}

fn refused(broker: &Broker, name: &str, error: &kube::Error) -> PublishError {
    let retry = match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 413 | 422) => {
            Retry::OnChange
        }
        _ => Retry::Soon,
    };
    PublishError { name: name.to_owned(), url: broker.url.clone(), cause: root_cause(error), retry }
}
