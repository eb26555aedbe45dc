//! Owns the loop's own word: when it is signed and handed to the line to the broker, and what became
//! of it; that the line leaves an address which is gone. Does not own what it says.

use std::time::Instant;

use sealane_broker::publish::PublishError;
use sealane_state::facts::Observation;
use serde_json::Value;

use crate::run::Agent;
use crate::word;

impl Agent {
    /// Has the line to the broker leave an address that this host no longer has.
    pub(super) fn redial_after(&mut self, now: &Observation) {
        let (Some(session), Some(before), None) = (&mut self.session, &self.seen, &self.departure)
        else {
            return;
        };
        if word::has_lost_address(&self.config, before, now) && self.redials.grants(Instant::now())
        {
            tracing::info!("an address of this host is gone; the broker is dialled anew");
            session.redial();
        }
    }

    /// Takes the fate of an attempt to write a word of ours.
    pub(super) fn take_published(
        &mut self,
        name: &str,
        spec: &Value,
        result: Result<(), PublishError>,
    ) {
        let now = self.now();
        let Some(session) = &mut self.session else { return };
        let is_present = session.author.is_some() && session.own.to_string() == name;
        match (&result, is_present) {
            (Ok(()), true) => {
                session.line.state.taken = Some(now.0);
                let signature = spec["signed"]["signature"].as_str();
                session.line.state.taken_signature = signature.map(str::to_owned);
            }
            (Ok(()), false) => session.note_farewell(name),
            (Err(error), false) if session.author.is_some() => {
                tracing::warn!(%error, "withdrawal of a former name not on the broker");
                return;
            }
            (Err(_), _) => {}
        }
        let unsaid = result.err();
        if let Some(cause) = unsaid.as_ref().filter(|cause| self.unsaid.as_ref() != Some(cause)) {
            tracing::warn!(%cause, "advertisement not on the broker");
        }
        self.unsaid = unsaid;
    }

    /// Has the broker hold what this gateway has to say.
    pub fn speak(&mut self) {
        let now = self.now();
        let (Some(session), Some(seen)) = (&mut self.session, &self.seen) else { return };
        if self.departure.is_some() || !session.trust.is_saved() {
            return;
        }
        // Others take a key from one gateway of ours when another is gone: farewells come first.
        let farewells = word::farewells(session, now);
        let present = self.plan.lane_mtu.map(|mtu| word::wish(session, &self.config, seen, mtu));
        let present = present.map_or(Ok(None), |wish| word::advertise(session, wish, now));
        let signed = farewells.map(|words| {
            words.into_iter().for_each(|(gateway, spec)| session.line.say(&gateway, spec));
        });
        let signed = signed.and(present.map(|word| {
            word.into_iter().for_each(|(gateway, spec)| session.line.say(&gateway, spec));
        }));
        match signed {
            Ok(()) => self.unsigned = None,
            Err(error) => {
                let cause = error.to_string();
                if self.unsigned.as_ref() != Some(&cause) {
                    tracing::warn!(%cause, "advertisement not signed");
                }
                self.unsigned = Some(cause);
            }
        }
    }
}
