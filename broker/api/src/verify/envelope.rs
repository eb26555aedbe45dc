//! PROTOCOL.md 4.2, step 1: sizes, encodings and names, before any signature and without parsing.

use crate::advertisement;
use crate::certificate::{self, Role};
use crate::held::{Held, HeldWord};
use crate::kinds::{AdvertisementSpec, ServiceAdvertisementSpec};
use crate::names::{ClusterId, GatewayId, GatewayName, Label, NameError, ServiceId};
use crate::reason::{Reason, Rejected};
use crate::signed::{Signed, SignedBytes};
use serde::Serialize;
use std::fmt;

/// What a signed object speaks for: a gateway of a member, or a service that it exports.
pub trait Subject: fmt::Display {
    /// Role that the certificate must have.
    const ROLE: Role;

    /// Returns the member.
    fn member(&self) -> &ClusterId;

    /// Returns the gateway that the certificate must name; none for services.
    fn gateway(&self) -> Option<&GatewayName>;

    /// Returns the digest of what was said last under this name; none when nothing was, or when
    /// something else than the speaker ended it.
    fn held_digest(&self, held: &Held) -> Option<[u8; 32]>;
}

impl Subject for GatewayId {
    const ROLE: Role = Role::Gateway;

    fn member(&self) -> &ClusterId {
        &self.member
    }

    fn gateway(&self) -> Option<&GatewayName> {
        Some(&self.gateway)
    }

    fn held_digest(&self, held: &Held) -> Option<[u8; 32]> {
        held.gateways.get(self).and_then(said)
    }
}

impl Subject for ServiceId {
    const ROLE: Role = Role::Services;

    fn member(&self) -> &ClusterId {
        &self.member
    }

    fn gateway(&self) -> Option<&GatewayName> {
        None
    }

    fn held_digest(&self, held: &Held) -> Option<[u8; 32]> {
        held.services.get(self).and_then(said)
    }
}

fn said<Spec>(held: &HeldWord<Spec>) -> Option<[u8; 32]> {
    (!held.is_gone_by_revocation()).then_some(held.digest)
}

/// The decoded parts of an object. Nothing in it is verified yet.
#[derive(Clone, Debug)]
pub struct Envelope<Id = GatewayId> {
    /// What its name and hints claim.
    pub id: Id,
    /// The certificate.
    pub cert: SignedBytes,
    /// The enrolment.
    pub enrolment: Option<SignedBytes>,
    /// What is said.
    pub signed: SignedBytes,
}

/// Opens an Advertisement.
///
/// # Errors
/// `TooLarge`, `BadEncoding`, `NameMismatch` or `BadName`.
pub fn open(name: &str, spec: &AdvertisementSpec) -> Result<Envelope, Rejected> {
    let hints = format!("{}.{}", spec.member, spec.gateway);
    let parts =
        Parts { cert: &spec.cert, enrolment: spec.enrolment.as_ref(), signed: &spec.signed };
    let (cert, enrolment, signed) = parts.decode(spec)?;
    check_name(name, &hints)?;
    let member = ClusterId::parse(&spec.member).map_err(bad_name)?;
    let gateway = GatewayName::parse(&spec.gateway).map_err(bad_name)?;
    Ok(Envelope { id: GatewayId { member, gateway }, cert, enrolment, signed })
}

/// Opens a ServiceAdvertisement.
///
/// # Errors
/// `TooLarge`, `BadEncoding`, `NameMismatch` or `BadName`.
pub fn open_service(
    name: &str,
    spec: &ServiceAdvertisementSpec,
) -> Result<Envelope<ServiceId>, Rejected> {
    let hints = format!("{}.{}.{}", spec.member, spec.namespace, spec.name);
    let parts =
        Parts { cert: &spec.cert, enrolment: spec.enrolment.as_ref(), signed: &spec.signed };
    let (cert, enrolment, signed) = parts.decode(spec)?;
    check_name(name, &hints)?;
    let member = ClusterId::parse(&spec.member).map_err(bad_name)?;
    let namespace = Label::parse(&spec.namespace).map_err(bad_name)?;
    let name = Label::parse(&spec.name).map_err(bad_name)?;
    Ok(Envelope { id: ServiceId { member, namespace, name }, cert, enrolment, signed })
}

/// What every object carries.
struct Parts<'a> {
    cert: &'a Signed,
    enrolment: Option<&'a Signed>,
    signed: &'a Signed,
}

type Decoded = (SignedBytes, Option<SignedBytes>, SignedBytes);

impl Parts<'_> {
    fn decode<Spec: Serialize>(&self, spec: &Spec) -> Result<Decoded, Rejected> {
        let size = serde_json::to_vec(spec).map_or(usize::MAX, |json| json.len());
        if size > advertisement::MAX_SPEC_BYTES {
            return Err(Reason::TooLarge.about(format!("spec of {size} bytes")));
        }
        let cert = self.cert.decode(certificate::MAX_BYTES)?;
        let enrolment = self.enrolment.map(|it| it.decode(certificate::MAX_BYTES)).transpose()?;
        Ok((cert, enrolment, self.signed.decode(advertisement::MAX_BYTES)?))
    }
}

fn check_name(name: &str, hints: &str) -> Result<(), Rejected> {
    if name == hints { Ok(()) } else { Err(Reason::NameMismatch.into()) }
}

fn bad_name(cause: NameError) -> Rejected {
    Reason::BadName.about(cause.to_string())
}
