//! A price book for the accounts that `produce` invents: every kind of price, several zones and anchors.

use std::fmt::Write;

use super::generator::{PLATFORMS, REPORTED_EVERY};

const ZONES: [&str; 6] = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"];
const ANCHORS: [&str; 3] = ["00:00", "06:00", "18:30"];
const CHARGES: [&str; 4] = ["[\"sessions\", \"operations\"]", "[\"sessions\"]", "[\"operations\"]", "[\"sessions\", \"training\"]"];

const PRICES: &str = r#"
[[rate]]
account = "*"
category = "llm"
per_1k_input_tokens = "0.4"
per_1k_cached_input_tokens = "0.1"
per_1k_output_tokens = "1.6"

[[rate]]
account = "*"
category = "llm"
model = "gpt-4o"
per_1k_input_tokens = "2.5"
per_1k_output_tokens = "10"

[[rate]]
account = "*"
category = "sql"
per_call = "0.02"
per_second = "0.005"

[[rate]]
account = "*"
category = "text"
per_1k_input_tokens = "0.013"

[[rate]]
account = "*"
category = "document"
per_call = "0.1"
per_1k_input_tokens = "0.05"

[[rate]]
account = "*"
category = "image"
per_unit = "4"

[[rate]]
account = "*"
category = "video"
per_unit = "1.25"

[[rate]]
account = "*"
category = "sound"
per_unit = "0.006"

[[rate]]
account = "*"
category = "music"
per_unit = "0.75"

[[rate]]
account = "*"
category = "training"
per_second = "0.333333333"

[[rate]]
account = "load-1"
category = "llm"
model = "gpt-4o"
per_1k_input_tokens = "2"
per_1k_output_tokens = "8"
"#;

/// The price book of `load-1` … `load-A`, as TOML.
pub fn price_book(accounts: u32) -> String {
    let mut text = String::from("# A price book for the accounts that `farebox produce` invents.\n");
    // Writing into a String never fails.
    for number in 1..=accounts {
        let at = number as usize - 1;
        let _ = write!(
            text,
            "\n[[account]]\nid = \"load-{number}\"\nname = \"Load {number}\"\ntime_zone = \"{}\"\nsession_anchor = \"{}\"\n",
            ZONES[at % ZONES.len()],
            ANCHORS[at % ANCHORS.len()],
        );
        if number % REPORTED_EVERY == 0 {
            text.push_str("operations = \"reported\"\n");
        } else {
            let _ = writeln!(text, "charge = {}", CHARGES[at % CHARGES.len()]);
        }
    }
    for (platform, cost) in PLATFORMS.iter().zip(["0.25", "0.5", "0.4", "0.3", "0.3"]) {
        let _ = write!(text, "\n[[session_price]]\naccount = \"*\"\nplatform = \"{platform}\"\nunit_session_cost = \"{cost}\"\n");
    }
    text.push_str(PRICES);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_toml_with_every_account_in_it() {
        let book: toml::Table = price_book(12).parse().expect("TOML");
        assert_eq!(book["account"].as_array().map(Vec::len), Some(12));
        assert_eq!(book["account"][4]["operations"].as_str(), Some("reported"));
        assert!(book["account"].as_array().is_some_and(|accounts| {
            accounts.iter().all(|account| account["time_zone"].as_str().and_then(crate::model::Zone::parse).is_some())
        }));
    }
}
