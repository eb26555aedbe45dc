//! Owns [`Event`]: all that can wake the agent, on one screen.

use std::net::SocketAddr;

use sealane_broker::board::BoardEvent;
use sealane_broker::publish::PublishError;

use crate::admin::Ask;
use crate::gossip::Told;
use crate::hand::{Glance, Pass};
use crate::inquiry::Inquiry;
use crate::probe_io::Way;

/// Something happened.
pub enum Event {
    /// The host was looked at, and changed where it differed.
    Host(Pass),
    /// The host could not be looked at; it is tried again by itself.
    HostUnseen(String),
    /// The devices were looked at, while addresses of peers are sought.
    Glance(Glance),
    /// Something on the broker.
    Board(BoardEvent),
    /// An attempt to write a word of ours ended.
    Published {
        /// What was written.
        spec: serde_json::Value,
        /// The object.
        name: String,
        /// What became of it.
        result: Result<(), PublishError>,
    },
    /// An attempt to put the list back on the broker ended.
    Mended(Result<(), PublishError>),
    /// Our last word was taken by the broker, or not.
    Withdrawn(Result<(), PublishError>),
    /// A probe datagram came in.
    Datagram(Datagram),
    /// A peer told something, or stopped telling.
    Told(Told),
    /// Another agent asks.
    Inquiry(Inquiry),
    /// Somebody asks on the admin socket.
    Ask(Ask),
    /// A signal to stop: lanes stay up.
    Stop,
}

/// A probe datagram and the way it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The way it came in by.
    pub way: Way,
    /// Sender.
    pub from: SocketAddr,
    /// Payload.
    pub bytes: Vec<u8>,
}
