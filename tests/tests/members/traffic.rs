//! Owns the tests that members' places reach each other, as themselves, with packets of every size.

use std::net::SocketAddr;

use sealane_tests::lab::address::Family;
use sealane_tests::product::reach::{self, Place};

use crate::size;
use crate::stage::{Stage, shared};

on_each_family!(everyone_reaches_everyone_as_itself_with_packets_of_every_size);

fn everyone_reaches_everyone_as_itself_with_packets_of_every_size(family: Family) {
    let _machine = shared();
    let stage = Stage::all_joined("traffic", family);
    stage.serve();
    let (berlin, tokyo) = (reach::pods(&stage.berlin), stage.tokyo.as_ref().unwrap());
    let edge = [Place::edge(&stage.edge), Place::pod(&stage.edge.app)];
    let sockets = |places: &[Place]| places.iter().flat_map(Place::sockets).collect::<Vec<_>>();
    let ways: [(&str, &[Place], Vec<SocketAddr>); 6] = [
        ("pod -> remote pod", &berlin, sockets(&reach::pods(tokyo))),
        ("pod -> remote Service", &berlin, tokyo.web.sockets()),
        ("remote pod -> pod", &reach::pods(tokyo), sockets(&berlin)),
        ("pod -> edge", &berlin, sockets(&edge)),
        ("edge -> pod", &edge, sockets(&berlin)),
        ("edge -> Service", &edge, tokyo.web.sockets()),
    ];
    for (way, clients, servers) in ways {
        assert!(!servers.is_empty(), "{way}");
        for (client, server) in clients.iter().flat_map(|it| servers.iter().map(move |to| (it, to)))
        {
            reach::ask(client, *server).unwrap_or_else(|cause| panic!("{way}: {cause}"));
        }
    }
    let pods = [&stage.berlin.far, &tokyo.far, &stage.edge.app];
    size::every_size_crosses(&pods);
    size::fragments_cross(&pods);
}
