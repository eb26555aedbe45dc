//! Members that find each other through a real API server, with an administrator who does what
//! `charts/README.md` says.

use sealane_tests::kubernetes::in_lab::ApiServer;
use sealane_tests::lab::address::Family;
use sealane_tests::product::ground::Ground;
use sealane_tests::product::reach::{self, Place};
use sealane_tests::product::site::{ClusterSite, EdgeSite, SERVER_PORT};
use sealane_tests::product::{admin, agent, command};
use sealane_tests::traffic::drive;

#[test]
fn a_cluster_and_an_edge_reach_each_other_through_an_api_server() {
    let ground = Ground::new("api-server", Family::Dual).unwrap();
    let berlin = ClusterSite::new(&ground, "berlin", 1).unwrap();
    let edge = EdgeSite::new(&ground, "edge", 1).unwrap();
    let Some(server) = ApiServer::start(&ground).unwrap() else { return };
    ground.admin.run(&command::init(&server.broker.url, &server.broker.spki)).unwrap();

    let hosts = [
        (&berlin.gateway.host, berlin.gateway_settings()),
        (&berlin.worker.host, berlin.worker_settings()),
        (&edge.host, edge.settings()),
    ];
    for (host, settings) in &hosts {
        agent::start(host, settings).unwrap();
    }
    let nodes = [&berlin.gateway.host, &berlin.worker.host];
    admin::admit(&ground, "berlin", &berlin.networks(), &nodes).unwrap();
    admin::admit(&ground, "edge", &edge.networks(), &[&edge.host]).unwrap();
    for (host, _) in &hosts {
        host.run(command::JOIN).unwrap();
    }
    for (host, others) in [(nodes[0], "edge"), (nodes[1], "edge"), (&edge.host, "berlin")] {
        agent::comes_to_reach(host, &[others]).unwrap();
    }

    let [near, far] = reach::pods(&berlin);
    let app = Place::pod(&edge.app);
    for place in [&near, &far, &app] {
        drive::http_server(&place.host, SERVER_PORT).unwrap();
    }
    for (from, to) in [(&near, &app), (&far, &app), (&app, &near), (&app, &far)] {
        for socket in to.sockets() {
            reach::ask(from, socket).unwrap();
        }
    }

    // A broker that is away is not noticed by packets.
    server.broker.process.kill().unwrap();
    reach::ask(&far, app.sockets()[0]).unwrap();
}
