//! The rules that the repository keeps about itself. Needs no server and no feature.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Told everything, answering with values: no clock, network, disk, randomness, threads or logging.
const PURE: [&str; 8] = ["model", "decode", "dedupe", "aggregate", "book", "price", "engine", "ledger"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text files below a folder; what is hidden, built or fetched is left out.
fn texts(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_ours = !name.starts_with('.') || name == ".ci";
        if path.is_dir() {
            if is_ours && !["target", "node_modules"].contains(&name.as_str()) {
                texts(&path, found);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
        }
    }
}

fn all_texts() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    texts(root(), &mut found);
    assert!(found.len() > 50, "the repository was not found");
    found
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    texts(&root().join("src").join(folder), &mut found);
    found.retain(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"));
    found
}

/// Code without its comment lines.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The first segments below `std::` that a file names, those in braces included.
fn std_modules(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for rest in code.split("std::").skip(1) {
        let rest = rest.trim_start();
        match rest.strip_prefix('{') {
            Some(list) => modules.extend(top_level_names(list)),
            None => modules.push(first_word(rest)),
        }
    }
    modules
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn top_level_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && depth == 0 && !c.is_whitespace() => {
                names.push(first_word(&list[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn what_is_looked_for_is_found() {
    let code = code("use std::{fmt, fs::{self, File}, io};\n// use std::net;\nstd::env::var(\"X\")");
    assert_eq!(std_modules(&code), ["fmt", "fs", "io", "env"]);
}

#[test]
fn the_pure_folders_touch_nothing() {
    const MODULES: [&str; 7] = ["fs", "net", "time", "thread", "env", "process", "os"];
    const CRATES: [&str; 7] = ["tokio", "tracing", "rand", "rdkafka", "hyper", "anyhow", "getrandom"];
    const WORDS: [&str; 6] = ["Utc::now", "Local::now", "println!", "eprintln!", "dbg!", "unsafe "];
    let mut wrong = Vec::new();
    for (path, text) in PURE.into_iter().flat_map(sources) {
        let code = code(&text);
        let modules = std_modules(&code);
        wrong.extend(MODULES.iter().filter(|name| modules.iter().any(|module| module == *name)).map(|name| format!("std::{name}")));
        wrong.extend(CRATES.iter().map(|name| format!("{name}::")).filter(|name| {
            // Not as the end of a longer word.
            code.match_indices(name.as_str()).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        }));
        wrong.extend(WORDS.iter().filter(|word| code.contains(*word)).map(|word| (*word).to_owned()));
        assert!(wrong.is_empty(), "{} uses {}", path.display(), wrong.join(", "));
    }
}

#[test]
fn the_pure_folders_use_no_folder_that_is_not() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (path, text) in PURE.into_iter().flat_map(sources) {
        for rest in code(&text).split("crate::").skip(1) {
            let name = first_word(rest);
            let is_module = lib.contains(&format!("pub mod {name};"));
            assert!(!is_module || PURE.contains(&name.as_str()), "{} uses crate::{name}", path.display());
        }
    }
}

#[test]
fn every_folder_says_what_it_is() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let declared = lib.lines().position(|line| line == format!("pub mod {name};"));
        let at = declared.unwrap_or_else(|| panic!("lib.rs does not declare {name}"));
        let above = lib.lines().take(at).collect::<Vec<_>>();
        let says = above.iter().rev().find(|line| !line.starts_with("#[")).is_some_and(|line| line.starts_with("/// "));
        assert!(says, "lib.rs says nothing of {name}");
        let module = fs::read_to_string(path.join("mod.rs")).unwrap();
        assert!(module.starts_with("//! "), "src/{name}/mod.rs has no module documentation");
    }
}

#[test]
fn nothing_is_left_for_later() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for (path, text) in all_texts() {
        for (line, text) in (1..).zip(text.lines()) {
            let left = words.iter().find(|word| text.split(|c: char| !c.is_alphanumeric()).any(|part| part == **word));
            assert!(left.is_none(), "{}:{line}: {text}", path.display());
        }
    }
}

#[test]
fn no_registry_is_named_outside_of_lock_files() {
    // Packages come by name, from wherever the machine's own configuration says.
    let hosts = [
        concat!("crates", ".io"),
        concat!("npmjs", ".org"),
        concat!("npmjs", ".com"),
        concat!("maven", ".org"),
        concat!("repo.maven", ".apache.org"),
        concat!("pypi", ".org"),
        concat!("pythonhosted", ".org"),
        concat!("proxy", ".golang.org"),
        concat!("docker", ".io"),
        concat!("ghcr", ".io"),
        concat!("quay", ".io"),
    ];
    for (path, text) in all_texts() {
        let name = path.file_name().unwrap().to_string_lossy();
        if name.ends_with(".lock") || name.contains("-lock.") {
            continue;
        }
        let named = hosts.iter().find(|host| text.contains(**host));
        assert!(named.is_none(), "{} names {}", path.display(), named.unwrap_or(&""));
    }
}
