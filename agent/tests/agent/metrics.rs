//! The metrics page repeats what the documents say.

use sealane_agent::metrics::Metrics;
use sealane_view::peers::{PathState, PeerView, PeersDocument};
use sealane_view::status::{BrokerView, ClusterSetState, ClusterSetView, StatusDocument};

fn lane(gateway: &str, state: PathState) -> PeerView {
    PeerView {
        member: "b".to_owned(),
        gateway: gateway.to_owned(),
        public_key: format!("key-of-{gateway}"),
        slot: 0,
        link: "sealane0".to_owned(),
        state,
        since_unix_seconds: None,
        carries: true,
        agent_silent: false,
        endpoint: None,
        candidates: Vec::new(),
        last_handshake_unix_seconds: Some(1_800_000_000),
        received_bytes: 4096,
        sent_bytes: 8192,
        rtt_microseconds: Some(1500),
        loss_permille: Some(20),
        path_mtu_bytes: Some(1420),
        keepalive_seconds: None,
        allowed_ips: Vec::new(),
        accepted_sources: Vec::new(),
        reason: String::new(),
    }
}

fn member_of_version(version: u64) -> StatusDocument {
    StatusDocument {
        clusterset: Some(ClusterSetView {
            id: "id".to_owned(),
            link_index: 0,
            version,
            expires_unix_seconds: 1_900_000_000,
            state: ClusterSetState::Current,
        }),
        broker: Some(BrokerView {
            url: "https://broker".to_owned(),
            connected: true,
            since_unix_seconds: 1,
            last_error: None,
            refused: false,
            credential_expires_unix_seconds: Some(1_850_000_000),
        }),
        ..StatusDocument::default()
    }
}

fn has(page: &str, line: &str) -> bool {
    page.lines().any(|it| it == line)
}

#[test]
fn a_page_repeats_the_documents_with_units_in_its_names() {
    let metrics = Metrics::new();
    let peers = PeersDocument {
        peers: vec![lane("g1", PathState::Up), lane("g2", PathState::Down)],
        legs: vec![],
    };
    metrics.show(&member_of_version(7), &peers);
    metrics.count_pass(3, 1);
    metrics.time_plan(std::time::Duration::from_millis(250));
    let page = metrics.page();
    for line in [
        "sealane_lane_up{member=\"b\",gateway=\"g1\",slot=\"0\"} 1",
        "sealane_lane_up{member=\"b\",gateway=\"g2\",slot=\"0\"} 0",
        "sealane_lane_rtt_seconds{member=\"b\",gateway=\"g1\",slot=\"0\"} 0.0015",
        "sealane_lane_loss_ratio{member=\"b\",gateway=\"g1\",slot=\"0\"} 0.02",
        "sealane_lane_path_mtu_bytes{member=\"b\",gateway=\"g1\",slot=\"0\"} 1420",
        "sealane_lane_received_bytes_total{member=\"b\",gateway=\"g1\",slot=\"0\"} 4096",
        "sealane_lane_sent_bytes_total{member=\"b\",gateway=\"g1\",slot=\"0\"} 8192",
        "sealane_lane_last_handshake_timestamp_seconds{member=\"b\",gateway=\"g1\",slot=\"0\"} 1800000000",
        "sealane_broker_connected 1",
        "sealane_clusterset_version 7",
        "sealane_clusterset_expiry_timestamp_seconds 1900000000",
        "sealane_broker_credential_expiry_timestamp_seconds 1850000000.0",
        "sealane_members{state=\"up\"} 0",
        "sealane_host_changes_total 3",
        "sealane_host_change_failures_total 1",
        "sealane_plan_duration_seconds 0.25",
    ] {
        assert!(has(&page, line), "no {line:?} in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn lanes_that_are_gone_vanish_and_a_host_that_left_has_no_list() {
    let metrics = Metrics::new();
    let both = PeersDocument {
        peers: vec![lane("g1", PathState::Up), lane("g2", PathState::Up)],
        legs: vec![],
    };
    metrics.show(&member_of_version(7), &both);
    let mut one = both.clone();
    one.peers.truncate(1);
    one.peers[0].rtt_microseconds = None;
    metrics.show(&member_of_version(8), &one);
    let page = metrics.page();
    assert!(page.contains("gateway=\"g1\"") && !page.contains("gateway=\"g2\""), "{page}");
    assert!(!page.contains("sealane_lane_rtt_seconds{"), "an unknown time is not the last one");
    metrics.show(&StatusDocument::default(), &PeersDocument::default());
    let page = metrics.page();
    assert!(!page.contains("sealane_lane_up{"), "{page}");
    assert!(has(&page, "sealane_clusterset_version 0"), "{page}");
    assert!(has(&page, "sealane_broker_connected 0"), "{page}");
    assert!(has(&page, "sealane_broker_credential_expiry_timestamp_seconds NaN"), "{page}");
}

#[test]
fn refusals_are_counted_by_kind_and_reason() {
    let metrics = Metrics::new();
    metrics.count_rejection("Advertisement", "BadSignature");
    metrics.count_rejection("Advertisement", "BadSignature");
    metrics.count_rejection("ClusterSet", "ClusterSetFork");
    let page = metrics.page();
    let line = |kind: &str, reason: &str, count: u32| {
        format!("sealane_rejected_total{{kind=\"{kind}\",reason=\"{reason}\"}} {count}")
    };
    assert!(has(&page, &line("Advertisement", "BadSignature", 2)), "{page}");
    assert!(has(&page, &line("ClusterSet", "ClusterSetFork", 1)), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_never_shows_half_of_the_lanes() {
    let metrics = std::sync::Arc::new(Metrics::new());
    let gateways = (0..50).map(|number| lane(&format!("g{number}"), PathState::Up));
    let peers = PeersDocument { peers: gateways.collect(), legs: vec![] };
    metrics.show(&member_of_version(1), &peers);
    let shown = metrics.clone();
    let showing = tokio::task::spawn_blocking(move || {
        (0..200).for_each(|_| shown.show(&member_of_version(1), &peers));
    });
    while !showing.is_finished() {
        let page = metrics.page();
        assert_eq!(page.matches("sealane_lane_up{").count(), 50);
        assert_eq!(page.matches("sealane_lane_last_handshake_timestamp_seconds{").count(), 50);
    }
    showing.await.unwrap();
}

#[test]
fn two_lanes_to_one_gateway_are_told_apart_by_slot() {
    let metrics = Metrics::new();
    let mut next = lane("g1", PathState::Down);
    (next.slot, next.received_bytes) = (1, 7);
    let peers = PeersDocument { peers: vec![lane("g1", PathState::Up), next], legs: vec![] };
    metrics.show(&member_of_version(1), &peers);
    let page = metrics.page();
    for line in [
        "sealane_lane_up{member=\"b\",gateway=\"g1\",slot=\"0\"} 1",
        "sealane_lane_up{member=\"b\",gateway=\"g1\",slot=\"1\"} 0",
        "sealane_lane_received_bytes_total{member=\"b\",gateway=\"g1\",slot=\"0\"} 4096",
        "sealane_lane_received_bytes_total{member=\"b\",gateway=\"g1\",slot=\"1\"} 7",
    ] {
        assert!(has(&page, line), "no {line:?} in\n{page}");
    }
}

/// A page with something of every metric on it, as a scraper reads it.
fn scraped() -> (String, prometheus_parse::Scrape) {
    let metrics = Metrics::new();
    let peers = PeersDocument { peers: vec![lane("g1", PathState::Up)], legs: vec![] };
    metrics.show(&member_of_version(7), &peers);
    metrics.count_rejection("Advertisement", "BadSignature");
    let page = metrics.page();
    let lines = page.lines().map(|line| Ok(line.to_owned()));
    let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
    (page, scrape)
}

#[test]
fn a_scraper_reads_every_line_and_names_follow_its_conventions() {
    let (page, scrape) = scraped();
    let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    assert_eq!(scrape.samples.len(), lines.count(), "{page}");
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for (name, kind) in types {
        assert!(name.starts_with("sealane_"), "{name}");
        assert!(page.contains(&format!("# HELP {name} ")), "{name} has no help");
        let counted = scrape.samples.iter().any(|sample| sample.metric == format!("{name}_total"));
        assert_eq!(counted, kind == "counter", "{name} is a {kind}");
        // Base units, and in the order that says what is counted last.
        for unit in ["milliseconds", "kilobytes", "percent", "permille", "_total_"] {
            assert!(!name.contains(unit), "{name}");
        }
    }
}

#[test]
fn every_metric_is_in_the_readme_and_nothing_else_is() {
    let (_, scrape) = scraped();
    let on_the_page: std::collections::BTreeSet<&str> =
        scrape.samples.iter().map(|sample| sample.metric.as_str()).collect();
    let readme = include_str!("../../README.md");
    let told: std::collections::BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `sealane_")?.split(['`', '{']).next())
        .collect();
    let on_the_page: std::collections::BTreeSet<&str> =
        on_the_page.into_iter().filter_map(|name| name.strip_prefix("sealane_")).collect();
    assert_eq!(told, on_the_page);
}
