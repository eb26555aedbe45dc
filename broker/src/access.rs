//! Owns the way to a broker: addresses, trust in its certificate and the credential. Does not own
//! what is read or written there.

use std::path::Path;
use std::time::Duration;

use http::{Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use sealane_api::clusterset::DEFAULT_NAMESPACE;
use tower::BoxError;
use zeroize::Zeroizing;

use crate::answer;
use crate::pin::{self, SpkiPin};

/// How long to wait for a TCP connection before the broker counts as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A silent connection is asked this often whether the other end still knows it, so that a broker
/// that died without a word and came back is noticed within seconds.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Unanswered questions until the connection counts as dead.
const KEEPALIVE_RETRIES: u32 = 3;

/// A bearer token; wiped when dropped, never printed.
pub struct Credential(Zeroizing<String>);

impl Credential {
    /// Takes a bearer token as text.
    pub fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }
}

/// One address of a broker and the keys that its certificate chain must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    url: Uri,
    namespace: String,
    pins: Vec<SpkiPin>,
}

/// Why a broker cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The address is not `https://HOST[:PORT]`, or the namespace is not one.
    #[error("broker address {url:?}: {cause}; expected https://HOST[:PORT]")]
    BadUrl {
        /// The address as given.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {path}: {cause}")]
    Kubeconfig {
        /// Where it was looked for.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// TLS could not be set up.
    #[error("TLS towards {url}: {cause}")]
    Tls {
        /// The broker.
        url: String,
        /// What is wrong.
        cause: String,
    },
}

/// A connected-on-demand client and the namespace it works in.
#[derive(Clone)]
pub struct Broker {
    /// The kube client; it connects when used.
    pub client: Client,
    /// The clusterset's namespace.
    pub namespace: String,
    /// The address, for people.
    pub url: String,
}

impl BrokerAddress {
    /// Reads an address as tokens and ClusterSets carry it.
    ///
    /// # Errors
    /// [`AccessError::BadUrl`] when the scheme is not https, the host is missing, there is a path,
    /// or the namespace is not an RFC 1123 label.
    pub fn parse(url: &str, namespace: &str, pins: Vec<SpkiPin>) -> Result<Self, AccessError> {
        let bad =
            |cause: &str| AccessError::BadUrl { url: url.to_owned(), cause: cause.to_owned() };
        let uri: Uri = url.parse().map_err(|error| bad(&format!("{error}")))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("the scheme is not https"));
        }
        let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it has a path"));
        }
        if !is_label(namespace) {
            return Err(bad(&format!("namespace {namespace:?} is not an RFC 1123 label")));
        }
        let base = format!("https://{authority}/");
        let url = base.parse().map_err(|error| bad(&format!("{error}")))?;
        Ok(Self { url, namespace: namespace.to_owned(), pins })
    }

    /// Makes a client that trusts only certificates with one of the pinned keys; without pins, the
    /// system's certificate authorities.
    ///
    /// # Errors
    /// [`AccessError::Tls`] when TLS cannot be set up on this host.
    pub fn client(&self, credential: &Credential) -> Result<Broker, AccessError> {
        let tls_error = |cause: String| AccessError::Tls { url: self.url.to_string(), cause };
        let mut config = Config::new(self.url.clone());
        config.default_namespace.clone_from(&self.namespace);
        config.auth_info.token = Some(credential.0.as_str().to_owned().into());
        let https = self.connector(&config).map_err(|error| tls_error(error.to_string()))?;
        let client =
            bounded_client(&config, https).map_err(|error| tls_error(error.to_string()))?;
        Ok(Broker { client, namespace: self.namespace.clone(), url: shown(&self.url) })
    }

    fn connector(&self, config: &Config) -> Result<HttpsConnector<HttpConnector>, BoxError> {
        if self.pins.is_empty() {
            return Ok(config.rustls_https_connector_with_connector(tcp())?);
        }
        Ok(hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(pin::client_config(self.pins.clone())?)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp()))
    }
}

/// Makes a client from a kubeconfig file, as an administrator has it. The namespace is that of the
/// context, or [`DEFAULT_NAMESPACE`].
///
/// # Errors
/// [`AccessError::Kubeconfig`] when the file or the context cannot be used, or a proxy is set.
pub async fn from_kubeconfig(path: &Path, context: Option<&str>) -> Result<Broker, AccessError> {
    let place = path.display().to_string();
    let bad = |cause: String| AccessError::Kubeconfig { path: place.clone(), cause };
    let file = Kubeconfig::read_from(path).map_err(|error| bad(error.to_string()))?;
    let name = context.or(file.current_context.as_deref()).unwrap_or_default();
    let named = file.contexts.iter().find(|one| one.name == name);
    let namespace = named
        .and_then(|one| one.context.as_ref()?.namespace.clone())
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let options =
        KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(|error| bad(error.to_string()))?;
    if let Some(proxy) = &config.proxy_url {
        return Err(bad(format!("proxy {proxy} is set, and proxies are not supported")));
    }
    config.default_namespace.clone_from(&namespace);
    let url = shown(&config.cluster_url);
    let https = config
        .rustls_https_connector_with_connector(tcp())
        .map_err(|error| bad(error.to_string()))?;
    let client = bounded_client(&config, https).map_err(|error| bad(error.to_string()))?;
    Ok(Broker { client, namespace, url })
}

/// The layers that kube itself would use, less its retries (callers know better when to try again,
/// and a broker could stretch them without end), plus bounds on answers.
fn bounded_client(
    config: &Config,
    https: HttpsConnector<HttpConnector>,
) -> Result<Client, BoxError> {
    let http: answer::Http =
        hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(https);
    let service = tower::ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .service(tower::service_fn(move |request: Request<Body>| {
            answer::bounded(http.clone(), request)
        }));
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    tcp
}

fn shown(url: &Uri) -> String {
    url.to_string().trim_end_matches('/').to_owned()
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_namespace() {
        let address = BrokerAddress::parse("https://[fd00::1]:6464", "team-a", vec![]).unwrap();
        assert_eq!(address.namespace, "team-a");
        assert_eq!(address.url.to_string(), "https://[fd00::1]:6464/");
    }

    #[test]
    fn addresses_that_could_send_the_credential_elsewhere_are_refused() {
        for url in ["http://broker:1", "https://", "broker:6464", "https://b/x", "https://b/?x"] {
            let parsed = BrokerAddress::parse(url, DEFAULT_NAMESPACE, vec![]);
            assert!(parsed.is_err(), "{url} was accepted");
        }
        assert!(BrokerAddress::parse("https://b", "../other", vec![]).is_err());
    }
}
