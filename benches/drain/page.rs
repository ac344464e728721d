//! Where figures are written: between marks of docs/speed.md.

use std::path::Path;
use std::{env, fs};

const PAGE: &str = "docs/speed.md";

/// Prints a text; with `WRITE=1` it stands on the page from now on, between the marks of this name.
pub fn show(name: &str, text: &str) {
    print!("{text}");
    if env::var_os("WRITE").is_none() {
        return;
    }
    let (begin, end) = (format!("<!-- {name}: made by a command -->\n"), format!("<!-- end of {name} -->\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{PAGE} lacks {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{PAGE} lacks {end}"));
    fs::write(path, format!("{before}{begin}\n{text}\n{end}{after}")).unwrap();
}

/// What this ran on.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([':', ' ', '\t']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kb: u64 = memory.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0);
    format!("{cores} cores ({model}), {} GB; all servers share them.", kb / 1_000_000)
}
