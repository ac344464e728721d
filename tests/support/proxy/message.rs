//! HTTP/1.1 as far as our clients and ClickHouse speak it: requests with a length, answers with a length or in chunks.

use std::io::{self, Read};
use std::net::TcpStream;

use super::broken;

/// An HTTP request, read whole.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
    /// The query: the parameter of that name, else the body.
    pub sql: String,
    pub query_id: String,
    pub token: String,
}

impl Request {
    pub fn new(head: String, body: Vec<u8>) -> Self {
        let mut request = Self { head, body, sql: String::new(), query_id: String::new(), token: String::new() };
        let of = |name: &str| request.parameter(name).unwrap_or_default();
        let (query_id, token) = (of("query_id"), of("insert_deduplication_token"));
        let sql = request.parameter("query").unwrap_or_else(|| String::from_utf8_lossy(&request.body).into_owned());
        (request.sql, request.query_id, request.token) = (sql, query_id, token);
        request
    }

    /// The table that it inserts into.
    pub fn table(&self) -> Option<&str> {
        self.sql.strip_prefix("INSERT INTO ")?.split([' ', '(']).next()
    }

    pub fn inserts_into(&self, table: &str) -> bool {
        self.table() == Some(table)
    }

    fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.target().split_once('?')?;
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(decoded(found))
    }

    /// Takes parameters of the query string away.
    pub fn strip(&mut self, name: &str) {
        let target = self.target().to_owned();
        let Some((path, query)) = target.split_once('?') else { return };
        let kept: Vec<&str> = query.split('&').filter(|pair| pair.split('=').next() != Some(name)).collect();
        self.head = self.head.replacen(&target, &format!("{path}?{}", kept.join("&")), 1);
    }

    /// Gives a parameter of the query string another value, which needs no escaping.
    pub fn set(&mut self, name: &str, value: &str) {
        self.strip(name);
        self.head = self.head.replacen('?', &format!("?{name}={value}&"), 1);
    }

    /// Other text in place of the body's, wherever it stands there.
    pub fn replace_in_body(&mut self, from: &str, to: &str) {
        let body = String::from_utf8_lossy(&self.body).replace(from, to).into_bytes();
        let length = format!("\r\ncontent-length: {}\r\n", self.body.len());
        let found = self.head.to_ascii_lowercase().find(&length).expect("the request has a length");
        self.head.replace_range(found..found + length.len(), &format!("\r\ncontent-length: {}\r\n", body.len()));
        self.body = body;
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), &self.body].concat()
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = (first == b'%').then(|| tail.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &tail[2..]).0,
            None => (bytes.push(first), rest = tail).0,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads from a stream up to marks and lengths; what is read too far is kept.
pub struct Buffered<'a> {
    stream: &'a TcpStream,
    pub bytes: Vec<u8>,
}

impl<'a> Buffered<'a> {
    pub fn new(stream: &'a TcpStream) -> Self {
        Self { stream, bytes: Vec::new() }
    }

    /// Whether there was more.
    pub fn read_more(&mut self) -> io::Result<bool> {
        let mut piece = [0; 1 << 16];
        let length = self.stream.read(&mut piece)?;
        self.bytes.extend_from_slice(&piece[..length]);
        Ok(length > 0)
    }

    pub fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.bytes.len() < length {
            if !self.read_more()? {
                return Err(broken("ended early"));
            }
        }
        let rest = self.bytes.split_off(length);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    /// Up to and with the mark; none when the stream ends before the first byte.
    pub fn take_through(&mut self, mark: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            if let Some(found) = self.bytes[searched..].windows(mark.len()).position(|window| window == mark) {
                return self.take(searched + found + mark.len()).map(Some);
            }
            searched = self.bytes.len().saturating_sub(mark.len() - 1);
            if !self.read_more()? {
                return if self.bytes.is_empty() { Ok(None) } else { Err(broken("ended early")) };
            }
        }
    }
}

pub fn read_head(from: &mut Buffered<'_>) -> io::Result<Option<String>> {
    let head = from.take_through(b"\r\n\r\n")?;
    Ok(head.map(|head| String::from_utf8_lossy(&head).into_owned()))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn length(head: &str) -> Option<usize> {
    header(head, "content-length")?.parse().ok()
}

pub fn read_request(from: &mut Buffered<'_>) -> io::Result<Option<Request>> {
    let Some(head) = read_head(from)? else { return Ok(None) };
    let body = from.take(length(&head).unwrap_or(0))?;
    Ok(Some(Request::new(head, body)))
}

/// The bytes of one answer as they came.
pub fn read_answer(from: &mut Buffered<'_>) -> io::Result<Vec<u8>> {
    let head = read_head(from)?.ok_or_else(|| broken("the server closed"))?;
    let mut answer = head.clone().into_bytes();
    if header(&head, "transfer-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked")) {
        loop {
            let line = from.take_through(b"\r\n")?.ok_or_else(|| broken("ended early"))?;
            let digits = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(digits.trim(), 16).map_err(|_| broken("not a chunk"))?;
            answer.extend_from_slice(&line);
            answer.extend(from.take(size + 2)?); // with its line end
            if size == 0 {
                return Ok(answer);
            }
        }
    }
    match length(&head) {
        Some(length) => answer.extend(from.take(length)?),
        None => while from.read_more()? {},
    }
    answer.append(&mut from.bytes);
    Ok(answer)
}
