//! What a member exports under one service name, as carried and as believed. It is judged in `verify`;
//! importing it is nobody's business here.

use crate::advertisement::State;
use crate::certificate::key_text;
use crate::cidr::Cidr;
use crate::keys::VerifyKey;
use crate::kinds::ServiceAdvertisementView;
use crate::names::ServiceId;
use crate::reason::{Reason, Rejected, Warning};
use crate::strict_json::{self, Object};
use crate::time::{DAY_SECONDS, HOLD_SECONDS, UnixTime};
use crate::verify::identity::Identity;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Longest life of a ServiceAdvertisement. Unit: seconds.
pub const MAX_LIFE_SECONDS: u64 = 31 * DAY_SECONDS;
/// Usual life of a ServiceAdvertisement. Unit: seconds.
pub const LIFE_SECONDS: u64 = 30 * DAY_SECONDS;
/// Live services of one member that are believed; as many again may be remembered as withdrawn.
pub const MAX_SERVICES: usize = 1_000;
/// Longest time for which a client stays with one endpoint. Unit: seconds.
pub const MAX_AFFINITY_SECONDS: u64 = DAY_SECONDS;
const MAX_PORTS: usize = 64;
const MAX_ADDRESSES: usize = 64;
const MAX_ENDPOINTS: usize = 256;
const MAX_APP_PROTOCOL: usize = 253;

/// How the service is reached; the names are those of the Multi-Cluster Services API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ServiceType {
    /// At addresses of its own, behind which the member chooses an endpoint.
    #[serde(rename = "ClusterSetIP")]
    ClusterSetIp,
    /// At the addresses of its endpoints.
    Headless,
}

impl ServiceType {
    /// Returns the text that payloads and views carry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterSetIp => "ClusterSetIP",
            Self::Headless => "Headless",
        }
    }
}

/// Transport of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Returns the text that payloads and views carry.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// One port of a service, as carried. Its number is not yet judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Its name; empty only where it is the one port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its transport.
    pub protocol: Protocol,
    /// Its number, 1 to 65535.
    pub port: u64,
    /// What is spoken there, for those who look inside; nothing goes by it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// One endpoint of a headless service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Endpoint {
    /// Its address.
    pub addr: IpAddr,
    /// Its own name below the service's, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// What is exported under the name: everything of a service but names, times and signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// How it is reached.
    #[serde(rename = "type")]
    pub service_type: ServiceType,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Its own addresses; none when it is headless.
    pub addresses: Vec<IpAddr>,
    /// Its endpoints; none unless it is headless.
    pub endpoints: Vec<Endpoint>,
    /// For how long a client stays with the endpoint that it was given, by its address; absent when
    /// each connection is chosen for anew. Unit: seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<u64>,
}

impl Exported {
    /// Returns what a withdrawal carries: the type, and nothing that could be reached.
    #[must_use]
    pub fn nothing(service_type: ServiceType) -> Self {
        let (ports, addresses, endpoints) = Default::default();
        Self { service_type, ports, addresses, endpoints, affinity: None }
    }

    /// Returns every address, of the service and of its endpoints.
    pub fn reached_at(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().copied().chain(self.endpoints.iter().map(|endpoint| endpoint.addr))
    }

    /// Returns the same without addresses outside `grant`.
    #[must_use]
    fn within(&self, grant: &[Cidr]) -> Self {
        let is_granted = |address: IpAddr| grant.iter().any(|it| it.contains_address(address));
        let mut cut = self.clone();
        cut.addresses.retain(|address| is_granted(*address));
        cut.endpoints.retain(|endpoint| is_granted(endpoint.addr));
        cut
    }
}

/// What a services key signs, as carried: well-formed, not yet judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServicePayload {
    /// Format version, 1.
    pub v: u64,
    /// The clusterset's id.
    pub clusterset: String,
    /// The member.
    pub member: String,
    /// The service's namespace.
    pub namespace: String,
    /// The service's name.
    pub name: String,
    /// SHA-256 of the certificate's payload, base64url.
    #[serde(serialize_with = "key_text")]
    pub cert: [u8; 32],
    /// Rises with every change under one certificate.
    pub sequence: u64,
    /// When it was signed.
    pub issued: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
    /// What the member means to do.
    pub state: State,
    /// What is exported.
    #[serde(flatten)]
    pub exported: Exported,
}

impl ServicePayload {
    /// Parses verified bytes.
    ///
    /// # Errors
    /// `Malformed`, `UnsupportedVersion`, `UnknownCritical`, or `TooMany` for a list over its limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejected> {
        let mut object = strict_json::payload(bytes)?;
        let payload = Self {
            v: 1,
            clusterset: object.text("clusterset")?,
            member: object.text("member")?,
            namespace: object.text("namespace")?,
            name: object.text("name")?,
            cert: object.key("cert")?,
            sequence: object.integer("sequence")?,
            issued: UnixTime(object.integer("issued")?),
            expires: UnixTime(object.integer("expires")?),
            state: State::parse(&object.text("state")?)?,
            exported: exported(&mut object)?,
        };
        object.close()?;
        Ok(payload)
    }
}

fn exported(object: &mut Object) -> Result<Exported, Rejected> {
    let service_type = match object.text("type")?.as_str() {
        "ClusterSetIP" => ServiceType::ClusterSetIp,
        "Headless" => ServiceType::Headless,
        _ => return Err(Reason::Malformed.about("type is neither ClusterSetIP nor Headless")),
    };
    let ports = at_most(MAX_PORTS, "ports", object.objects("ports")?)?;
    let addresses = at_most(MAX_ADDRESSES, "addresses", object.texts("addresses")?)?;
    let endpoints = at_most(MAX_ENDPOINTS, "endpoints", object.objects("endpoints")?)?;
    Ok(Exported {
        service_type,
        ports: ports.into_iter().map(port).collect::<Result<_, _>>()?,
        addresses: addresses.iter().map(|text| address(text)).collect::<Result<_, _>>()?,
        endpoints: endpoints.into_iter().map(endpoint).collect::<Result<_, _>>()?,
        affinity: object.optional_integer("affinity")?,
    })
}

fn at_most<T>(most: usize, what: &str, list: Vec<T>) -> Result<Vec<T>, Rejected> {
    if list.len() > most {
        return Err(Reason::TooMany.about(format!("more than {most} {what}")));
    }
    Ok(list)
}

fn address(text: &str) -> Result<IpAddr, Rejected> {
    text.parse().map_err(|_| Reason::Malformed.about("an address is not plain IPv4 or IPv6"))
}

fn port(mut object: Object) -> Result<ServicePort, Rejected> {
    let protocol = match object.text("protocol")?.as_str() {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => return Err(Reason::Malformed.about("a port's protocol is unknown")),
    };
    let port = ServicePort {
        name: object.optional_text("name")?.unwrap_or_default(),
        protocol,
        port: object.integer("port")?,
        app_protocol: object.optional_text("appProtocol")?,
    };
    object.close()?;
    let is_odd = |text: &String| {
        text.is_empty() || text.len() > MAX_APP_PROTOCOL || text.chars().any(char::is_control)
    };
    if port.app_protocol.as_ref().is_some_and(is_odd) {
        return Err(Reason::Malformed.about("appProtocol is not a name of at most 253 bytes"));
    }
    Ok(port)
}

fn endpoint(mut object: Object) -> Result<Endpoint, Rejected> {
    let endpoint = Endpoint {
        addr: address(&object.text("addr")?)?,
        hostname: object.optional_text("hostname")?,
    };
    object.close()?;
    Ok(endpoint)
}

/// A service that passed every step, before it is cut to the grant.
#[derive(Clone, Debug)]
pub struct Believed {
    /// Whose word it is.
    pub identity: Identity,
    /// Generation of its certificate.
    pub generation: u64,
    /// Its sequence.
    pub sequence: u64,
    /// What the member means to do.
    pub state: State,
    /// What is exported.
    pub exported: Exported,
    /// When it or its certificate ends, whichever is first.
    pub expires: UnixTime,
    /// What its readable view should say.
    pub view: ServiceAdvertisementView,
}

/// A remote service as believed by this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteService {
    /// Member, namespace and name.
    pub id: ServiceId,
    /// The member's identity key.
    pub identity: VerifyKey,
    /// Generation of its certificate.
    pub generation: u64,
    /// Sequence of its advertisement.
    pub sequence: u64,
    /// `Active` or `Draining`; withdrawn services are not listed.
    pub state: State,
    /// What is exported, inside its member's grant.
    pub exported: Exported,
    /// When the advertisement or its certificate ends, whichever is first.
    pub expires: UnixTime,
    /// When it is dropped if nobody renews it.
    pub held_until: UnixTime,
    /// What is odd about it.
    pub warnings: Vec<Warning>,
}

impl Believed {
    /// Returns the service inside `grant`. `view` is what the object showed people.
    #[must_use]
    pub fn seen(
        &self,
        id: &ServiceId,
        grant: &[Cidr],
        view: Option<&ServiceAdvertisementView>,
    ) -> RemoteService {
        let lies = view.is_some_and(|view| *view != self.view);
        RemoteService {
            id: id.clone(),
            identity: self.identity.key,
            generation: self.generation,
            sequence: self.sequence,
            state: self.state,
            exported: self.exported.within(grant),
            expires: self.expires,
            held_until: self.expires.plus_seconds(HOLD_SECONDS),
            warnings: lies.then_some(Warning::ViewMismatch).into_iter().collect(),
        }
    }
}
