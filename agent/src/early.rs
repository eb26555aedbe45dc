//! Owns what the broker told before this host was first looked at: the newest of each object and no
//! more, however long that takes. Judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use sealane_broker::board::{BoardEvent, Kind, Sighting};

/// Objects as last told, by kind and name.
#[derive(Debug, Default)]
pub struct Early {
    told: BTreeSet<Kind>,
    objects: BTreeMap<(Kind, String), Sighting>,
}

impl Early {
    /// Keeps what an event tells of objects.
    pub fn keep(&mut self, event: BoardEvent) {
        match event {
            BoardEvent::Listed(kind, objects) => {
                self.told.insert(kind);
                self.objects.retain(|(of, _), _| *of != kind);
                self.objects.extend(
                    objects.into_iter().map(|object| ((kind, object.name.clone()), object)),
                );
            }
            BoardEvent::Written(kind, object) => {
                self.told.insert(kind);
                self.objects.insert((kind, object.name.clone()), object);
            }
            BoardEvent::Gone(kind, name) => drop(self.objects.remove(&(kind, name))),
            BoardEvent::Reachable(_) | BoardEvent::Unreachable { .. } => {}
        }
    }

    /// Gives everything back as one list of each kind, ClusterSets first, and forgets it.
    pub fn take(&mut self) -> Vec<BoardEvent> {
        let Self { told, objects } = std::mem::take(self);
        let mut lists: BTreeMap<Kind, Vec<Sighting>> =
            told.into_iter().map(|kind| (kind, Vec::new())).collect();
        for ((kind, _), object) in objects {
            lists.entry(kind).or_default().push(object);
        }
        lists.into_iter().map(|(kind, objects)| BoardEvent::Listed(kind, objects)).collect()
    }
}

#[cfg(test)]
mod tests {
    use sealane_broker::trouble::Trouble;

    use super::*;

    fn object(name: &str, word: u64) -> Sighting {
        Sighting { name: name.to_owned(), spec: word.into(), oversize: None }
    }

    #[test]
    fn a_host_that_is_never_seen_does_not_make_the_board_grow() {
        let mut early = Early::default();
        for turn in 0..10_000 {
            early.keep(BoardEvent::Unreachable {
                url: "u".to_owned(),
                trouble: Trouble::CredentialRefused,
            });
            early.keep(BoardEvent::Listed(Kind::Advertisement, vec![object("b.g1", turn)]));
            early.keep(BoardEvent::Written(Kind::Advertisement, object("b.g2", turn)));
        }
        early.keep(BoardEvent::Written(Kind::ClusterSet, object("sealane", 1)));
        assert_eq!(
            early.take(),
            [
                BoardEvent::Listed(Kind::ClusterSet, vec![object("sealane", 1)]),
                BoardEvent::Listed(
                    Kind::Advertisement,
                    vec![object("b.g1", 9999), object("b.g2", 9999)]
                ),
            ]
        );
        assert_eq!(early.take(), []);
    }

    #[test]
    fn what_went_away_or_is_missing_in_a_later_list_is_not_told() {
        let mut early = Early::default();
        let both = vec![object("b.g1", 1), object("b.g2", 1)];
        early.keep(BoardEvent::Listed(Kind::Advertisement, both));
        early.keep(BoardEvent::Gone(Kind::Advertisement, "b.g1".to_owned()));
        early.keep(BoardEvent::Listed(Kind::ClusterSet, vec![object("sealane", 1)]));
        early.keep(BoardEvent::Listed(Kind::ClusterSet, Vec::new()));
        let ads = BoardEvent::Listed(Kind::Advertisement, vec![object("b.g2", 1)]);
        assert_eq!(early.take(), [BoardEvent::Listed(Kind::ClusterSet, Vec::new()), ads]);
    }
}
