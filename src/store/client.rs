//! HTTP to ClickHouse: one request, one answer, no repetition of its own.
//!
//! Holds: an insert is sent once, whole, with `Content-Length`; every request ends within its timeout; what is not plainly a success is an
//! error. Absent on purpose: retries. Whoever sends knows what it means to send again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::http::{HeaderMap, HeaderValue};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::{Error, of_answer};
use super::stream::{From, Stream};
use super::{Insert, Settings};

/// A connection idle for longer is not used again: below every server's keep-alive, so that a request does not meet a closed one.
const IDLE: Duration = Duration::from_secs(2);

/// How a block is inserted so that it becomes one part, whole or not at all, under its token.
pub(super) const INSERT_SETTINGS: [(&str, &str); 11] = [
    ("async_insert", "0"),
    ("wait_end_of_query", "1"),
    ("send_progress_in_http_headers", "0"),
    ("insert_deduplicate", "1"),
    ("use_strict_insert_block_limits", "0"),
    ("max_insert_block_size", "1048449"),
    ("min_insert_block_size_rows", "1048449"),
    ("min_insert_block_size_bytes", "268402944"),
    ("max_insert_threads", "1"),
    ("input_format_parallel_parsing", "0"),
    ("optimize_on_insert", "0"),
];

/// Questions are many and small: one thread, and no code that is compiled for them, save a third of what they cost the server.
const READ_SETTINGS: [(&str, &str); 9] = [
    ("max_threads", "1"),
    ("compile_expressions", "0"),
    ("compile_aggregate_expressions", "0"),
    ("default_format", "JSONEachRow"),
    ("wait_end_of_query", "1"),
    ("send_progress_in_http_headers", "0"),
    ("output_format_json_quote_64bit_integers", "0"),
    ("output_format_json_quote_decimals", "1"),
    ("date_time_output_format", "simple"),
];

/// For answers that are handed on while they come.
const STREAM_SETTINGS: [(&str, &str); 7] = [
    ("wait_end_of_query", "0"),
    ("http_write_exception_in_output_format", "0"),
    ("send_progress_in_http_headers", "0"),
    ("output_format_json_quote_64bit_integers", "0"),
    ("output_format_json_quote_decimals", "1"),
    ("output_format_csv_crlf_end_of_line", "1"),
    ("date_time_output_format", "iso"),
];

pub(super) struct Client {
    hyper: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    server: String,
    user: String,
    password: HeaderValue,
    user_header: HeaderValue,
    pub(super) database: String,
    insert_timeout: Duration,
    query_timeout: Duration,
    queries: AtomicU64,
    process: u64,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let server = server_of(&settings.url)?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.connect_timeout));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls(settings)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let hyper = HyperClient::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(https);
        let header = |setting: &'static str, value: &str| {
            HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| Error::Setting { setting, reason: "holds a control character".to_owned() })
        };
        let mut password = header("password", settings.password.expose())?;
        password.set_sensitive(true);
        let mut process = [0; 8];
        getrandom::fill(&mut process)
            .map_err(|error| Error::Setting { setting: "url", reason: format!("no randomness: {error}") })?;
        Ok(Self {
            hyper,
            server,
            user: settings.user.clone(),
            password,
            user_header: header("user", &settings.user)?,
            database: settings.database.clone(),
            insert_timeout: settings.insert_timeout,
            query_timeout: settings.query_timeout,
            queries: AtomicU64::new(0),
            process: u64::from_le_bytes(process),
        })
    }

    /// A statement or question; `database` false for one that makes the database.
    pub(super) async fn query(&self, sql: &str, params: &[(&str, &str)], database: bool) -> Result<Bytes, Error> {
        let mut query = Query::new(&READ_SETTINGS);
        if database {
            query.add("database", &self.database);
        }
        for (name, value) in params {
            query.add(&format!("param_{name}"), &escaped(value));
        }
        let body = Bytes::copy_from_slice(sql.as_bytes());
        self.send(&query, body, self.query_timeout).await
    }

    /// A question whose answer is handed on while it comes.
    pub(super) async fn stream(&self, sql: &str, params: &[(&str, &str)], format: &str) -> Result<Stream, Error> {
        let mut query = Query::new(&STREAM_SETTINGS);
        query.add("database", &self.database);
        query.add("default_format", format);
        for (name, value) in params {
            query.add(&format!("param_{name}"), &escaped(value));
        }
        let request = self.request(&query, Bytes::copy_from_slice(sql.as_bytes()))?;
        let exchange = async { self.hyper.request(request).await.map_err(|error| self.unreachable(&error)) };
        let answer = tokio::time::timeout(self.query_timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(Error::Timeout { server: self.server.clone(), after: self.query_timeout }))?;
        let (head, body) = answer.into_parts();
        let code = code_of(&head.headers);
        if head.status.as_u16() != 200 || head.headers.contains_key(EXCEPTION_CODE) {
            let body = tokio::time::timeout(self.query_timeout, body.collect()).await;
            let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
            return Err(of_answer(&self.server, &self.user, &self.database, head.status.as_u16(), code, &body));
        }
        let from = From {
            server: self.server.clone(),
            user: self.user.clone(),
            database: self.database.clone(),
            silence_max: self.query_timeout,
        };
        let tag = head.headers.get("x-clickhouse-exception-tag").and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        Ok(Stream::new(body, from, tag))
    }

    /// One block under a token.
    pub(super) async fn insert(&self, table: &str, columns: &str, format: &str, token: &str, body: Bytes) -> Insert {
        let mut query = Query::new(&INSERT_SETTINGS);
        query.add("database", &self.database);
        query.add("insert_deduplication_token", token);
        query.add("query_id", &self.query_id(token));
        query.add("query", &format!("INSERT INTO {table} ({columns}) FORMAT {format}"));
        match self.send(&query, body, self.insert_timeout).await {
            Ok(answer) if answer.is_empty() => Insert::Done,
            Ok(answer) => Insert::Doubt(of_answer(&self.server, &self.user, &self.database, 200, 0, &answer)),
            Err(error) => Insert::Doubt(error),
        }
    }

    /// Unique in the world, and tells whose insert it is: the token, `#`, this process, a counter.
    fn query_id(&self, token: &str) -> String {
        format!("{token}#{:016x}-{}", self.process, self.queries.fetch_add(1, Ordering::Relaxed))
    }

    fn request(&self, query: &Query, body: Bytes) -> Result<Request<Full<Bytes>>, Error> {
        Request::post(format!("{}/?{}", self.server, query.text))
            .header("x-clickhouse-user", &self.user_header)
            .header("x-clickhouse-key", &self.password)
            .body(Full::new(body))
            .map_err(|error| Error::Setting { setting: "url", reason: error.to_string() })
    }

    async fn send(&self, query: &Query, body: Bytes, timeout: Duration) -> Result<Bytes, Error> {
        let request = self.request(query, body)?;
        let exchange = async {
            let answer = self.hyper.request(request).await.map_err(|error| self.unreachable(&error))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| self.unreachable(&error))?.to_bytes();
            let names_exception = head.headers.contains_key(EXCEPTION_CODE);
            if head.status.as_u16() != 200 || names_exception || holds_exception(&body) {
                let code = code_of(&head.headers);
                return Err(of_answer(&self.server, &self.user, &self.database, head.status.as_u16(), code, &body));
            }
            Ok(body)
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(Error::Timeout { server: self.server.clone(), after: timeout }))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Error {
        let mut deepest = error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        Error::Unreachable { server: self.server.clone(), reason: deepest.to_string() }
    }
}

const EXCEPTION_CODE: &str = "x-clickhouse-exception-code";

/// ClickHouse's code of the exception that is the answer; 0: none is named.
fn code_of(headers: &HeaderMap) -> u32 {
    headers.get(EXCEPTION_CODE).and_then(|code| code.to_str().ok()).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// A server that fails while it answers puts the exception behind what it has already sent.
fn holds_exception(body: &[u8]) -> bool {
    const MARK: &[u8] = b"__exception__\r\n";
    body.len() >= MARK.len() && body.windows(MARK.len()).any(|window| window == MARK)
}

fn server_of(url: &str) -> Result<String, Error> {
    let wrong = |reason: &str| Error::Setting { setting: "url", reason: reason.to_owned() };
    let uri: hyper::Uri = url.parse().map_err(|_| wrong("is not a URL such as http://127.0.0.1:8123"))?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
    let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else {
        return Err(wrong("is not a URL such as http://127.0.0.1:8123"));
    };
    if authority.as_str().contains('@') {
        return Err(wrong("holds a user; write `user` and `password` instead"));
    }
    if !matches!(uri.path_and_query().map_or("/", |path| path.as_str()), "/") {
        return Err(wrong("has a path; only scheme, host and port are used"));
    }
    let port = if authority.port().is_some() {
        ""
    } else if scheme == "https" {
        ":8443"
    } else {
        ":8123"
    };
    Ok(format!("{scheme}://{authority}{port}"))
}

fn tls(settings: &Settings) -> Result<rustls::ClientConfig, Error> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Setting { setting: "url", reason: error.to_string() })?;
    if settings.ca_file.as_os_str().is_empty() {
        use hyper_rustls::ConfigBuilderExt;
        return Ok(builder.with_webpki_roots().with_no_client_auth());
    }
    let wrong =
        |reason: String| Error::Setting { setting: "ca_file", reason: format!("`{}`: {reason}", settings.ca_file.display()) };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&settings.ca_file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

struct Query {
    text: String,
}

impl Query {
    fn new(settings: &[(&str, &str)]) -> Self {
        let mut query = Self { text: String::with_capacity(1024) };
        for (name, value) in settings {
            query.add(name, value);
        }
        query
    }

    fn add(&mut self, name: &str, value: &str) {
        if !self.text.is_empty() {
            self.text.push('&');
        }
        self.encode(name);
        self.text.push('=');
        self.encode(value);
    }

    fn encode(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => self.text.push(char::from(byte)),
                _ => {
                    self.text.push('%');
                    self.text.push(char::from(HEX[usize::from(byte >> 4)]));
                    self.text.push(char::from(HEX[usize::from(byte & 15)]));
                }
            }
        }
    }
}

/// A parameter's value as ClickHouse reads it: a field of tab-separated text.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for char in value.chars() {
        match char {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\0' => text.push_str("\\0"),
            _ => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_scheme_host_and_port_only() {
        assert_eq!(server_of("http://127.0.0.1:8123").expect("plain"), "http://127.0.0.1:8123");
        assert_eq!(server_of("http://[::1]/").expect("default port"), "http://[::1]:8123");
        assert_eq!(server_of("https://db.example").expect("default port"), "https://db.example:8443");
        for wrong in ["", "db", "ftp://db", "http://me:secret@db", "http://db/path", "http://db/?user=x"] {
            let error = server_of(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("[clickhouse] url: ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn any_text_survives_the_query_string() {
        let mut query = Query::new(&[("a", "1")]);
        query.add("b c", "ä&=\n");
        assert_eq!(query.text, "a=1&b%20c=%C3%A4%26%3D%0A");
        assert_eq!(escaped("a\\b\tc\n"), "a\\\\b\\tc\\n");
    }

    #[test]
    fn an_exception_behind_rows_is_seen() {
        assert!(holds_exception(b"{\"a\":1}\n__exception__\r\nabc\r\nCode: 1"));
        assert!(!holds_exception(b"{\"a\":\"__exception__\"}\n") && !holds_exception(b""));
    }
}
