//! Owns reading what the kernel answers: messages, acknowledgements, refusals, and the joining of
//! the parts of a dump. Owns no socket.

use netlink_packet_core::{NLM_F_DUMP_INTR, NetlinkMessage, NetlinkPayload, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;

use crate::netlink::refusal::Refusal;

/// `NLMSGERR_ATTR_MSG` in linux/netlink.h.
const ATTR_MSG: u16 = 1;
/// `NLM_F_ACK_TLVS` in linux/netlink.h.
const ACK_TLVS: u16 = 0x200;

/// What a dump brought.
#[derive(Debug, Default)]
pub struct Dump {
    /// The messages, in the kernel's order.
    pub messages: Vec<RouteNetlinkMessage>,
    /// Messages that could not be decoded: objects with attributes newer than this program.
    pub unreadable: usize,
}

/// One message of the kernel.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An object, or the answer to a question.
    Message(Box<RouteNetlinkMessage>),
    /// An object that could not be decoded.
    Unreadable,
    /// The end of what was asked: done, or refused.
    Finished(Result<(), Refusal>),
}

/// The parts of a dump so far.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    dump: Dump,
    interrupted: bool,
}

impl Assembly {
    /// Adds one message and its flags. At the end: the dump, `None` when a change ran into it, or
    /// the refusal.
    pub(crate) fn take(
        &mut self,
        flags: u16,
        reply: Reply,
    ) -> Option<Result<Option<Dump>, Refusal>> {
        self.interrupted |= flags & NLM_F_DUMP_INTR != 0;
        match reply {
            Reply::Message(message) => self.dump.messages.push(*message),
            Reply::Unreadable => self.dump.unreadable += 1,
            Reply::Finished(Err(refusal)) => return Some(Err(refusal)),
            Reply::Finished(Ok(())) => {
                let dump = std::mem::take(&mut self.dump);
                return Some(Ok((!self.interrupted).then_some(dump)));
            }
        }
        None
    }
}

impl Reply {
    /// Reads one message, header included.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else {
            return Reply::Unreadable;
        };
        let flags = message.header.flags;
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => Reply::Message(Box::new(inner)),
            NetlinkPayload::Error(error) => Reply::Finished(match error.code {
                None => Ok(()),
                Some(code) => Err(refusal(
                    code.get(),
                    if flags & ACK_TLVS != 0 { capped(&error.header) } else { &[] },
                )),
            }),
            NetlinkPayload::Done(done) if done.code < 0 => {
                Reply::Finished(Err(refusal(done.code, &done.extended_ack)))
            }
            NetlinkPayload::Done(_) => Reply::Finished(Ok(())),
            NetlinkPayload::Overrun(_) => Reply::Finished(Err(Refusal::plain(Errno::ENOBUFS))),
            _ => Reply::Unreadable,
        }
    }
}

/// What follows the request's header, which is all that a capped error repeats of the request.
fn capped(payload: &[u8]) -> &[u8] {
    const HEADER_BYTES: usize = 16;
    payload.get(HEADER_BYTES..).unwrap_or_default()
}

fn refusal(code: i32, attributes: &[u8]) -> Refusal {
    let errno = Errno::from_raw(code.saturating_abs());
    let readable = NlasIterator::new(attributes).filter_map(Result::ok);
    let message = readable.filter(|attribute| attribute.kind() == ATTR_MSG).find_map(|attribute| {
        let text = attribute.value().split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8(text.to_vec()).ok().filter(|text| !text.is_empty())
    });
    Refusal { errno, text: message.map(|text| text.trim_end_matches('.').to_owned()) }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DoneMessage, NLM_F_MULTIPART, NetlinkHeader};
    use netlink_packet_route::route::RouteMessage;

    use super::*;

    #[test]
    fn a_dump_that_a_change_ran_into_is_no_dump() {
        let route = || RouteNetlinkMessage::NewRoute(RouteMessage::default());
        for (first, last) in [(NLM_F_DUMP_INTR, 0), (0, NLM_F_DUMP_INTR)] {
            let mut assembly = Assembly::default();
            let message = bytes(first, NetlinkPayload::InnerMessage(route()));
            assert!(assembly.take(first, Reply::read(&message)).is_none());
            let end = bytes(last, NetlinkPayload::Done(done(0)));
            let end = assembly.take(last, Reply::read(&end));
            assert!(matches!(end, Some(Ok(None))), "{first} {last}: {end:?}");
        }
        let mut assembly = Assembly::default();
        let message = bytes(0, NetlinkPayload::InnerMessage(route()));
        assert!(assembly.take(0, Reply::read(&message)).is_none());
        let end = assembly.take(0, Reply::read(&bytes(0, NetlinkPayload::Done(done(0)))));
        assert!(matches!(end, Some(Ok(Some(dump))) if dump.messages == [route()]));
    }

    #[test]
    fn a_message_that_cannot_be_decoded_is_counted_and_costs_only_itself() {
        let mut message = bytes(
            0,
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(Default::default())),
        );
        // An attribute that claims to be longer than the message.
        message.extend([200, 0, 1, 0]);
        let length = u32::try_from(message.len()).unwrap();
        message[..4].copy_from_slice(&length.to_ne_bytes());
        let mut assembly = Assembly::default();
        assert!(assembly.take(0, Reply::read(&message)).is_none());
        let end = assembly.take(0, Reply::read(&bytes(0, NetlinkPayload::Done(done(0)))));
        assert!(matches!(end, Some(Ok(Some(dump))) if dump.unreadable == 1));
    }

    #[test]
    fn a_dump_that_ends_in_an_error_is_refused_with_its_number() {
        let end = bytes(0, NetlinkPayload::Done(done(-libc::ENOENT)));
        let end = Assembly::default().take(0, Reply::read(&end));
        assert!(matches!(end, Some(Err(refusal)) if refusal.errno == Errno::ENOENT));
    }

    fn done(code: i32) -> DoneMessage {
        let mut done = DoneMessage::default();
        done.code = code;
        done
    }

    fn bytes(flags: u16, payload: NetlinkPayload<RouteNetlinkMessage>) -> Vec<u8> {
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), payload);
        message.header.flags = flags | NLM_F_MULTIPART;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }
}
