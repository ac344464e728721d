#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::super::plan::tests::{apply, at, files};
use super::super::{parse, plan};
use super::*;
use crate::model::Timestamp;

const NOW: &str = "2026-03-01T00:00:00Z";

#[track_caller]
fn assert_changes_nothing(book: &Book, now: Timestamp) {
    let text = book.to_file();
    let file = parse(&text, "exported.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    let plan = plan(book, &file, now, "bob", Timestamp::default(), false).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(plan.is_empty() && plan.absent.is_empty(), "{plan:?}\n{text}");
}

#[test]
fn the_example_survives_its_way_through_the_book() {
    let example = include_str!("../../config/book.example.toml");
    let (book, _) = apply(&Book::empty(), example, NOW);
    assert_changes_nothing(&book, at(NOW));
    let (again, _) = apply(&Book::empty(), &book.to_file(), NOW);
    let said = |book: &Book| {
        let mut rows: Vec<String> = book.rows().iter().map(|row| format!("{row:?}")).collect();
        rows.sort();
        rows
    };
    assert_eq!(said(&again), said(&book));
}

#[test]
fn names_are_quoted_whatever_they_hold() {
    let text = "[[account]]\nid = \"a \\\"b\\\" \\\\ 'c' ü 🙂\"\nname = '''it's \"x\"'''\n";
    let (book, _) = apply(&Book::empty(), text, NOW);
    assert_changes_nothing(&book, at(NOW));
}

#[test]
fn a_version_tells_who_changed_what_and_from_when() {
    let price = |cost: &str| format!("[[session_price]]\naccount = \"*\"\nunit_session_cost = \"{cost}\"\n");
    let (book, _) = apply(&Book::empty(), &price("1"), "2026-01-01T00:00:00Z");
    let (book, _) = apply(&book, &price("2"), NOW);
    let shown: Vec<(u64, String, Vec<String>)> = book
        .versions()
        .into_iter()
        .map(|version| (version.version, version.applied_at, version.changes.iter().map(ToString::to_string).collect()))
        .collect();
    assert_eq!(
        shown,
        [
            (1, "2026-01-01T00:00:00Z".to_owned(), vec!["+ session_price * *: unit_session_cost 1, for all time".to_owned()]),
            (2, NOW.to_owned(), vec![format!("~ session_price * *: unit_session_cost 1 -> 2, from {NOW}")]),
        ]
    );
}

proptest! {
    #[test]
    fn applying_the_exported_file_changes_nothing_whatever_was_applied_before(files in files(), later in 0_i64..200) {
        let mut book = Book::empty();
        for (month, text) in files.iter().enumerate() {
            let now = at(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", NOW, "2026-04-01T00:00:00Z"][month]);
            let Ok(planned) = plan(&book, &parse(text, "b").unwrap(), now, "ann", Timestamp::default(), true) else { continue };
            book = Book::from_rows([book.rows(), &planned.rows].concat());
            assert_changes_nothing(&book, now.plus_millis(later * 86_400_000));
        }
    }
}
