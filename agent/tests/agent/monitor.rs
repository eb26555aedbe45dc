//! What people are told of a host that nobody listens to.

use std::time::Duration;

use sealane_agent::event::Event;
use sealane_agent::hand::Pass;

use crate::host::{Host, bare_host, config};

#[tokio::test]
async fn a_host_without_a_monitor_says_so_until_it_has_one() {
    let place = tempfile::tempdir().unwrap();
    let host = Host::unseen(config(place.path()));
    for cause in [Some("ENOMEM: no memory"), None] {
        let unmonitored = cause.map(str::to_owned);
        let pass = Pass { unmonitored, ..Pass::idle(bare_host(), None) };
        assert!(host.events.send(Event::Host(pass)).await.is_ok());
        let problems = host.status().await.problems;
        let told = problems.iter().find(|problem| problem.reason == "NoMonitor");
        assert_eq!(told.map(|problem| problem.cause.as_str()), cause);
    }
    host.stop().await;
}

#[tokio::test]
async fn a_host_whose_hand_hangs_says_so_until_it_is_heard_of_again() {
    let place = tempfile::tempdir().unwrap();
    let host = Host::unseen_for(config(place.path()), Duration::from_secs(61));
    let is_told =
        async || host.status().await.problems.iter().any(|problem| problem.reason == "HandSilent");
    assert!(is_told().await);
    let pass = Pass::idle(bare_host(), None);
    assert!(host.events.send(Event::Host(pass)).await.is_ok());
    assert!(!is_told().await);
    host.stop().await;
}
