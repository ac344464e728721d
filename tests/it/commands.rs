//! `docs/commands.md` names exactly the keys that the verbs print.

use std::collections::BTreeSet;

use super::direct::Direct;
use super::servers::{Farebox, free_port};

/// The keys in the table of the section that begins with this heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md")).unwrap();
    let (_, section) = page.split_once(&format!("\n## `{heading}")).unwrap_or_else(|| panic!("no section `{heading}`"));
    let section = section.split("\n## ").next().unwrap();
    let cells = section.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn printed(stdout: &str) -> BTreeSet<String> {
    let rows = stdout.lines().map(|line| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line).unwrap());
    let keys: Vec<BTreeSet<String>> = rows.map(|row| row.keys().cloned().collect()).collect();
    assert!(!keys.is_empty() && keys.iter().all(|row| *row == keys[0]), "{stdout}");
    keys[0].clone()
}

#[test]
fn the_page_of_commands_names_every_key() {
    let mut direct = Direct::new("[[account]]\nid = \"acme\"\n");
    direct.write(["{".to_owned()]);
    direct.query("INSERT INTO {db}.sources SELECT '{db}', 'id', '1', now64(3)");
    direct.write([r#"{"id":"1","time":"2026-03-10T10:00:00Z","account":"acme","agent":"bot","category":"llm"}"#.to_owned()]);
    direct.apply("[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_call = \"1\"\n", false);
    let mut farebox = Farebox::new(&format!("127.0.0.1:{}", free_port()), &direct.clickhouse.url());
    farebox.set("clickhouse.database", direct.database.clone()).set("kafka.topic", direct.database.clone());
    farebox.run(&["credits", "grant", "acme", "5", "--key", "k"]).expect_success();
    for (heading, line) in [
        ("farebox usage", vec!["usage", "acme", "--from", "2026-03-10", "--to", "2026-03-10"]),
        ("farebox rerate", vec!["rerate", "--all", "--from", "2026-03-10", "--to", "2026-03-10"]),
        ("farebox credits history", vec!["credits", "history", "acme"]),
        ("farebox credits balance", vec!["credits", "balance"]),
        ("farebox doctor", vec!["doctor"]),
        ("farebox config show", vec!["config", "show"]),
        ("farebox rejected list", vec!["rejected", "list"]),
        ("farebox verify", vec!["verify"]),
    ] {
        let output = farebox.run(&[&line[..], &["--format", "json"]].concat());
        assert_eq!(printed(&output.stdout), documented(heading), "{heading}: {}", output.stderr);
    }
}
