//! Pages whose commands and questions are run one after the other, and whose answers are what comes of it. `UPDATE_DOCS=1` writes the
//! answers anew; then read the difference by hand.

use std::path::{Path, PathBuf};
use std::{env, fs};

use super::direct::{Direct, NOW};
use super::servers::{Farebox, free_port};

/// A database and its configuration, as somebody has them who follows a page.
pub struct Reader {
    pub direct: Direct,
    pub farebox: Farebox,
}

impl Reader {
    pub fn new(price_book: &str) -> Self {
        let direct = Direct::new(price_book);
        let mut farebox = Farebox::new(&format!("127.0.0.1:{}", free_port()), &direct.clickhouse.url());
        farebox.set("clickhouse.database", direct.database.clone());
        Self { direct, farebox }
    }

    /// What a line says. What `send` is given is metered here; it and entries that carry the moment of now say nothing.
    fn command(&mut self, line: &str) -> String {
        let is_file = |word: &str| [".toml", ".jsonl"].iter().any(|end| word.ends_with(end));
        let path = |word: &str| self.farebox.path(word).display().to_string();
        let words: Vec<String> = line.split(' ').map(|word| if is_file(word) { path(word) } else { word.to_owned() }).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let ["send", file] = words[..] {
            let (_, counts) = self.direct.write(fs::read_to_string(file).unwrap().lines().map(str::to_owned));
            assert_eq!(counts.received, counts.accepted, "{line}");
            close_sessions(&self.direct);
            return String::new();
        }
        let output = self.farebox.run(&words).expect_success();
        match words[..] {
            ["apply", ..] => self.direct.take_book(),
            ["credits", "grant" | "adjust" | "refund", ..] => return String::new(),
            _ => {}
        }
        let talk = if words[0] == "credits" { String::new() } else { output.stderr };
        output.stdout.replace('\r', "") + &talk
    }

    /// The answer to a question, as text of lines.
    fn answer(&self, question: &str) -> String {
        let question = question.replace("farebox.", "{db}.");
        let shown = format!("{question} FORMAT PrettySpaceNoEscapesMonoBlock SETTINGS output_format_pretty_row_numbers = 0");
        self.direct.query(&shown).trim_matches('\n').lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// Runs what a text has, block by block, and gives the text with the answers of this run: files with a name (`toml name`, `json name`), lines
    /// of `console`, and questions (`sql`) with the `text` behind them.
    pub fn follow(&mut self, text: &str) -> String {
        let (mut expected, mut rest) = (String::new(), text);
        while let Some((before, block)) = rest.split_once("```") {
            let (block, after) = block.split_once("\n```\n").expect("the block ends");
            let (head, body) = block.split_once('\n').unwrap_or((block, ""));
            expected += before;
            rest = after;
            match head.split_once(' ').unwrap_or((head, "")) {
                ("toml" | "json", name) if name.contains('.') => {
                    self.farebox.write(name, body);
                }
                ("console", _) => {
                    expected += "```console\n";
                    for line in body.lines().filter_map(|line| line.strip_prefix("$ farebox ")) {
                        expected += &format!("$ farebox {line}\n{}", self.command(line));
                    }
                    expected += "```\n";
                    continue;
                }
                ("sql", _) => {
                    let (_, after) =
                        rest.split_once("```text\n").and_then(|(_, answer)| answer.split_once("```\n")).expect("an answer");
                    expected += &format!("```{block}\n```\n\n```text\n{}```\n", self.answer(body));
                    rest = after;
                    continue;
                }
                _ => {}
            }
            expected += &format!("```{block}\n```\n");
        }
        expected + rest
    }
}

/// Everything was read up to [`NOW`], so that sessions that ended two days before are closed.
pub fn close_sessions(direct: &Direct) {
    direct.query(&format!(
        "INSERT INTO {{db}}.batches (source_epoch, topic, topic_id, offset_to, received, accepted, kind, record_time_max) \
         VALUES ('1', '{{db}}', 'id', 4, 4, 4, 'batch', '{}')",
        NOW.trim_end_matches('Z')
    ));
    direct.query("INSERT INTO {db}.sources SELECT '{db}', 'id', '1', now64(3)");
}

/// Compares a page with what it should be; writes it when that is asked for.
pub fn check(page: &str, expected: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == expected, "{page} differs from:\n{expected}");
}

#[test]
fn both_recipes_lead_from_nothing_to_the_balance_that_the_page_shows() {
    const PAGE: &str = "docs/billing.md";
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let mut expected = String::new();
    for (at, part) in page.split("\n## ").enumerate() {
        expected += &if at == 0 { part.to_owned() } else { format!("\n## {}", Reader::new("").follow(part)) };
    }
    check(PAGE, &expected);
    // By hand: 3 × 0.5 + 2 + 0.5 + 2 + 6 × 0.25 = 7.5 of 50; and 3 × 2.5 + 0.6 × 10 + 2 × 0.2 + 2 × 4 = 21.9 of 500.
    assert!(expected.contains("acme        50.00  7.50    42.50\n"), "{expected}");
    assert!(expected.contains("globex     500.00  21.90   478.10\n"), "{expected}");
}
