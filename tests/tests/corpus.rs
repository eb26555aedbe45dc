//! Owns the replay of the fuzz corpus: every committed input of every parser, and the seeds it began with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;

use sealane_tests::fuzz::corpus;
use sealane_tests::fuzz::mutate::Mutator;
use sealane_tests::fuzz::target::ALL;

#[test]
fn no_committed_input_makes_a_parser_panic_and_some_is_accepted_and_some_refused() {
    for target in ALL {
        let inputs = corpus::inputs(target).unwrap();
        let outcomes: BTreeSet<bool> =
            inputs.iter().map(|(_, input)| (target.run)(input).accepted).collect();
        assert_eq!(outcomes, BTreeSet::from([false, true]), "{}", target.name);
    }
}

#[test]
fn the_corpus_holds_the_seeds_of_every_target_and_nothing_of_others() {
    let root = corpus::folder(&ALL[0]).parent().unwrap().to_owned();
    let folders: BTreeSet<String> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<String> = ALL.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(folders, names);
    for target in ALL {
        let inputs = corpus::inputs(target).unwrap();
        for (name, seed) in (target.seeds)() {
            let kept = inputs.iter().find(|(kept, _)| kept == name);
            let kept = kept.unwrap_or_else(|| panic!("{}/{name} is missing", target.name));
            assert!(kept.1 == seed, "{}/{name}: run fuzz --write-seeds", target.name);
        }
    }
}

#[test]
fn a_thousand_mutations_of_each_corpus_panic_nowhere() {
    for target in ALL {
        let inputs = corpus::inputs(target).unwrap();
        let mut mutator = Mutator::new(7);
        for _ in 0..1_000 {
            let (one, other) = (mutator.pick(inputs.len()), mutator.pick(inputs.len()));
            (target.run)(&mutator.mutate(&inputs[one].1, &inputs[other].1));
        }
    }
}
