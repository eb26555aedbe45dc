//! PROTOCOL.md 4.2, steps 3 and 4: is this a member, and which of its identity keys speaks?

use super::Context;
use super::envelope::{Envelope, Subject};
use crate::certificate::{self, EnrolmentPayload};
use crate::checks::Checks;
use crate::clusterset::{JoinKey, MemberEntry, OnExpiry};
use crate::keys::VerifyKey;
use crate::names::ClusterId;
use crate::reason::{Reason, Rejected};
use crate::signed::{SignedBytes, Statement};

/// The identity key that an object is judged under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The key.
    pub key: VerifyKey,
    /// The join key it was enrolled with; none when root pinned it.
    pub join: Option<VerifyKey>,
}

/// Step 3: the member's entry.
///
/// # Errors
/// `MemberRevoked` when an earlier list had it, else `UnknownMember`.
pub fn entry<'a>(context: &Context<'a>, member: &ClusterId) -> Result<&'a MemberEntry, Rejected> {
    context.list.members.get(member).ok_or_else(|| {
        let was_listed = context.held.listed.contains(member);
        let reason = if was_listed { Reason::MemberRevoked } else { Reason::UnknownMember };
        reason.about(member.to_string())
    })
}

/// Step 4: a pinned identity that signed the certificate, else an enrolled one.
///
/// # Errors
/// `CertBadSignature` when there is neither, the enrolment's own reasons, `ClusterSetExpired` for a
/// member never believed before, or `RateLimited`.
pub fn identity<Id: Subject>(
    context: &Context<'_>,
    checks: &mut Checks,
    envelope: &Envelope<Id>,
) -> Result<Identity, Rejected> {
    let member = envelope.id.member();
    let entry = entry(context, member)?;
    let identity = match (pinned(context, checks, entry, envelope)?, &envelope.enrolment) {
        (Some(key), _) => Identity { key, join: None },
        (None, Some(enrolment)) => {
            let join = entry
                .join
                .as_ref()
                .ok_or_else(|| Reason::EnrolmentNotAllowed.about(member.to_string()))?;
            let payload = verified_enrolment(context, checks, member, join, enrolment)?;
            enrolled(context, member, join, &payload)?
        }
        (None, None) => return Err(Reason::CertBadSignature.about(member.to_string())),
    };
    let is_too_late = context.list.is_expired(context.now)
        && (context.list.on_expiry == OnExpiry::Drop || !context.held.believed.contains(member));
    if context.is_offered() && is_too_late && !context.is_own(member) {
        return Err(Reason::ClusterSetExpired.into());
    }
    Ok(identity)
}

fn pinned<Id: Subject>(
    context: &Context<'_>,
    checks: &mut Checks,
    entry: &MemberEntry,
    envelope: &Envelope<Id>,
) -> Result<Option<VerifyKey>, Rejected> {
    let budget = context.budget(envelope.id.member());
    for key in &entry.keys {
        if checks.is_signed(budget, key, Statement::GatewayCert, &envelope.cert)? {
            return Ok(Some(*key));
        }
    }
    Ok(None)
}

/// Checks and parses an enrolment under the listed join key.
///
/// # Errors
/// `EnrolmentBadSignature`, `RateLimited`, or the parser's reasons.
pub fn verified_enrolment(
    context: &Context<'_>,
    checks: &mut Checks,
    member: &ClusterId,
    join: &JoinKey,
    enrolment: &SignedBytes,
) -> Result<EnrolmentPayload, Rejected> {
    let budget = context.budget(member);
    if !checks.is_signed(budget, &join.key, Statement::Enrolment, enrolment)? {
        return Err(Reason::EnrolmentBadSignature.about(member.to_string()));
    }
    EnrolmentPayload::parse(&enrolment.payload)
}

fn enrolled(
    context: &Context<'_>,
    member: &ClusterId,
    join: &JoinKey,
    payload: &EnrolmentPayload,
) -> Result<Identity, Rejected> {
    certificate::check_member(&payload.member, member)?;
    certificate::check_clusterset(&payload.clusterset, &context.list.id)
        .map_err(|_| Reason::EnvelopeMismatch.about("the enrolment is for another clusterset"))?;
    let key = VerifyKey::check(payload.identity)
        .map_err(|_| Reason::WeakKey.about("identity of an enrolment"))?;
    match context.held.enrolled.get(&join.key) {
        Some(held) if *held != key => {
            Err(Reason::EnrolmentConflict.about(format!("believed is {}", held.fingerprint())))
        }
        None if context.contested.contains(&join.key) => {
            Err(Reason::EnrolmentConflict.about("two at once, neither is believed"))
        }
        None if context.now > join.before && !context.is_own(member) => {
            Err(Reason::EnrolmentExpired.about(member.to_string()))
        }
        _ => Ok(Identity { key, join: Some(join.key) }),
    }
}
