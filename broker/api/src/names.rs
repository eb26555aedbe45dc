//! The names that payloads and objects carry, parsed once at the edge. It knows no keys but the two
//! that a clusterset id is the hash of.

use crate::keys::VerifyKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// Name of the one ClusterSet object in its namespace.
pub const CLUSTERSET_OBJECT: &str = "sealane";
const MAX_LABEL: usize = 63;
const MAX_GATEWAY: usize = 150;

/// A text is not a name of the kind asked for. Retrying does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?}: {rule}")]
pub struct NameError {
    what: &'static str,
    text: String,
    rule: &'static str,
}

impl NameError {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self { what, text: text.chars().take(MAX_LABEL + 1).collect(), rule }
    }
}

/// A member of the clusterset: an RFC 1123 label of 1 to 63 lower-case ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

impl ClusterId {
    /// Parses a member name.
    ///
    /// # Errors
    /// [`NameError`] when `text` is not an RFC 1123 label.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_label(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError::new(
            "member name",
            text,
            "must be 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends",
        ))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A gateway of a member, usually its node's name: an RFC 1123 subdomain of at most 150 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GatewayName(String);

impl GatewayName {
    /// Parses a gateway name.
    ///
    /// # Errors
    /// [`NameError`] when `text` is not an RFC 1123 subdomain of at most 150 characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() <= MAX_GATEWAY && text.split('.').all(is_label) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError::new(
            "gateway name",
            text,
            "must be at most 150 characters of dot-separated RFC 1123 labels",
        ))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One gateway of one member; also the name of its Advertisement object, `<member>.<gateway>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GatewayId {
    /// The member the gateway belongs to.
    pub member: ClusterId,
    /// The gateway's name within that member.
    pub gateway: GatewayName,
}

impl GatewayId {
    /// Parses `<member>.<gateway>`; a member name has no dot, so the first one separates.
    ///
    /// # Errors
    /// [`NameError`] when there is no dot or either part is not a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (member, gateway) = text.split_once('.').ok_or_else(|| {
            NameError::new("gateway id", text, "must be a member, a dot and a gateway")
        })?;
        Ok(Self { member: ClusterId::parse(member)?, gateway: GatewayName::parse(gateway)? })
    }
}

/// A Kubernetes namespace or Service: an RFC 1123 label of 1 to 63 lower-case ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

impl Label {
    /// Parses a label.
    ///
    /// # Errors
    /// [`NameError`] when `text` is not an RFC 1123 label.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_label(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError::new("label", text, "must be 1 to 63 of a-z, 0-9 and '-'"))
    }

    /// Returns the label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One service that a member exports; also the name of its ServiceAdvertisement object,
/// `<member>.<namespace>.<name>`. Order: by member, then namespace, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceId {
    /// The member that exports it.
    pub member: ClusterId,
    /// Its namespace.
    pub namespace: Label,
    /// Its name.
    pub name: Label,
}

impl ServiceId {
    /// Parses `<member>.<namespace>.<name>`; none of the three has a dot.
    ///
    /// # Errors
    /// [`NameError`] when there are not three parts or one of them is not a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut parts = text.splitn(3, '.');
        let (Some(member), Some(namespace), Some(name)) =
            (parts.next(), parts.next(), parts.next())
        else {
            let rule = "must be a member, a namespace and a service, with dots between";
            return Err(NameError::new("service id", text, rule));
        };
        let member = ClusterId::parse(member)?;
        Ok(Self { member, namespace: Label::parse(namespace)?, name: Label::parse(name)? })
    }

    /// Returns what all services of `member` come after; it is the name of none.
    pub(crate) fn before_all_of(member: &ClusterId) -> Self {
        let none = Label(String::new());
        Self { member: member.clone(), namespace: none.clone(), name: none }
    }
}

/// The name that a clusterset proves by itself: base32 (lower case, no padding) of the first 20
/// bytes of SHA-256 over its first root and recovery keys. Shape: 32 ASCII characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterSetId(String);

impl ClusterSetId {
    const GENESIS: &[u8] = b"sealane:v1:genesis\0";
    const HASH_BYTES: usize = 20;

    /// Computes the id of the clusterset that began with these two keys (PROTOCOL.md 3.2).
    #[must_use]
    pub fn of_genesis(root: &VerifyKey, recovery: &VerifyKey) -> Self {
        let hash = Sha256::new()
            .chain_update(Self::GENESIS)
            .chain_update(root.as_bytes())
            .chain_update(recovery.as_bytes())
            .finalize();
        let text = data_encoding::BASE32_NOPAD.encode(&hash[..Self::HASH_BYTES]);
        Self(text.to_ascii_lowercase())
    }

    /// Parses an id.
    ///
    /// # Errors
    /// [`NameError`] when `text` is not 32 characters of lower-case base32.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let upper = text.to_ascii_uppercase();
        let decoded = data_encoding::BASE32_NOPAD.decode(upper.as_bytes());
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match decoded {
            Ok(bytes) if bytes.len() == Self::HASH_BYTES && is_lower => Ok(Self(text.to_owned())),
            _ => Err(NameError::new("clusterset id", text, "must be 32 of a-z and 2-7")),
        }
    }

    /// Returns the 32 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClusterSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says whether `text` is an RFC 1123 label: 1 to 63 of `a-z`, `0-9`, `-`, none at the ends a dash.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    bytes.len() <= MAX_LABEL
        && bytes.iter().all(inner)
        && bytes.first().is_some_and(|byte| *byte != b'-')
        && bytes.last().is_some_and(|byte| *byte != b'-')
}

/// Text forms that every name shares.
macro_rules! name_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    )*};
}
name_text!(ClusterId, GatewayName, GatewayId, Label, ServiceId, ClusterSetId);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.member, self.gateway))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.member, self.namespace, self.name))
    }
}

impl fmt::Display for ClusterSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
