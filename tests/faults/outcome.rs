//! What a fault did, for the table of outcomes: one line of JSON for each test that passed.
//!
//! Lines go to the file that `FAULT_OUTCOMES` names; without it nothing is written. A test records as its last act, behind the
//! comparison with the naive fold: a line says that the comparison held.

use std::fs::File;
use std::io::Write as _;

use super::oracle::Totals;

/// What was measured. `lost` and `doubled` are 0 wherever the comparison with the naive fold was made, because it fails otherwise.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    pub records: u64,
    pub lost: u64,
    pub doubled: u64,
    pub note: String,
}

/// Anything that can say how many records a fault met.
pub trait Measured {
    fn numbers(&self) -> Numbers;
}

impl Measured for Numbers {
    fn numbers(&self) -> Numbers {
        self.clone()
    }
}

impl Measured for Totals {
    fn numbers(&self) -> Numbers {
        let records = self.partitions.values().map(|partition| partition.received).sum();
        Numbers { records, ..Numbers::default() }
    }
}

/// Totals with a word about what was seen besides.
impl Measured for (&Totals, &str) {
    fn numbers(&self) -> Numbers {
        Numbers { note: self.1.to_owned(), ..self.0.numbers() }
    }
}

/// Records what `times` faults of this name did.
pub fn record(fault: &str, times: u64, measured: &impl Measured) {
    let Some(path) = std::env::var_os("FAULT_OUTCOMES") else { return };
    let Numbers { records, lost, doubled, note } = measured.numbers();
    let line = serde_json::json!({
        "fault": fault, "times": times, "records": records, "lost": lost, "doubled": doubled, "note": note
    });
    let mut file = File::options().create(true).append(true).open(&path).unwrap();
    // In one piece: tests write side by side.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The same for faults that one run met together: each is given its share of the records, so that no record counts twice.
pub fn record_shared<S: AsRef<str>>(faults: &[(S, u64)], measured: &impl Measured) {
    let all = measured.numbers();
    let count = faults.len() as u64;
    for ((fault, times), n) in faults.iter().zip(0..) {
        let records = all.records * (n + 1) / count - all.records * n / count;
        record(fault.as_ref(), *times, &Numbers { records, ..all.clone() });
    }
}
