//! The world around the pure engine `sealane-tunnel`: a TUN device, UDP sockets, the UAPI socket,
//! signals and three threads. Decides nothing about peers or packets.

pub mod clock;

pub mod offload;

pub mod tun;

pub mod datagram;

pub mod sockets;

pub mod outbound;

pub mod shared;

pub mod mailbox;

pub mod transmit;

pub mod inject;

pub mod receive;

pub mod link_watch;

pub mod ways;

pub mod uapi_socket;

pub mod connection;

pub mod control;

pub mod run;

pub mod process;
