//! PROTOCOL.md 4.2, step 1: sizes, encodings and names, before any signature and without parsing.

use crate::advertisement;
use crate::certificate;
use crate::kinds::AdvertisementSpec;
use crate::names::{ClusterId, GatewayId, GatewayName};
use crate::reason::{Reason, Rejected};
use crate::signed::SignedBytes;

/// The decoded parts of an Advertisement object. Nothing in it is verified yet.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// What its name and hints claim.
    pub id: GatewayId,
    /// The certificate.
    pub cert: SignedBytes,
    /// The enrolment.
    pub enrolment: Option<SignedBytes>,
    /// The advertisement.
    pub signed: SignedBytes,
}

/// Opens an object.
///
/// # Errors
/// `TooLarge`, `BadEncoding`, `NameMismatch` or `BadName`.
pub fn open(name: &str, spec: &AdvertisementSpec) -> Result<Envelope, Rejected> {
    let size = serde_json::to_vec(spec).map_or(usize::MAX, |json| json.len());
    if size > advertisement::MAX_SPEC_BYTES {
        return Err(Reason::TooLarge.about(format!("spec of {size} bytes")));
    }
    let cert = spec.cert.decode(certificate::MAX_BYTES)?;
    let enrolment =
        spec.enrolment.as_ref().map(|enrolment| enrolment.decode(certificate::MAX_BYTES));
    let enrolment = enrolment.transpose()?;
    let signed = spec.signed.decode(advertisement::MAX_BYTES)?;
    if name.split_once('.').is_none() || name != format!("{}.{}", spec.member, spec.gateway) {
        return Err(Reason::NameMismatch.into());
    }
    let member = ClusterId::parse(&spec.member);
    let gateway = GatewayName::parse(&spec.gateway);
    let bad = |cause: crate::names::NameError| Reason::BadName.about(cause.to_string());
    let id = GatewayId { member: member.map_err(bad)?, gateway: gateway.map_err(bad)? };
    Ok(Envelope { id, cert, enrolment, signed })
}
