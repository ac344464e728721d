//! A file of events, one JSON document a line, replayed as if it were a partition.

use std::io::{self, BufRead};

use super::Chunk;
use crate::model::{Record, Timestamp};

/// Reads up to `lines_max` more lines as records: the offset is the number of the line, counted from `first`, the timestamp
/// `received_at` for all. A final line without a line break counts; an empty line is a record with an empty value.
///
/// # Errors
/// What reading gives; bytes that are not text are no error here.
pub fn read_lines(input: &mut impl BufRead, first: i64, lines_max: usize, received_at: Timestamp) -> io::Result<Chunk> {
    let mut chunk = Chunk::default();
    let mut line = Vec::new();
    for offset in (first..).take(lines_max) {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        chunk.push(&Record { offset, timestamp: received_at, leader_epoch: -1, key: None, value: Some(text), headers: Vec::new() });
    }
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_record_and_the_last_needs_no_line_break() {
        let mut input: &[u8] = b"{}\r\n\n\xff";
        let chunk = read_lines(&mut input, 5, 10, Timestamp::from_millis(9)).expect("memory can be read");
        let read: Vec<_> = chunk.iter().map(|record| (record.offset, record.value)).collect();
        assert_eq!(read, [(5, Some(&b"{}"[..])), (6, Some(&b""[..])), (7, Some(&b"\xff"[..]))]);
        assert!(read_lines(&mut input, 8, 10, Timestamp::from_millis(9)).expect("memory can be read").is_empty());
    }
}
