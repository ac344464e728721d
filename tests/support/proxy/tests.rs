//! The proxy's own tests.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;

use super::message::{Buffered, read_request};
use super::{Do, Proxy, SOON, When, Wire, eventually, exception, free_port, listen};

/// A server that answers each request with its own length.
fn echo() -> u16 {
    let port = free_port();
    let listener = listen(port);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut from = Buffered::new(&stream);
                while let Ok(Some(request)) = read_request(&mut from) {
                    let body = format!("{}:{}", request.sql, request.token);
                    let _ = (&stream).write_all(
                        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
                            .as_bytes(),
                    );
                }
            });
        }
    });
    port
}

fn ask(proxy: &Proxy, target: &str, body: &str) -> String {
    let attempt = || -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))?;
        write!(stream, "POST {target} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    attempt().unwrap_or_else(|error| error.kind().to_string())
}

#[test]
fn a_rule_concerns_the_requests_that_it_names_and_no_other() {
    let proxy = Proxy::http(echo());
    let insert = "/?insert_deduplication_token=a%2Fb&query=INSERT%20INTO%20batches%20(x)%20FORMAT%20Native";
    assert!(ask(&proxy, insert, "body").contains("INSERT INTO batches (x) FORMAT Native:a/b"));
    assert!(ask(&proxy, "/", "SELECT 1").contains("SELECT 1:\r\n"));

    let rule = proxy.on(When::insert("batches").skip(1).times(1), Do::Answer(exception(500, 241, "MEMORY")));
    assert!(ask(&proxy, insert, "").contains("200 OK"));
    assert!(ask(&proxy, "/", "SELECT 1").contains("200 OK"));
    assert!(ask(&proxy, insert, "").contains("Code: 241"));
    assert!(ask(&proxy, insert, "").contains("200 OK"));
    assert_eq!(rule.hits(), 1);
    rule.remove();

    let _ = proxy.on(When::insert("batches"), Do::Change(|request| request.strip("insert_deduplication_token")));
    assert!(ask(&proxy, insert, "").contains("Native:\r\n"));
    proxy.clear();
    let _ = proxy.on(When::question("SELECT"), Do::CutAnswer(0));
    assert_eq!(ask(&proxy, "/", "SELECT 1"), "");
}

#[test]
fn what_is_held_goes_on_or_breaks_when_told_and_a_cut_network_refuses() {
    let proxy = Proxy::http(echo());
    thread::scope(|scope| {
        let rule = proxy.on(When::question("1").times(1), Do::HoldRequest);
        let waiting = scope.spawn(|| ask(&proxy, "/", "SELECT 1"));
        rule.wait_until_held();
        assert!(ask(&proxy, "/", "SELECT 1").contains("200 OK"), "only one is held");
        rule.let_go();
        assert!(waiting.join().unwrap().contains("200 OK"));
        let rule = proxy.on(When::question("2").times(1), Do::HoldAnswer);
        let waiting = scope.spawn(|| ask(&proxy, "/", "SELECT 2"));
        rule.wait_until_held();
        rule.cut();
        assert_eq!(waiting.join().unwrap(), "");
    });
    proxy.refuse(true);
    assert_eq!(ask(&proxy, "/", "SELECT 1"), "connection refused");
    proxy.refuse(false);
    assert!(ask(&proxy, "/", "SELECT 1").contains("200 OK"));
}

#[test]
fn raw_bytes_stall_and_break_where_told() {
    let proxy = Proxy::raw(echo());
    assert!(ask(&proxy, "/", "SELECT 1").contains("200 OK"));
    proxy.wire(Wire { cut_answer_after: Some(12), ..Wire::default() });
    assert_eq!(ask(&proxy, "/", "SELECT 1"), "HTTP/1.1 200");
    assert!(ask(&proxy, "/", "SELECT 1").contains("SELECT 1"), "cut once");
    proxy.wire(Wire { stalled: true, ..Wire::default() });
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&proxy, "/", "SELECT 1"));
        eventually(SOON, || if proxy.accepted() == 4 { Ok(()) } else { Err(proxy.accepted()) });
        proxy.wire(Wire::default());
        assert!(waiting.join().unwrap().contains("200 OK"));
    });
}
