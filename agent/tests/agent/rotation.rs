//! Replacing the tunnel keys: what is told at each step, and that a restart goes on from there.

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use sealane_agent::keys::Keys;
use sealane_agent::rotation::{LIFE_SECONDS, Moment, Rotation, Standing, Step};
use sealane_api::keys::WireguardKey;
use sealane_api::time::{DAY_SECONDS, UnixTime};
use sealane_broker::store::Store;

use crate::fixture::{FullDisk, NOW, files};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
const TOLD: Standing = Standing { told: true, taken_up: true, lagging: 0 };

/// A host with its keys, as an agent finds it that starts.
fn started(place: &Path) -> (Rotation, Keys) {
    let store = Store::open(place).unwrap();
    let mut keys = Keys::load_or_make(&store).unwrap();
    let rotation = Rotation::resume(store, &mut keys, after(0)).unwrap();
    (rotation, keys)
}

fn after(seconds: u64) -> Moment {
    let uptime = *START + Duration::from_secs(seconds);
    Moment { wall: NOW.plus_seconds(seconds), uptime }
}

/// The keys that others are told of with their slots, that in use first.
fn told(rotation: &Rotation, keys: &Keys) -> Vec<(WireguardKey, u8)> {
    let (first, second) = rotation.slots(0);
    keys.tunnel_keys().zip([Some(first), second].into_iter().flatten()).collect()
}

#[test]
fn both_keys_are_told_before_the_new_one_is_used_and_until_every_lane_has_followed() {
    let place = tempfile::tempdir().unwrap();
    let (mut rotation, mut keys) = started(place.path());
    let old = told(&rotation, &keys);
    assert_eq!((old.len(), old[0].1), (1, 0));
    rotation.begin(&mut keys, after(0)).unwrap();
    let both = told(&rotation, &keys);
    assert_eq!((both[0], both[1].1), (old[0], 4), "the old one is in use");

    let unheard = Standing { told: false, ..TOLD };
    assert!(!rotation.advance(&mut keys, TOLD, after(4)).unwrap());
    assert!(!rotation.advance(&mut keys, unheard, after(59)).unwrap());
    assert!(rotation.advance(&mut keys, TOLD, after(5)).unwrap());
    assert_eq!(told(&rotation, &keys), [both[1], both[0]], "the new one is in use");
    assert!(matches!(rotation.step(), Some(Step::Moving(_))));

    let lagging = Standing { lagging: 1, ..TOLD };
    let behind = Standing { taken_up: false, ..TOLD };
    assert!(!rotation.advance(&mut keys, lagging, after(3600)).unwrap());
    assert!(!rotation.advance(&mut keys, behind, after(3600)).unwrap());
    assert!(!rotation.advance(&mut keys, TOLD, after(9)).unwrap());
    assert!(rotation.advance(&mut keys, TOLD, after(10)).unwrap());
    assert_eq!(told(&rotation, &keys), [both[1]]);
    assert_eq!((rotation.step(), rotation.since()), (None, after(5).wall));
    assert!(!files(place.path()).iter().any(|file| file.contains("next")));
}

#[test]
fn nobody_is_waited_for_longer_than_a_day() {
    let place = tempfile::tempdir().unwrap();
    let (mut rotation, mut keys) = started(place.path());
    rotation.begin(&mut keys, after(0)).unwrap();
    let silent = Standing { told: false, taken_up: true, lagging: 3 };
    assert!(rotation.advance(&mut keys, silent, after(60)).unwrap());
    assert!(!rotation.advance(&mut keys, silent, after(60 + DAY_SECONDS - 1)).unwrap());
    assert!(rotation.advance(&mut keys, silent, after(60 + DAY_SECONDS)).unwrap());
    assert_eq!(rotation.step(), None);
}

#[test]
fn a_clock_that_is_set_ends_no_step_and_keeps_none_from_ending() {
    let day = |seconds: u64, wall: u64| Moment { wall: NOW.plus_seconds(wall), ..after(seconds) };
    let place = tempfile::tempdir().unwrap();
    let (mut rotation, mut keys) = started(place.path());
    rotation.begin(&mut keys, after(0)).unwrap();
    assert!(!rotation.advance(&mut keys, TOLD, day(4, DAY_SECONDS)).unwrap());
    assert!(rotation.advance(&mut keys, TOLD, after(5)).unwrap());
    let lagging = Standing { lagging: 1, ..TOLD };
    assert!(!rotation.advance(&mut keys, lagging, day(65, 2 * DAY_SECONDS)).unwrap());
    assert!(matches!(rotation.step(), Some(Step::Moving(_))), "the old key is still in use there");
    let back = Moment { wall: UnixTime(NOW.0 - DAY_SECONDS), ..after(66) };
    assert!(rotation.advance(&mut keys, TOLD, back).unwrap());
    assert_eq!(rotation.step(), None);
}

#[test]
fn after_a_restart_the_time_of_day_says_how_long_a_step_has_lasted() {
    let place = tempfile::tempdir().unwrap();
    let (mut rotation, mut keys) = started(place.path());
    rotation.begin(&mut keys, after(0)).unwrap();
    drop((rotation, keys));
    let store = Store::open(place.path()).unwrap();
    let mut keys = Keys::load_or_make(&store).unwrap();
    let later = Moment { wall: NOW.plus_seconds(3), ..after(0) };
    let mut rotation = Rotation::resume(store, &mut keys, later).unwrap();
    assert!(!rotation.advance(&mut keys, TOLD, after(1)).unwrap());
    assert!(rotation.advance(&mut keys, TOLD, after(2)).unwrap());
}

#[test]
fn a_restart_at_any_step_goes_on_with_the_same_keys() {
    let place = tempfile::tempdir().unwrap();
    let (mut rotation, mut keys) = started(place.path());
    let mut steps = 0;
    rotation.begin(&mut keys, after(0)).unwrap();
    loop {
        let before = told(&rotation, &keys);
        let step = rotation.step();
        drop((rotation, keys));
        (rotation, keys) = started(place.path());
        assert_eq!((told(&rotation, &keys), rotation.step()), (before, step));
        steps += 1;
        if !rotation.advance(&mut keys, TOLD, after(60 * steps)).unwrap() {
            break;
        }
    }
    assert_eq!((steps, rotation.step()), (3, None));
    let second = told(&rotation, &keys);
    rotation.begin(&mut keys, after(0)).unwrap();
    let slots: Vec<u8> = told(&rotation, &keys).iter().map(|(_, slot)| *slot).collect();
    assert_eq!((second[0].1, slots), (4, vec![4, 0]), "the slots change places each time");
}

#[test]
fn a_crash_between_any_two_writes_of_the_end_leaves_one_whole_entry() {
    for file in ["tunnel.key", "pair.key", "tunnel.json"] {
        let place = tempfile::tempdir().unwrap();
        let (mut rotation, mut keys) = started(place.path());
        rotation.begin(&mut keys, after(0)).unwrap();
        rotation.advance(&mut keys, TOLD, after(60)).unwrap();
        let new = told(&rotation, &keys)[0];
        let pair = keys.pair.public();
        let store = Store::open(place.path()).unwrap();
        let full = FullDisk::for_file(&store, file);
        rotation.advance(&mut keys, TOLD, after(120)).unwrap_err();
        drop((rotation, keys, full));
        let (mut rotation, mut keys) = started(place.path());
        assert_eq!(told(&rotation, &keys)[0], new, "{file}: it is in use, whatever the disk has");
        // The disk that refused the last step may have refused the first write of it.
        if rotation.step().is_some() {
            rotation.advance(&mut keys, TOLD, after(180)).unwrap();
        }
        assert_eq!(told(&rotation, &keys), [new], "{file}");
        assert_eq!(keys.pair.public(), pair, "{file}");
    }
}

#[test]
fn a_disk_that_takes_nothing_keeps_no_agent_from_starting() {
    let place = tempfile::tempdir().unwrap();
    let (mut rotation, mut keys) = started(place.path());
    rotation.begin(&mut keys, after(0)).unwrap();
    rotation.advance(&mut keys, TOLD, after(60)).unwrap();
    let store = Store::open(place.path()).unwrap();
    let full = FullDisk::for_file(&store, "tunnel.key");
    rotation.advance(&mut keys, TOLD, after(120)).unwrap_err();
    let new = told(&rotation, &keys);
    let (mut rotation, mut keys) = started(place.path());
    assert_eq!((told(&rotation, &keys), rotation.step()), (new.clone(), Some(Step::Finishing)));
    rotation.advance(&mut keys, TOLD, after(130)).unwrap_err();
    drop(full);
    assert!(rotation.advance(&mut keys, TOLD, after(140)).unwrap());
    assert_eq!((told(&rotation, &keys), rotation.step()), (new, None));

    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path()).unwrap();
    let _full = FullDisk::for_file(&store, "tunnel.json");
    let (rotation, keys) = started(place.path());
    assert_eq!(told(&rotation, &keys).len(), 1);
}

#[test]
fn a_key_is_replaced_unasked_at_90_days_and_not_while_it_is_being_replaced() {
    let place = tempfile::tempdir().unwrap();
    let (mut rotation, mut keys) = started(place.path());
    assert!(!rotation.is_due(NOW.plus_seconds(LIFE_SECONDS - 1)));
    assert!(rotation.is_due(NOW.plus_seconds(LIFE_SECONDS)));
    rotation.begin(&mut keys, after(LIFE_SECONDS)).unwrap();
    assert!(!rotation.is_due(NOW.plus_seconds(2 * LIFE_SECONDS)));
}
