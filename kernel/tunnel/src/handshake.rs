//! Owns the way of a handshake message through the device: admission, the peer it belongs to, the
//! answer. Transport messages do not come here; the receiving thread opens them itself.

use crate::device::{Device, Keyed, LinkState, Member};
use crate::endpoint::{Endpoint, Outgoing};
use crate::gate::Admission;
use crate::lane::Key;
use crate::refusal::Refusal;
use crate::uptime::Uptime;
use crate::wire::{self, Message};

impl Device {
    /// Takes an initiation, a response or a cookie reply; pushes what to send.
    ///
    /// # Errors
    /// The [`Refusal`]; a cookie reply may have been pushed all the same.
    pub fn shake(
        &mut self,
        message: &[u8],
        from: Endpoint,
        now: Uptime,
        out: &mut Vec<Outgoing>,
    ) -> Result<(), Refusal> {
        if self.link == LinkState::Down {
            return Err(Refusal::NoSession);
        }
        let keyed = self.keyed.as_mut().ok_or(Refusal::UnknownPeer)?;
        match wire::parse(message).ok_or(Refusal::Malformed)? {
            Message::Initiation { .. } => {
                let addressed = admit(keyed, message, from, now, out)?;
                let identity = match (addressed, &keyed.before) {
                    (Key::Before, Some(before)) => &before.identity,
                    _ => &keyed.identity,
                };
                let claimed = identity.initiator(message)?;
                let member = self.members.get(&claimed).ok_or(Refusal::UnknownPeer)?;
                let answer = member.peer.lane().respond(message, addressed, from, now)?;
                out.push(answer);
                Ok(())
            }
            Message::Response { receiver, .. } => {
                admit(keyed, message, from, now, out)?;
                let member = self.member_of(receiver).ok_or(Refusal::NoSession)?;
                member.peer.lane().complete(message, from, now, out)
            }
            Message::CookieReply { receiver } => {
                let member = self.member_of(receiver).ok_or(Refusal::NoSession)?;
                member.peer.lane().take_cookie(message)
            }
            Message::Data { .. } => Err(Refusal::Malformed),
        }
    }

    fn member_of(&self, receiver: u32) -> Option<&Member> {
        self.indices.get(&(receiver >> 8)).and_then(|key| self.members.get(key))
    }
}

/// Says which of our keys a message that is admitted was made for, by its MAC1.
fn admit(
    keyed: &mut Keyed,
    message: &[u8],
    from: Endpoint,
    now: Uptime,
    out: &mut Vec<Outgoing>,
) -> Result<Key, Refusal> {
    let mut addressed = Key::Present;
    let mut admission = keyed.gate.admit(message, from.remote, now);
    if admission == Admission::Refuse(Refusal::Forged)
        && let Some(before) = &mut keyed.before
    {
        addressed = Key::Before;
        admission = before.gate.admit(message, from.remote, now);
    }
    match admission {
        Admission::Admit => Ok(addressed),
        Admission::Refuse(refusal) => Err(refusal),
        Admission::Reply(reply) => {
            out.push(Outgoing { to: from, datagram: reply.to_vec() });
            Err(Refusal::CookieSent)
        }
    }
}
