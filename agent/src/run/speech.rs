//! Owns the loop's own word: when it is signed and handed to the line to the broker, and what became
//! of it. Does not own what it says.

use sealane_broker::publish::PublishError;

use crate::run::Agent;
use crate::word;

impl Agent {
    /// Takes the fate of an attempt to write our word.
    pub(super) fn take_published(&mut self, result: Result<(), PublishError>) {
        let now = self.now();
        let Some(session) = &mut self.session else { return };
        if result.is_ok() {
            session.line.state.taken = Some(now.0);
        }
        if result.is_ok()
            && let Some(retirement) = session.retirement.take()
        {
            let gateway = retirement.gateway().to_string();
            tracing::info!(%gateway, "withdrawn; this host is a node now");
            if let Err(error) = retirement.conclude() {
                tracing::warn!(%error, "a restart withdraws once more");
            }
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
        let signed = match self.plan.lane_mtu {
            Some(mtu) => {
                let wish = word::wish(session, &self.config, seen, mtu);
                word::advertise(session, wish, now)
            }
            None if session.retirement.is_some() => word::withdraw(session, now),
            None => return,
        };
        match signed {
            Ok(Some((gateway, spec))) => {
                session.line.say(&gateway, spec);
                self.unsigned = None;
            }
            Ok(None) => {}
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
