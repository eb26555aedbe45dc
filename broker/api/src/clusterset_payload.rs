//! The list of members and the root links as carried: parsing, and the rules that make a list the
//! believed one. Signatures and positions are checked in `verify`.

use crate::certificate::{self, key_text};
use crate::cidr::{Cidr, CidrError};
use crate::clusterset::{
    BrokerAddress, ClusterSet, DEFAULT_GATEWAYS, DEFAULT_NAMESPACE, JoinKey, ListPosition,
    MAX_LIFE_SECONDS, MemberEntry, OnExpiry, PostQuantum,
};
use crate::keys::{self, VerifyKey};
use crate::names::{self, ClusterId, ClusterSetId};
use crate::probe_address;
use crate::reason::{Reason, Rejected};
use crate::strict_json::{self, Object};
use crate::time::UnixTime;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

const MAX_MEMBERS: usize = 5_000;
const MAX_BROKERS: usize = 8;
const MAX_SPKI: usize = 4;
const MAX_KEYS: usize = 2;
const MAX_CIDRS: usize = 64;
const MAX_NAMESPACES: usize = 64;
const MAX_GATEWAYS: u64 = 64;

/// A member's entry as carried, not yet judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemberPayload {
    /// Member name.
    pub id: String,
    /// Identity keys, base64url.
    pub keys: Vec<String>,
    /// Join key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinPayload>,
    /// Granted networks.
    pub cidrs: Vec<String>,
    /// Granted namespaces.
    pub namespaces: Vec<String>,
    /// Most live gateways.
    pub gateways: u64,
}

/// A join key as carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JoinPayload {
    /// Public join key, base64url.
    pub key: String,
    /// Last time at which a first enrolment counts.
    pub before: UnixTime,
}

/// The list as carried: well-formed, not yet judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSetPayload {
    /// Format version, 1.
    pub v: u64,
    /// The clusterset's id.
    pub clusterset: String,
    /// Number of root links it was signed for.
    pub link_index: u64,
    /// Version.
    pub version: u64,
    /// When it was signed.
    pub issued: UnixTime,
    /// When somebody must have signed it again.
    pub expires: UnixTime,
    /// What happens after that.
    pub on_expiry: OnExpiry,
    /// Whether lanes need post-quantum keys.
    pub pq: PostQuantum,
    /// Brokers to use.
    pub brokers: Vec<BrokerAddress>,
    /// Who is a member.
    pub members: Vec<MemberPayload>,
}

impl ClusterSetPayload {
    /// Parses verified bytes.
    ///
    /// # Errors
    /// `Malformed`, `UnsupportedVersion`, `UnknownCritical`, or `TooLarge` for too many of something.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejected> {
        let mut object = strict_json::payload(bytes)?;
        let on_expiry = match object.optional_text("onExpiry")?.as_deref() {
            None | Some("hold") => OnExpiry::Hold,
            Some("drop") => OnExpiry::Drop,
            Some(_) => return Err(Reason::Malformed.about("onExpiry is neither hold nor drop")),
        };
        let pq = match object.optional_text("pq")?.as_deref() {
            None | Some("off") => PostQuantum::Off,
            Some("prefer") => PostQuantum::Prefer,
            Some("require") => PostQuantum::Require,
            Some(_) => return Err(Reason::Malformed.about("pq is not off, prefer or require")),
        };
        let brokers = at_most(MAX_BROKERS, "brokers", object.objects("brokers")?)?;
        let members = at_most(MAX_MEMBERS, "members", object.objects("members")?)?;
        let payload = Self {
            v: 1,
            clusterset: object.text("clusterset")?,
            link_index: object.integer("linkIndex")?,
            version: object.integer("version")?,
            issued: UnixTime(object.integer("issued")?),
            expires: UnixTime(object.integer("expires")?),
            on_expiry,
            pq,
            brokers: brokers.into_iter().map(broker).collect::<Result<_, _>>()?,
            members: members.into_iter().map(member).collect::<Result<_, _>>()?,
        };
        object.close()?;
        if payload.version == 0 {
            return Err(Reason::Malformed.about("version is 0, the first is 1"));
        }
        Ok(payload)
    }

    /// Returns the payload that says what `list` says.
    #[must_use]
    pub fn of(list: &ClusterSet) -> Self {
        Self {
            v: 1,
            clusterset: list.id.to_string(),
            link_index: list.position.link_index,
            version: list.position.version,
            issued: list.issued,
            expires: list.expires,
            on_expiry: list.on_expiry,
            pq: list.post_quantum,
            brokers: list.brokers.clone(),
            members: list.members.iter().map(|(id, entry)| MemberPayload::of(id, entry)).collect(),
        }
    }

    /// Judges every entry (PROTOCOL.md 4.1, step 7); `authorities` are the root and recovery keys.
    ///
    /// # Errors
    /// The reason of the first rule that fails, naming the member.
    pub fn judge(&self, authorities: &BTreeSet<VerifyKey>) -> Result<ClusterSet, Rejected> {
        let id = ClusterSetId::parse(&self.clusterset).map_err(|_| Reason::WrongClusterSet)?;
        let probes = probe_address::network(&id);
        let mut members = BTreeMap::new();
        let mut seen = authorities.clone();
        for payload in &self.members {
            let name = ClusterId::parse(&payload.id)
                .map_err(|cause| Reason::BadName.about(cause.to_string()))?;
            let entry = payload.judge(&name, &probes)?;
            for key in entry.keys.iter().chain(entry.join.as_ref().map(|join| &join.key)) {
                if !seen.insert(*key) {
                    return Err(Reason::DuplicateKey.about(format!("in the entry of {name}")));
                }
            }
            if members.insert(name, entry).is_some() {
                return Err(Reason::DuplicateMember.about(payload.id.clone()));
            }
        }
        certificate::check_life(self.issued, self.expires, MAX_LIFE_SECONDS)?;
        let list = ClusterSet {
            id,
            position: ListPosition { link_index: self.link_index, version: self.version },
            issued: self.issued,
            expires: self.expires,
            on_expiry: self.on_expiry,
            post_quantum: self.pq,
            brokers: self.brokers.clone(),
            members,
        };
        if let Some((one, other)) = list.grants().first_overlap() {
            let name = |at: usize| list.members.keys().nth(at).map_or("", ClusterId::as_str);
            let (a, b) = (name(one.1), name(other.1));
            return Err(
                Reason::ClusterSetOverlap.about(format!("{} of {a} and {} of {b}", one.0, other.0))
            );
        }
        Ok(list)
    }
}

impl MemberPayload {
    fn of(id: &ClusterId, entry: &MemberEntry) -> Self {
        let join = entry.join.as_ref();
        Self {
            id: id.to_string(),
            keys: entry.keys.iter().map(ToString::to_string).collect(),
            join: join.map(|join| JoinPayload { key: join.key.to_string(), before: join.before }),
            cidrs: entry.cidrs.iter().map(ToString::to_string).collect(),
            namespaces: entry.namespaces.clone(),
            gateways: entry.gateways,
        }
    }

    fn judge(&self, name: &ClusterId, probes: &Cidr) -> Result<MemberEntry, Rejected> {
        let sound = |text: &String| {
            VerifyKey::parse(text).map_err(|_| Reason::WeakKey.about(format!("of member {name}")))
        };
        let every_namespace = self.namespaces.iter().map(String::as_str).eq(["*"]);
        if !every_namespace && !self.namespaces.iter().all(|space| names::is_label(space)) {
            return Err(Reason::BadName.about(format!("a namespace of {name}")));
        }
        let join = match &self.join {
            Some(join) => Some(JoinKey { key: sound(&join.key)?, before: join.before }),
            None => None,
        };
        let entry = MemberEntry {
            keys: self.keys.iter().map(sound).collect::<Result<_, _>>()?,
            join,
            cidrs: grantable(&self.cidrs, probes)?,
            namespaces: self.namespaces.clone(),
            gateways: self.gateways,
        };
        if entry.keys.is_empty() && entry.join.is_none() {
            return Err(Reason::EntryWithoutKey.about(name.to_string()));
        }
        Ok(entry)
    }
}

/// Parses networks and checks that each may be granted.
///
/// # Errors
/// `CidrNotCanonical` or `CidrForbidden`, naming the network.
pub fn grantable(texts: &[String], probes: &Cidr) -> Result<Vec<Cidr>, Rejected> {
    texts
        .iter()
        .map(|text| Cidr::parse(text).and_then(|cidr| cidr.grantable(probes)))
        .map(|judged| {
            judged.map_err(|cause| match cause {
                CidrError::NotCanonical { .. } => Reason::CidrNotCanonical.about(cause.to_string()),
                CidrError::Forbidden(cidr) => Reason::CidrForbidden.about(cidr.to_string()),
            })
        })
        .collect()
}

fn at_most<T>(most: usize, what: &str, list: Vec<T>) -> Result<Vec<T>, Rejected> {
    if list.len() > most {
        return Err(Reason::TooLarge.about(format!("more than {most} {what}")));
    }
    Ok(list)
}

fn broker(mut object: Object) -> Result<BrokerAddress, Rejected> {
    let address = BrokerAddress {
        url: object.text("url")?,
        namespace: object
            .optional_text("namespace")?
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        spki: at_most(MAX_SPKI, "broker keys", object.texts("spki")?)?,
    };
    object.close()?;
    if !names::is_label(&address.namespace) {
        return Err(Reason::BadName.about("a broker's namespace"));
    }
    Ok(address)
}

fn member(mut object: Object) -> Result<MemberPayload, Rejected> {
    let namespaces =
        if object.has("namespaces") { object.texts("namespaces")? } else { vec!["*".to_owned()] };
    let payload = MemberPayload {
        id: object.text("id")?,
        keys: at_most(MAX_KEYS, "identity keys", object.texts("keys")?)?,
        join: object.optional_object("join")?.map(join).transpose()?,
        cidrs: at_most(MAX_CIDRS, "networks in an entry", object.texts("cidrs")?)?,
        namespaces: at_most(MAX_NAMESPACES, "namespaces in an entry", namespaces)?,
        gateways: object.optional_integer("gateways")?.unwrap_or(DEFAULT_GATEWAYS),
    };
    object.close()?;
    if payload.gateways > MAX_GATEWAYS {
        return Err(Reason::TooLarge.about("more than 64 gateways granted"));
    }
    let encoded = |text: &String| keys::key_bytes(text).is_ok();
    let join_encoded = payload.join.as_ref().is_none_or(|join| encoded(&join.key));
    if !payload.keys.iter().all(encoded) || !join_encoded {
        return Err(Reason::Malformed.about("a key is not 43 characters of base64url"));
    }
    Ok(payload)
}

fn join(mut object: Object) -> Result<JoinPayload, Rejected> {
    let payload =
        JoinPayload { key: object.text("key")?, before: UnixTime(object.integer("before")?) };
    object.close()?;
    Ok(payload)
}

/// What a recovery key signs: the next root and recovery keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RootLinkPayload {
    /// Format version, 1.
    pub v: u64,
    /// The clusterset's id.
    pub clusterset: String,
    /// 1 for the first link.
    pub index: u64,
    /// The next root key.
    #[serde(serialize_with = "key_text")]
    pub root: [u8; 32],
    /// The next recovery key.
    #[serde(serialize_with = "key_text")]
    pub recovery: [u8; 32],
}

impl RootLinkPayload {
    /// Parses verified bytes.
    ///
    /// # Errors
    /// `Malformed`, `UnsupportedVersion` or `UnknownCritical`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejected> {
        let mut object = strict_json::payload(bytes)?;
        let payload = Self {
            v: 1,
            clusterset: object.text("clusterset")?,
            index: object.integer("index")?,
            root: object.key("root")?,
            recovery: object.key("recovery")?,
        };
        object.close()?;
        Ok(payload)
    }
}
