//! Owns the writing of decrypted packets to the TUN device, joined where the kernel takes it; what
//! it refuses joined is written packet by packet.

use std::io::IoSlice;

use nix::errno::Errno;
use sealane_tunnel::coalesce::{Coalescer, Group, Joinable};
use sealane_tunnel::virtio::{self, GSO_UDP_L4};
use tracing::{trace, warn};

use super::shared::{Ended, Shared};

/// What may be joined at this moment.
#[must_use]
pub fn joinable(shared: &Shared) -> Joinable {
    Joinable { tcp: shared.join_tcp.is_whole(), udp: shared.join_udp.is_whole() }
}

/// Writes a batch and forgets it.
pub fn write(shared: &Shared, coalescer: &mut Coalescer, slab: &mut [u8]) {
    coalescer.seal(slab);
    for group in coalescer.groups() {
        match write_group(shared, group, slab) {
            Ok(()) => {}
            Err(Errno::EINVAL) if group.is_joined() => {
                give_up_joining(shared, group);
                write_parts(shared, group, slab);
            }
            Err(error) => refused(shared, error),
        }
    }
    coalescer.clear();
}

fn write_group(shared: &Shared, group: &Group, slab: &[u8]) -> Result<(), Errno> {
    let header = group.vnet().to_bytes();
    if !group.is_joined() {
        for piece in group.pieces() {
            shared.tun.write(&[IoSlice::new(&header), IoSlice::new(&slab[piece])])?;
        }
        return Ok(());
    }
    let pieces: Vec<IoSlice<'_>> = std::iter::once(IoSlice::new(&header))
        .chain(group.pieces().map(|piece| IoSlice::new(&slab[piece])))
        .collect();
    shared.tun.write(&pieces)
}

fn write_parts(shared: &Shared, group: &Group, slab: &mut [u8]) {
    let plain = [0; virtio::LEN];
    for at in group.part(slab) {
        let packet = &slab[at.clone()];
        if let Err(error) = shared.tun.write(&[IoSlice::new(&plain), IoSlice::new(packet)]) {
            refused(shared, error);
        }
    }
}

fn give_up_joining(shared: &Shared, group: &Group) {
    let (fuse, what) = if group.vnet().gso_type == GSO_UDP_L4 {
        (&shared.join_udp, "UDP")
    } else {
        (&shared.join_tcp, "TCP")
    };
    if fuse.blow() {
        warn!("this kernel refuses {what} superpackets on the link; writing one by one");
    }
}

fn refused(shared: &Shared, error: Errno) {
    match error {
        Errno::EBADFD | Errno::ENODEV => shared.stop(Ended::LinkDeleted),
        // EIO: the link is down. Anything else concerns one packet.
        error => trace!(%error, "packet to the link dropped"),
    }
}
