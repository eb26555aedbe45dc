//! Owns the loop's dealings with belief: what the broker tells is judged, kept once a turn, and judged
//! again when this host or its clock changed. Judges nothing itself.

use std::time::Instant;

use sealane_api::reason::Reason;
use sealane_broker::board::{BoardEvent, Kind};

use crate::facts;
use crate::report;
use crate::run::Agent;
use crate::trust::Outcome;

impl Agent {
    /// Takes what the broker tells.
    pub(super) fn take_board(&mut self, event: BoardEvent) {
        let now = self.now();
        let Some(session) = &mut self.session else { return };
        session.line.note(&event, now.0);
        let Some(seen) = &self.seen else {
            // Nothing is judged before the host is known; it is kept until then.
            return self.early.keep(event);
        };
        let facts = facts::local(session, &self.config, seen);
        let outcome = match event {
            BoardEvent::Listed(kind, objects) => {
                if kind == Kind::Advertisement {
                    session.line.say_again();
                }
                session.trust.listed(kind, objects, now, &facts)
            }
            BoardEvent::Written(kind, object) => {
                if session.line.keeps(&object.name) {
                    session.line.say_again();
                }
                session.trust.written(kind, object, now, &facts)
            }
            BoardEvent::Gone(kind, name) => {
                session.trust.gone(kind, &name);
                if session.line.keeps(&name) {
                    session.line.say_again();
                }
                Outcome::default()
            }
            BoardEvent::Unreachable { .. } => {
                session.trust.lose_sight();
                Outcome::default()
            }
            BoardEvent::Reachable(_) => Outcome::default(),
        };
        self.note(outcome);
    }

    /// Judges again what was refused for what this host or its clock said.
    pub(super) fn reconsider(&mut self) {
        let now = self.now();
        if let (Some(session), Some(seen)) = (&mut self.session, &self.seen) {
            let facts = facts::local(session, &self.config, seen);
            let outcome = session.trust.reconsider(now, &facts);
            self.note(outcome);
        }
    }

    /// Notes what a round of offers led to; it counts once it is kept.
    pub(super) fn note(&mut self, outcome: Outcome) {
        for (kind, rejected) in outcome.refused {
            self.metrics.count_rejection(report::kind_name(kind), rejected.reason.as_str());
            if rejected.reason == Reason::OwnNameTaken {
                self.note_rival(rejected.detail);
            }
        }
        self.stale |= outcome.changed;
        let Some(session) = &mut self.session else { return };
        if let Some(own) = outcome.own
            && let Some(author) = &mut session.author
        {
            author.met(&own);
        }
    }

    /// Remembers who spoke under our name before we did: our first word takes its place, and then
    /// nothing on the broker shows it any more.
    fn note_rival(&mut self, who: String) {
        let Some(session) = &mut self.session else { return };
        let spoke = session.line.state.taken.is_some();
        if spoke || session.membership.rival.is_some() {
            return;
        }
        session.membership.rival = Some(who);
        if let Err(error) = session.membership.save(&self.store) {
            tracing::warn!(%error, "who else enrolled is forgotten with the next start");
        }
    }

    /// Returns when what is believed is to be written, if it waits for that.
    pub(super) fn next_write(&self) -> Option<Instant> {
        let session = self.session.as_ref().filter(|_| self.seen.is_some())?;
        self.writes.until().filter(|_| session.trust.is_due())
    }

    /// Has the disk hold what this turn of the loop brought, before anything is done about it.
    pub(super) fn keep_belief(&mut self) {
        let is_due = self.session.as_ref().is_some_and(|session| session.trust.is_due());
        if is_due && self.seen.is_some() && self.writes.grants(Instant::now()) {
            self.write_belief();
        }
    }

    /// Has the disk hold it at once.
    pub(super) fn write_belief(&mut self) {
        let now = self.now();
        let (Some(session), Some(seen)) = (&mut self.session, &self.seen) else { return };
        if !session.trust.is_due() {
            return;
        }
        let facts = facts::local(session, &self.config, seen);
        let is_kept = session.trust.keep(now, &facts);
        self.stale |= is_kept;
        self.gossip.mark_stale();
        // A leave has its own line to the brokers that it began with.
        if is_kept && self.departure.is_none() {
            session.follow_listed_brokers();
        }
    }
}
