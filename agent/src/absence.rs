//! Owns why a listed member has no gateway: it never joined, it left, its words are refused, or they
//! expired; and what it was granted meanwhile. Decides nothing.

use std::collections::BTreeMap;

use ipnetwork::IpNetwork;
use sealane_api::clusterset::{ClusterSet, MemberEntry};
use sealane_api::held::{Held, HeldGateway};
use sealane_api::names::ClusterId;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_view::status::{MemberState, MemberView};

use crate::refusals::{Key, Refusal};

/// What is known of members beside their gateways.
pub struct Known<'k> {
    /// The list in force.
    pub set: &'k ClusterSet,
    /// What was believed of each.
    pub held: &'k Held,
    /// What is refused.
    pub refusals: &'k BTreeMap<Key, Refusal>,
    /// The time of day.
    pub now: UnixTime,
}

impl Known<'_> {
    /// Says of each absent member why it is, since when, and what it was granted.
    pub fn explain(&self, members: &mut [MemberView]) {
        for view in members.iter_mut().filter(|view| view.state == MemberState::Absent) {
            let Ok(member) = ClusterId::parse(&view.member) else { continue };
            let Some(entry) = self.set.members.get(&member) else { continue };
            let (reason, since) = self.reason(&member, entry);
            view.reason = reason;
            view.since_unix_seconds = since.map(|since| since.0);
            view.granted = entry.cidrs.iter().map(|cidr| IpNetwork::from(*cidr)).collect();
        }
    }

    fn reason(&self, member: &ClusterId, entry: &MemberEntry) -> (String, Option<UnixTime>) {
        let mut refusals = self.refusals.values();
        if let Some(refusal) = refusals.find(|it| it.member == member.as_str()) {
            let reason = refusal.rejected.reason.as_str();
            return (format!("what it says is refused: {reason}, see below"), Some(refusal.since));
        }
        let of_member = self.held.gateways.iter().filter(|(gateway, _)| gateway.member == *member);
        match of_member.map(|(_, held)| held).max_by_key(|held| held.accepted_at) {
            Some(HeldGateway { withdrawn: true, accepted_at, .. }) => {
                ("it left, or its gateway became a node".to_owned(), Some(*accepted_at))
            }
            Some(_) => ("its last gateway was revoked or has expired".to_owned(), None),
            None if self.held.believed.contains(member) => {
                ("its last gateway is gone for long".to_owned(), None)
            }
            None => (self.not_joined(entry), None),
        }
    }

    fn not_joined(&self, entry: &MemberEntry) -> String {
        let left = entry.join.as_ref().map(|join| join.before.0.checked_sub(self.now.0));
        match left {
            None => "it is pinned, and no gateway of it was seen yet".to_owned(),
            Some(None | Some(0)) => {
                "it has not joined, and its token has expired: sealane token create --rekey"
                    .to_owned()
            }
            Some(Some(left)) if left < DAY_SECONDS => {
                "it has not joined; its token is good for less than a day".to_owned()
            }
            Some(Some(left)) => {
                let days = left / DAY_SECONDS;
                format!("it has not joined; its token is good for {days} more days")
            }
        }
    }
}
