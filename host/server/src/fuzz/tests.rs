use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// The seeds of one door, which the fuzzer starts from as well.
fn seeds(door: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(door);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder:?} has no seeds");
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[test]
fn every_door_takes_or_refuses_its_seeds() {
    for (name, door) in DOORS {
        seeds(name).iter().for_each(|seed| door(seed));
    }
}

#[test]
fn some_seeds_of_each_decoder_are_valid() {
    let taken = |door: &str, takes: fn(&[u8]) -> bool| {
        assert!(seeds(door).iter().any(|seed| takes(seed)), "{door}");
    };
    taken("structured", |seed| {
        cloudevents::from_structured(&Bytes::copy_from_slice(seed)).is_ok()
    });
    taken("batch", |seed| {
        cloudevents::from_batch(&Bytes::copy_from_slice(seed), 9).is_ok_and(|all| !all.is_empty())
    });
    let text = |seed: &[u8]| String::from_utf8(seed.to_vec()).unwrap();
    // The files that they name are not beside them, which is one fault.
    for seed in seeds("config") {
        let faults = Config::parse(Path::new("/none/weir.toml"), &text(&seed)).err();
        assert!(faults.is_none_or(|faults| faults.0.len() == 1));
    }
    for seed in seeds("manifest") {
        let file = Path::new("/none/handler.toml");
        let faults = Manifest::parse(file, &text(&seed), &Config::default()).err();
        assert!(faults.is_none_or(|faults| faults.0.len() == 1));
    }
}

/// One change to a seed.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
    Cut(Index),
    /// Goes on as another seed does.
    Splice(Index, Index),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<Index>;
    // What the formats are made of, more often than chance would bring it.
    let piece = prop_oneof![
        vec(any::<u8>(), 1..8),
        prop::sample::select(vec![
            "\"",
            "\\u0000",
            "\\ud800",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "null",
            "1e999",
            "-0",
            "%00",
            "%",
            "\n",
            "ce-",
            "ce_",
            "=",
            "[[",
            "]]",
            "''",
            "\u{feff}",
            "data_base64",
            "data",
            "time",
            "\u{0}",
            "\u{7f}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let edit = prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), piece).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (at(), 1_usize..20).prop_map(|(at, count)| Edit::Remove(at, count)),
        (at(), 1_usize..200).prop_map(|(at, count)| Edit::Repeat(at, count)),
        at().prop_map(Edit::Cut),
        (at(), at()).prop_map(|(at, seed)| Edit::Splice(at, seed)),
    ];
    vec(edit, 1..6)
}

fn apply(edits: Vec<Edit>, mut bytes: Vec<u8>, seeds: &[Vec<u8>]) -> Vec<u8> {
    for edit in edits {
        let at = |index: &Index| index.index(bytes.len() + 1);
        match edit {
            Edit::Set(index, byte) => {
                let at = at(&index);
                if let Some(old) = bytes.get_mut(at) {
                    *old = byte;
                }
            }
            Edit::Insert(index, piece) => {
                let at = at(&index);
                bytes.splice(at..at, piece);
            }
            Edit::Remove(index, count) => {
                let at = at(&index);
                let end = bytes.len().min(at + count);
                bytes.drain(at..end);
            }
            Edit::Repeat(index, count) => {
                let at = at(&index);
                let end = bytes.len().min(at + 10);
                let piece = bytes[at..end].repeat(count);
                bytes.splice(at..at, piece);
            }
            Edit::Cut(index) => {
                let at = at(&index);
                bytes.truncate(at);
            }
            Edit::Splice(index, seed) => {
                let at = at(&index);
                let other = seed.get(seeds);
                bytes.truncate(at);
                bytes.extend(&other[at.min(other.len())..]);
            }
        }
    }
    bytes
}

proptest! {
    #[test]
    fn no_mutation_of_a_seed_breaks_a_door(changes in vec((edits(), any::<Index>()), DOORS.len())) {
        for ((name, door), (edits, seed)) in DOORS.into_iter().zip(changes) {
            let seeds = seeds(name);
            let bytes = apply(edits, seed.get(&seeds).clone(), &seeds);
            door(&bytes);
        }
    }

    #[test]
    fn no_noise_breaks_a_door(bytes in vec(any::<u8>(), 0..500)) {
        for (_, door) in DOORS {
            door(&bytes);
        }
    }
}
