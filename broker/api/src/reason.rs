//! Every reason why an object is refused or remarked upon, in one place. It decides nothing.

use crate::cidr::Cidr;
use crate::names::GatewayId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;

/// When the same bytes are worth offering again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The bytes themselves are at fault; only other bytes can be accepted.
    Never,
    /// What they were judged against may change: offer them again after the next accepted object.
    AfterChange,
    /// Nothing is wrong but the moment: offer them again after a second.
    Soon,
}

macro_rules! reasons {
    ($($name:ident $retry:ident $why:literal $next:literal)*) => {
        /// A typed reason of PROTOCOL.md 4. `Display` is one line: what is wrong, then what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $(#[doc = $why] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the checks.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the stable name for status, metrics and events.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Returns what is wrong.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => $why,)* }
            }

            /// Returns what a person can do about it.
            #[must_use]
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$name => $next,)* }
            }

            /// Says when the same bytes are worth offering again.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }
        }
    };
}

reasons! {
    TooLarge Never "the object is over its size limit" "look for a faulty or hostile writer"
    BadEncoding Never "base64 or a length is not exact" "publish the object again with sealane"
    NameMismatch Never "the object's name is not the one its spec gives" "look who wrote the object"
    BadName Never "a name is not a valid member or gateway name" "rename to lower-case letters, digits and dashes"
    RateLimited Soon "too many new signatures or words in this second" "wait; look who floods if it lasts"
    Malformed Never "the payload is not the strict JSON of its kind" "look for a faulty or hostile writer"
    UnsupportedVersion Never "the payload is of a version this program does not know" "upgrade sealane here"
    UnknownCritical Never "the payload needs an extension this program does not know" "upgrade sealane here"
    WrongClusterSet Never "the object belongs to another clusterset" "compare the broker's namespace with the token's clusterset"
    EnvelopeMismatch Never "what was signed names another member or gateway" "look who wrote the object"
    LifetimeTooLong Never "the object lives longer than its kind may" "sign it again with a shorter life"
    WeakKey Never "a public key is of small order or not canonical" "make a new key"
    LinkGap Never "a root link is missing" "apply the complete ClusterSet"
    LinkBadSignature Never "a root link is not signed by the recovery key before it" "do not trust this ClusterSet; ask the administrator"
    LinkFork Never "another root link with this number was accepted before" "ask the administrator which link is theirs"
    LinkMismatch Never "the list was signed for another number of root links" "apply the ClusterSet that belongs to its links"
    ClusterSetBadSignature Never "the list is not signed by the current root key" "do not trust this ClusterSet; ask the administrator"
    ClusterSetRolledBack Never "a newer list was accepted before, or the token asks for a newer one" "apply the newest ClusterSet to the broker"
    ClusterSetFork Never "two lists carry this version" "merge them and sign the next version"
    DuplicateMember Never "a member stands twice in the list" "remove one entry and sign again"
    DuplicateKey Never "a key stands twice in the list" "give each member a key of its own"
    EntryWithoutKey Never "an entry has neither an identity key nor a join key" "create a token for the member"
    CidrNotCanonical Never "a network is not written in its one canonical form" "clear the host bits and write it as 10.0.0.0/16"
    CidrForbidden Never "a network is too large or reserved" "choose networks that the members own"
    ClusterSetOverlap Never "two members are granted the same addresses" "grant each address to one member"
    ClusterSetExpired AfterChange "the list expired, so no new member is believed" "sign the list again: sealane clusterset sign"
    UnknownMember AfterChange "the list names no such member" "create a token for it, or delete the object"
    MemberRevoked AfterChange "the member was removed from the list" "delete the object on the broker (kubectl delete advertisements NAME); to readmit it create a token"
    OwnNameTaken AfterChange "another key publishes under this gateway's own name" "find the host with the same name or the thief"
    EnrolmentNotAllowed AfterChange "the member may not enrol: no join key is listed" "use the pinned identity, or create a new token"
    EnrolmentBadSignature AfterChange "the enrolment is not signed by the listed join key" "use the newest token of this member"
    EnrolmentConflict AfterChange "two identities enrolled under one join key" "compare fingerprints, then pin one or create a new token"
    EnrolmentExpired AfterChange "the join key was first used after its last day" "create a new token"
    CertBadSignature AfterChange "the certificate is not signed by an identity key of the member" "look who wrote the object; rejoin if it is the member"
    WrongRole Never "the certificate is for another role" "publish the object again with sealane"
    GatewayRevoked AfterChange "this certificate of the gateway was revoked" "have the keeper certify the gateway again"
    CertExpired AfterChange "the certificate expired" "start the member's keeper, and compare clocks"
    BadSignature Never "the payload is not signed by the certified gateway key" "do not trust this object; look who wrote it"
    TooMany Never "a list in the payload is over its limit" "advertise fewer entries"
    CertSwapped Never "the advertisement was signed for another certificate" "publish the object again with sealane"
    Expired AfterChange "the advertisement expired" "start the gateway's agent, and compare clocks"
    Superseded AfterChange "a preferred identity of the member speaks for this gateway" "drop the old identity from the list"
    SequenceRolledBack AfterChange "a newer advertisement of this gateway was accepted before" "nothing: the newer one counts"
    Equivocation AfterChange "the gateway signed two different payloads with one number" "look for a copied gateway key and revoke the gateway"
    CidrNotGranted AfterChange "an advertised network is outside the member's grant" "widen the grant, or advertise less"
    ProbeNotGranted AfterChange "the IPv4 probe address is outside the member's grant" "choose an address inside the member's networks"
    BadTunnel Never "a tunnel entry has a bad count, slot, MTU or length" "publish the object again with sealane"
    TunnelProofBad Never "the tunnel key did not sign its owner's name" "do not trust this object; look who wrote it"
    OwnKey AfterChange "the tunnel key is one of this gateway's own" "look for a cloned host and give it new keys"
    DuplicateTunnelKey AfterChange "another gateway already uses this tunnel key" "look for a cloned host and give it new keys"
    PqRequired AfterChange "the clusterset requires post-quantum keys and this tunnel has none" "upgrade sealane on that gateway"
    TooManyGateways AfterChange "the member has more gateways than it was granted" "withdraw old gateways, or grant more"
    NamespaceNotGranted AfterChange "the service's namespace is not granted to its member" "grant the namespace, or stop exporting from it; namespaces of the cluster itself are never granted"
    AddressNotGranted AfterChange "an address of the service is outside the member's grant" "widen the grant, or export other addresses"
    BadService Never "the type, ports, addresses or endpoints of the service do not fit together" "publish the object again with sealane"
    TooManyServices AfterChange "the member exports more services than others believe" "withdraw services that nobody uses"
}

impl Reason {
    /// Adds what the reason is about: a name, a network, a field.
    #[must_use]
    pub fn about(self, detail: impl Into<String>) -> Rejected {
        Rejected { reason: self, detail: detail.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.explanation(), self.next_step())
    }
}

/// A refusal. What was held before is untouched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Rejected {
    /// The typed reason.
    pub reason: Reason,
    /// What it is about; may be empty. Never holds unescaped text of the refused object.
    pub detail: String,
}

impl From<Reason> for Rejected {
    fn from(reason: Reason) -> Self {
        reason.about("")
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, why) = (self.reason.as_str(), self.reason.explanation());
        write!(f, "{name}: {why}")?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        write!(f, "; {}", self.reason.next_step())
    }
}

/// A remark about an accepted object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Warning {
    /// A remote address that is never tried.
    CandidateIgnored {
        /// The address and port as advertised.
        address: SocketAddr,
        /// Why it is never tried.
        why: &'static str,
    },
    /// A granted network is left out on this host: it meets a network or address the host needs.
    OverlapsHost {
        /// The network left out.
        network: Cidr,
    },
    /// The readable `view` differs from what was signed.
    ViewMismatch,
    /// The list pins an identity key for this member that is not ours.
    IdentityNotOurs,
}

impl Warning {
    /// Returns the stable name for status, metrics and events.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::CandidateIgnored { .. } => "CandidateIgnored",
            Self::OverlapsHost { .. } => "OverlapsHost",
            Self::ViewMismatch => "ViewMismatch",
            Self::IdentityNotOurs => "IdentityNotOurs",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.as_str())?;
        match self {
            Self::CandidateIgnored { address, why } => write!(f, "{address} is never tried: {why}"),
            Self::OverlapsHost { network } => {
                write!(f, "{network} meets a network or address of this host and is left out here")
            }
            Self::ViewMismatch => f.write_str(
                "the readable view differs from what was signed; the signed part counts",
            ),
            Self::IdentityNotOurs => f.write_str(
                "the list pins another identity for this member; compare sealane identity show",
            ),
        }
    }
}

/// A held object that is no longer believed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Whose advertisement it was.
    pub gateway: GatewayId,
    /// Why it was dropped.
    pub rejected: Rejected,
}
