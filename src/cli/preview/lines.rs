//! The file of a preview: opened with care, read line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};

/// A longer line is no event by any setting that makes sense, and must not fill the memory.
const LINE_BYTES_MAX: usize = 4 << 20;
const BUFFER_BYTES: usize = 256 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Lines of a file, with how far they were read.
pub(super) struct Lines {
    input: BufReader<File>,
    line_bytes: usize,
    /// Bytes read.
    pub(super) done: u64,
    /// Bytes of the whole file; none for a pipe.
    pub(super) total: Option<u64>,
}

/// Opens a file of events.
///
/// # Errors
/// What cannot be one: nothing, a folder, an empty file, a binary file.
pub(super) fn open(path: &Path) -> anyhow::Result<Lines> {
    const REMEDY: &str = "give a file with one JSON event a line";
    let name = path.display();
    let cannot = || format!("cannot read the events in `{name}`");
    let file = File::open(path).with_context(cannot)?;
    let about = file.metadata().with_context(cannot)?;
    if about.is_dir() {
        bail!("`{name}` is a folder; {REMEDY}");
    }
    let total = about.is_file().then_some(about.len());
    let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
    let beginning = input.fill_buf().with_context(cannot)?;
    if beginning.is_empty() {
        bail!("`{name}` is empty; {REMEDY}");
    }
    if beginning.starts_with(&GZIP) || beginning.starts_with(&ZSTD) {
        let tool = if beginning.starts_with(&GZIP) { "gzip -dc" } else { "zstd -dc" };
        bail!("`{name}` is compressed; unpack it on the way: {tool} {name} | farebox preview /dev/stdin");
    }
    if let Some(at) = beginning.iter().position(|byte| *byte == 0) {
        bail!("`{name}` is no text, byte {at} of it is zero; {REMEDY}");
    }
    Ok(Lines { input, line_bytes: 0, done: 0, total })
}

impl Read for Lines {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?.read(out)?;
        self.consume(bytes);
        Ok(bytes)
    }
}

impl BufRead for Lines {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.line_bytes > LINE_BYTES_MAX {
            let text = format!("a line is longer than {} MiB; one event is one line, not an array of them", LINE_BYTES_MAX >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        let taken = self.input.buffer().get(..bytes).unwrap_or_default();
        self.line_bytes = match taken.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => taken.len() - at - 1,
            None => self.line_bytes + taken.len(),
        };
        self.done += bytes as u64;
        self.input.consume(bytes);
    }
}
