//! Owns what is wrong with this host's standing in its clusterset: off the list, known by another key,
//! granted less than it wants, or turned away by the broker; each with the command that mends it. Decides
//! nothing.

use std::fmt::Write as _;

use sealane_api::certificate;
use sealane_api::cidr::Cidr;
use sealane_api::clusterset::{ClusterSet, MemberEntry};
use sealane_api::keys::VerifyKey;
use sealane_api::names::ClusterId;
use sealane_api::signed::{Signed, Statement};
use sealane_view::status::{ProblemView, Severity};

use crate::line::LineState;
use crate::membership::Membership;
use crate::report::problem;

/// What every command of the administrator ends with.
const AT_THE_DESK: &str = "--dir clusterset --kubeconfig admin.kubeconfig";

/// Who this host is, as its standing is judged.
pub struct Standing<'s> {
    /// What joining left behind.
    pub membership: &'s Membership,
    /// The list in force; `None` before the first.
    pub set: Option<&'s ClusterSet>,
    /// Our identity key, where this host holds one.
    pub identity: Option<VerifyKey>,
    /// Networks that are configured and not granted.
    pub refused: &'s [Cidr],
    /// How the broker takes us.
    pub line: &'s LineState,
}

impl Standing<'_> {
    /// Returns what is wrong, in no order.
    pub fn problems(&self) -> Vec<ProblemView> {
        let Some(set) = self.set else { return vec![self.unlisted()] };
        let own = &self.membership.member;
        let Some(entry) = set.members.get(own) else { return vec![removed(own, set)] };
        let credential = self.line.is_refused.then(|| credential(own));
        let key = self.foreign_identity(entry).or_else(|| self.enrolment(entry));
        [credential, key, grants(own, set, self.refused)].into_iter().flatten().collect()
    }

    fn unlisted(&self) -> ProblemView {
        let own = &self.membership.member;
        if self.line.is_refused {
            return problem(Severity::Host, "CredentialRefused", own.as_str(), REFUSED, &anew(own));
        }
        let error = self.line.last_error.as_ref().filter(|_| !self.line.connected);
        let error = error.map(|error| format!(": {error}")).unwrap_or_default();
        let cause = format!("no ClusterSet was accepted yet{error}");
        let next = match self.line.connected {
            true => format!("have the administrator run: sealane clusterset apply {AT_THE_DESK}"),
            false => "see to it that this host reaches the broker; it is tried again".to_owned(),
        };
        problem(Severity::Host, "NoClusterSet", "this member", &cause, &next)
    }

    /// Root pinned an identity for our member, and it is not ours: nobody believes us.
    fn foreign_identity(&self, entry: &MemberEntry) -> Option<ProblemView> {
        let (ours, own) = (self.identity?, self.membership.member.as_str());
        if entry.keys.is_empty() || entry.keys.contains(&ours) {
            return None;
        }
        let print = ours.fingerprint();
        let cause = format!("the ClusterSet pins another identity for it; ours is {print}");
        let next = format!("if it was this host before it left: {}", start_anew(own));
        Some(problem(Severity::Host, "IdentityNotOurs", own, &cause, &next))
    }

    /// Nobody is pinned, and others do not take our enrolment, or may not.
    fn enrolment(&self, entry: &MemberEntry) -> Option<ProblemView> {
        let join = entry.join.as_ref().filter(|_| entry.keys.is_empty())?;
        let (own, _) = (self.membership.member.as_str(), self.identity?);
        let ours = self.membership.enrolment.as_ref();
        if !ours.is_some_and(|ours| is_under(ours, &join.key)) {
            let cause = "the ClusterSet lists a newer token's key than that of the token used here";
            let next = "give the newest token of this member to sealane join here";
            return Some(problem(Severity::Host, "EnrolmentBadSignature", own, cause, next));
        }
        let rival = self.membership.rival.as_ref()?;
        let cause = format!(
            "another identity enrolled with the same token, and others believe the first ({rival})"
        );
        let next = format!("if it was this host before it left: {}", start_anew(own));
        Some(problem(Severity::Host, "EnrolmentConflict", own, &cause, &next))
    }
}

const REFUSED: &str = "the broker does not take this host's credential: \
    it expired, was replaced with its token, or the member was removed";

fn credential(own: &ClusterId) -> ProblemView {
    problem(Severity::Part, "CredentialRefused", own.as_str(), REFUSED, &anew(own))
}

/// The way back in for a host that the broker turns away.
fn anew(own: &ClusterId) -> String {
    format!(
        "have the administrator run: sealane token renew --cluster {own} {AT_THE_DESK} --token-file \
         {own}-renewed.token, and give that to sealane join here"
    )
}

/// The way back in for a host whose identity is not the one that others go by.
fn start_anew(own: &str) -> String {
    format!(
        "have the administrator run: sealane token create --cluster {own} --rekey {AT_THE_DESK} \
         --token-file {own}.token, and give that to sealane join here; \
         else find out who joined as {own}"
    )
}

fn removed(own: &ClusterId, set: &ClusterSet) -> ProblemView {
    let version = set.position.version;
    let cause = format!("this member was removed from the list, which is at version {version}");
    let next = "sealane leave --without-broker gives this host back; a new token (sealane token create), \
                given to sealane join, makes it a member again";
    problem(Severity::Host, "MemberRevoked", own.as_str(), &cause, next)
}

fn is_under(enrolment: &Signed, join: &VerifyKey) -> bool {
    let decoded = enrolment.decode(certificate::MAX_BYTES);
    decoded.is_ok_and(|it| it.is_signed_by(join, Statement::Enrolment))
}

/// All networks that are configured and not granted, and one command that grants them all besides those
/// granted already; no command where one of them is another member's.
fn grants(own: &ClusterId, set: &ClusterSet, refused: &[Cidr]) -> Option<ProblemView> {
    refused.first()?;
    let granted = set.members.get(own).map(|entry| entry.cidrs.as_slice()).unwrap_or_default();
    let holders = set.members.iter().filter(|(name, _)| *name != own);
    let taken: Vec<(&Cidr, &ClusterId)> = holders
        .flat_map(|(name, entry)| entry.cidrs.iter().map(move |cidr| (cidr, name)))
        .filter(|(cidr, _)| refused.iter().any(|network| network.overlaps(cidr)))
        .collect();
    let mut cause = format!("the ClusterSet does not grant it to {own}");
    for (cidr, holder) in &taken {
        // Writing to a string cannot fail.
        let _ = write!(cause, "; {cidr} is granted to {holder}");
    }
    let next = match taken.first() {
        Some((_, holder)) => format!(
            "is this the right token? if this host is {holder}: sealane leave, and join with the \
             token of {holder}; else take the network out of agent.toml"
        ),
        None => format!(
            "have the administrator run: sealane member update --cluster {own}{} {AT_THE_DESK}",
            flags(granted.iter().chain(refused))
        ),
    };
    let mut networks: Vec<String> = refused.iter().map(ToString::to_string).collect();
    networks.dedup();
    let thing = networks.join(", ");
    Some(problem(Severity::Part, "CidrNotGranted", &thing, &cause, &next))
}

/// Returns the flags that grant these networks; those inside others need none.
fn flags<'c>(networks: impl Iterator<Item = &'c Cidr>) -> String {
    let mut all: Vec<&Cidr> = networks.collect();
    all.sort_unstable();
    all.dedup();
    let is_inside = |one: &Cidr| all.iter().any(|other| *other != one && other.contains(one));
    all.iter().filter(|one| !is_inside(one)).map(|cidr| format!(" --cidr {cidr}")).collect()
}
