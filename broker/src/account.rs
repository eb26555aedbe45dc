//! Owns members' accounts on a broker: a ServiceAccount per member and its bearer token, the same
//! calls on a real API server and on `sealane-broker`. Needs an administrator's client.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::access::Broker;
use crate::mirror::root_cause;

/// Why a member has no account.
#[derive(Debug, thiserror::Error)]
#[error("account {account} on broker {url}: {cause}")]
pub struct AccountError {
    /// ServiceAccount name.
    pub account: String,
    /// The broker.
    pub url: String,
    /// The broker's answer or what kept it from us.
    pub cause: String,
}

/// A bearer token, and how long it is good for.
pub struct Credential {
    /// The token: a secret.
    pub token: Zeroizing<String>,
    /// When the broker stops to take it, Unix seconds; `None` when it did not say.
    pub expires: Option<u64>,
}

/// Returns the ServiceAccount name of a member.
pub fn account_of(member: &str) -> String {
    format!("member-{member}")
}

/// Makes the member's account if it is missing and returns a new bearer token for it.
///
/// `lifetime_seconds` is a wish; the broker may shorten it.
///
/// # Errors
/// [`AccountError`] when the broker could not be asked or refused.
pub async fn issue(
    broker: &Broker,
    member: &str,
    lifetime_seconds: i64,
) -> Result<Credential, AccountError> {
    let account = account_of(member);
    let refuse =
        |cause: String| AccountError { account: account.clone(), url: broker.url.clone(), cause };
    let api: Api<ServiceAccount> = Api::namespaced(broker.client.clone(), &broker.namespace);
    let ask = async |path: &str, body: Value| {
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        // As text: kube would log the whole of an answer that it cannot parse, token and all.
        broker.client.request_text(request).await.map(Zeroizing::new)
    };
    let wanted = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": account },
    });
    match ask(api.resource_url(), wanted).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => drop(other.map_err(|error| refuse(advice(&error)))?),
    }
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": { "expirationSeconds": lifetime_seconds },
    });
    let text = ask(&format!("{}/{account}/token", api.resource_url()), request)
        .await
        .map_err(|error| refuse(advice(&error)))?;
    let answer: Answer =
        serde_json::from_str(&text).map_err(|_| refuse("the broker sent no token".to_owned()))?;
    let Issued { token, expires } = answer.status;
    let expires = expires.and_then(|Time(at)| u64::try_from(at.as_second()).ok());
    Ok(Credential { token: Zeroizing::new(token), expires })
}

#[derive(Deserialize)]
struct Answer {
    status: Issued,
}

#[derive(Deserialize)]
struct Issued {
    token: String,
    #[serde(default, rename = "expirationTimestamp")]
    expires: Option<Time>,
}

fn advice(error: &kube::Error) -> String {
    let cause = root_cause(error);
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            format!("{cause}; use the kubeconfig of an administrator")
        }
        _ => cause,
    }
}
