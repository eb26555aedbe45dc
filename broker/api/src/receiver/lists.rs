//! The way in for ClusterSets: the next list, and the other side of a fork when the operator says so.

use super::{Receiver, Verdict};
use crate::clusterset::{ClusterSet, ListPosition};
use crate::clusterset_payload::ClusterSetPayload;
use crate::kinds::ClusterSetSpec;
use crate::names::ClusterId;
use crate::reason::{Reason, Rejected, Warning};
use crate::remote::LocalFacts;
use crate::sign;
use crate::time::UnixTime;
use crate::verify::clusterset::{self, Against, Judged};

impl Receiver {
    /// Judges a ClusterSet (PROTOCOL.md 4.1). After `Accepted`, offer again what was refused before.
    pub fn accept_clusterset(
        &mut self,
        now: UnixTime,
        facts: &LocalFacts,
        spec: &ClusterSetSpec,
    ) -> Verdict {
        match self.newer_list(spec) {
            Ok(Some(list)) => self.take_over(now, facts, list, spec),
            Ok(None) => Verdict::Unchanged,
            Err(rejected) => Verdict::Rejected(rejected),
        }
    }

    /// Judges a ClusterSet that a peer of member `teller` told inside a lane. It is judged like any
    /// other, but each that is not held costs the teller.
    pub fn accept_told_clusterset(
        &mut self,
        now: UnixTime,
        facts: &LocalFacts,
        teller: &ClusterId,
        spec: &ClusterSetSpec,
    ) -> Verdict {
        if self.held.clusterset.as_ref().is_some_and(|held| clusterset::is_same(held, spec)) {
            return Verdict::Unchanged;
        }
        match self.checks.spend_list(teller, now) {
            Ok(()) => self.accept_clusterset(now, facts, spec),
            Err(rejected) => Verdict::Rejected(rejected),
        }
    }

    /// Takes the other side of a fork of root links, because the operator of this host says that the
    /// believed one is not the administrator's (PROTOCOL.md 4.3). Anything that is no fork is judged
    /// as [`Receiver::accept_clusterset`] does.
    pub fn accept_fork(
        &mut self,
        now: UnixTime,
        facts: &LocalFacts,
        spec: &ClusterSetSpec,
    ) -> Verdict {
        let judged = match self.newer_list(spec) {
            Err(rejected) if rejected.reason == Reason::LinkFork => self.list_against(spec, None),
            judged => judged,
        };
        match judged {
            Ok(Some(list)) => self.take_over(now, facts, list, spec),
            Ok(None) => Verdict::Unchanged,
            Err(rejected) => Verdict::Rejected(rejected),
        }
    }

    /// Says whether a list of this clusterset is older than the one in force: whoever shows it is behind.
    #[must_use]
    pub fn outranks(&self, spec: &ClusterSetSpec) -> bool {
        self.list.is_some()
            && matches!(self.newer_list(spec), Err(it) if it.reason == Reason::ClusterSetRolledBack)
    }

    fn take_over(
        &mut self,
        now: UnixTime,
        facts: &LocalFacts,
        list: ClusterSet,
        spec: &ClusterSetSpec,
    ) -> Verdict {
        let mut warnings = Vec::new();
        let shown = sign::clusterset_view(&ClusterSetPayload::of(&list));
        if spec.view.as_ref().is_some_and(|view| *view != shown) {
            warnings.push(Warning::ViewMismatch);
        }
        let pinned = list.members.get(&facts.own.member).map_or(&[][..], |entry| &entry.keys);
        if facts.identity.is_some_and(|ours| !pinned.is_empty() && !pinned.contains(&ours)) {
            warnings.push(Warning::IdentityNotOurs);
        }
        self.put_in_force(list, spec);
        let mut dropped = self.recheck();
        dropped.extend(self.believe_disk(now, facts));
        Verdict::Accepted { warnings, dropped }
    }

    pub(super) fn newer_list(&self, spec: &ClusterSetSpec) -> Result<Option<ClusterSet>, Rejected> {
        let position = self.list.as_ref().map(|list| list.position);
        self.list_against(spec, self.held.clusterset.as_ref().zip(position))
    }

    fn list_against(
        &self,
        spec: &ClusterSetSpec,
        held: Option<(&ClusterSetSpec, ListPosition)>,
    ) -> Result<Option<ClusterSet>, Rejected> {
        let against = Against { anchor: &self.held.anchor, minimum: self.held.minimum, held };
        match clusterset::judge(against, spec)? {
            Judged::Newer(list) => Ok(Some(list)),
            Judged::Unchanged => Ok(None),
        }
    }
}
