//! Hostile input, file by file: each is named for what it is and lies in the folder of what must become of it.
//!
//! The same bodies run on mutations of the files, and as targets of a fuzzer (fuzz/README.md), for which the files are seeds.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/bodies.rs"]
mod bodies;

use std::fs;
use std::path::{Path, PathBuf};

use farebox::model::Reason;
use proptest::prelude::*;
use proptest::sample::Index;

/// Every file of a corpus: the folder it lies in, its path, its bytes.
fn corpus(name: &str) -> Vec<(String, PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let mut found = Vec::new();
    for folder in fs::read_dir(&root).unwrap() {
        let folder = folder.unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            found.push((folder.file_name().to_string_lossy().into_owned(), path, bytes));
        }
    }
    found.sort();
    assert!(found.len() > 10, "{} files in {}", found.len(), root.display());
    found
}

fn check_reasons(name: &str, body: fn(&[u8]) -> Result<(), Reason>) {
    let mut wrong = String::new();
    for (folder, path, bytes) in corpus(name) {
        let became = body(&bytes).map_or_else(Reason::as_str, |()| "accepted");
        if became != folder {
            wrong += &format!("{}: {became}\n", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn check_refusals(name: &str, body: fn(&[u8]) -> Result<(), String>) {
    let mut wrong = String::new();
    for (folder, path, bytes) in corpus(name) {
        let became = body(&bytes);
        if became.is_ok() != (folder == "accepted") {
            wrong += &format!("{}: {became:?}\n", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn events_become_what_their_folder_says() {
    check_reasons("events", bodies::event);
}

#[test]
fn cloud_events_become_what_their_folder_says() {
    check_reasons("cloudevents", bodies::cloud_event);
}

#[test]
fn price_books_become_what_their_folder_says() {
    check_refusals("books", bodies::price_book);
}

#[cfg(feature = "service")]
#[test]
fn configurations_become_what_their_folder_says() {
    check_refusals("configurations", bodies::configuration);
}

/// What an attacker, a disk or a cable does to bytes.
#[derive(Debug, Clone)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
    Copy(Index, Index, Index),
    End(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let telling = proptest::sample::select(b"{}[]\",:\\u0d8e-.+\n\0\xff\x7f= #'".to_vec());
    let byte = prop_oneof![any::<u8>(), telling];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), proptest::collection::vec(byte, 1..20)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Cut(from, to)),
        (any::<Index>(), any::<Index>(), any::<Index>()).prop_map(|(from, to, at)| Mutation::Copy(from, to, at)),
        any::<Index>().prop_map(Mutation::End),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let len = bytes.len();
    let range = |a: &Index, b: &Index| {
        let (a, b) = (a.index(len + 1), b.index(len + 1));
        a.min(b)..a.max(b)
    };
    match mutation {
        Mutation::Set(at, byte) if len > 0 => bytes[at.index(len)] = *byte,
        Mutation::Set(..) => {}
        Mutation::Insert(at, more) => drop(bytes.splice(at.index(len + 1)..at.index(len + 1), more.iter().copied())),
        Mutation::Cut(from, to) => drop(bytes.drain(range(from, to))),
        Mutation::Copy(from, to, at) => {
            let copied: Vec<u8> = bytes[range(from, to)].iter().take(2_000).copied().collect();
            let at = at.index(len + 1);
            bytes.splice(at..at, copied);
        }
        Mutation::End(at) => bytes.truncate(at.index(len + 1)),
    }
}

/// A file of the corpus, changed a few times.
fn changed(name: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let files: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, _, bytes)| bytes).filter(|bytes| bytes.len() < 4_000).collect();
    (proptest::sample::select(files), proptest::collection::vec(mutation(), 0..6)).prop_map(|(mut bytes, mutations)| {
        mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn changed_events_break_no_promise(bytes in changed("events")) {
        let _ = bodies::event(&bytes);
    }

    #[test]
    fn changed_cloud_events_break_no_promise(bytes in changed("cloudevents")) {
        let _ = bodies::cloud_event(&bytes);
    }

    #[test]
    fn changed_price_books_break_no_promise(bytes in changed("books")) {
        let _ = bodies::price_book(&bytes);
    }
}

#[cfg(feature = "service")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_configurations_break_no_promise(bytes in changed("configurations")) {
        let _ = bodies::configuration(&bytes);
    }
}
