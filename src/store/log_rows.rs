//! Events of `usage_log` in ClickHouse's format RowBinary, read in place: many times cheaper than JSON.

use crate::model::{Credits, Day, Given, Quantity, Timestamp};
use crate::price::Logged;

/// What is asked for, in the order in which [`parse`] reads.
pub(super) const COLUMNS: &str = "account, day, event_time, toString(platform), toString(agent), toString(category), toString(model), duration_ms, \
     input_tokens, cached_input_tokens, output_tokens, quantity, credits, given, cost, priced, price_version";

/// The first row and its length; `None`: it has not come whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Logged<'_>, usize)>, &'static str> {
    let mut rest = Rest(bytes);
    let Some(row) = row(&mut rest) else { return Ok(None) };
    row.map(|logged| Some((logged, bytes.len() - rest.0.len())))
}

fn row<'a>(rest: &mut Rest<'a>) -> Option<Result<Logged<'a>, &'static str>> {
    let account = rest.text()?;
    let (day, time) = (rest.array().map(u16::from_le_bytes)?, rest.array().map(i64::from_le_bytes)?);
    let words = [rest.text()?, rest.text()?, rest.text()?, rest.text()?];
    let mut number = || rest.array().map(u64::from_le_bytes);
    let [duration_ms, input_tokens, cached_input_tokens, output_tokens] = [number()?, number()?, number()?, number()?];
    let mut decimal = || rest.array().map(i128::from_le_bytes);
    let (quantity, credits) = (decimal()?, decimal()?);
    let ([given], cost) = (rest.array()?, rest.array().map(i128::from_le_bytes)?);
    let ([priced], price_version) = (rest.array()?, rest.array().map(u64::from_le_bytes)?);
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| "text that is not UTF-8");
    let all = || {
        let [platform, agent, category, model] = words;
        Ok(Logged {
            account: text(account)?,
            day: Day::from_epoch_days(day.into()),
            time: Timestamp::from_millis(time),
            platform: text(platform)?,
            agent: text(agent)?,
            category: text(category)?,
            model: text(model)?,
            duration_ms,
            input_tokens,
            cached_input_tokens,
            output_tokens,
            quantity: Quantity::from_nanos(quantity),
            credits: Credits::from_nanos(credits),
            given: Given::from_bits(given),
            cost: Credits::from_nanos(cost),
            priced: priced != 0,
            price_version,
        })
    };
    Some(all())
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// A length of 7 bits a byte, the least first, and so many bytes.
    fn text(&mut self) -> Option<&'a [u8]> {
        let mut length = 0_usize;
        for shift in (0..usize::BITS - 7).step_by(7) {
            let [byte] = self.array()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let (text, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                return Some(text);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let long = "m".repeat(300);
        let mut bytes = vec![4];
        bytes.extend_from_slice("acme".as_bytes());
        bytes.extend_from_slice(&20_500_u16.to_le_bytes());
        bytes.extend_from_slice(&(-1_i64).to_le_bytes());
        for text in ["web", "", "llm"] {
            bytes.push(text.len() as u8);
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&[0xac, 0x02]); // 300
        bytes.extend_from_slice(long.as_bytes());
        for number in 1..=4_u64 {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for decimal in [5_i128, 8] {
            bytes.extend_from_slice(&decimal.to_le_bytes());
        }
        bytes.push(9);
        bytes.extend_from_slice(&6_i128.to_le_bytes());
        bytes.push(1);
        bytes.extend_from_slice(&7_u64.to_le_bytes());
        bytes
    }

    #[test]
    fn a_row_is_read_once_it_has_come_whole() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Ok(None), "{length}");
        }
        let (row, length) = parse(&[bytes.as_slice(), b"more"].concat())
            .map(|row| row.map(|(row, length)| (row.output_tokens, length)))
            .expect("text")
            .expect("whole");
        assert_eq!((row, length), (4, bytes.len()));
        let (row, _) = parse(&bytes).expect("text").expect("whole");
        assert_eq!((row.account, row.platform, row.agent, row.category, row.model.len()), ("acme", "web", "", "llm", 300));
        assert_eq!((row.day.epoch_days(), row.time.millis(), row.quantity.nanos(), row.cost.nanos()), (20_500, -1, 5, 6));
        assert_eq!((row.credits.nanos(), row.given.bits()), (8, 9));
        assert_eq!((row.duration_ms, row.cached_input_tokens, row.priced, row.price_version), (1, 3, true, 7));
    }

    #[test]
    fn text_that_is_none_is_told() {
        let mut bytes = sample();
        bytes[1] = 0xff;
        assert!(parse(&bytes).is_err());
    }
}
