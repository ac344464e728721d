//! Requests and answers, read whole and passed on as the rules say.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;

use super::message::{Buffered, read_answer, read_request};
use super::rules::Do;
use super::{State, broken};

/// Serves a client's connection to its end.
pub fn serve(state: &State, connection: u64, mut client: &TcpStream) -> io::Result<()> {
    let mut from_client = Buffered::new(client);
    let mut server: Option<TcpStream> = None;
    while let Some(mut request) = read_request(&mut from_client)? {
        let rule = state.decide(&request);
        let what = rule.as_ref().map(|rule| rule.what.clone());
        match (&what, &rule) {
            (Some(Do::HoldRequest | Do::HoldAndChange(_)), Some(rule)) => {
                state.hold(rule)?;
                // Held for long, the server may have closed this one meanwhile.
                server = None;
                if let Some(Do::HoldAndChange(change)) = &what {
                    change(&mut request);
                }
            }
            (Some(Do::Delay(delay)), _) => thread::sleep(*delay),
            (Some(Do::Change(change)), _) => change(&mut request),
            (Some(Do::Answer(answer)), _) => {
                client.write_all(answer)?;
                continue;
            }
            _ => {}
        }
        let mut to_server = match server.take() {
            Some(server) => server,
            None => state.connect(connection)?,
        };
        if let Some(Do::CutRequest(thousandths)) = what {
            let length = request.body.len() * thousandths / 1000;
            to_server.write_all(request.head.as_bytes())?;
            to_server.write_all(&request.body[..length])?;
            return Err(broken("cut in the request"));
        }
        to_server.write_all(&request.bytes())?;
        let answer = read_answer(&mut Buffered::new(&to_server))?;
        server = Some(to_server);
        if let Some(rule) = &rule {
            rule.answered.fetch_add(1, Ordering::SeqCst);
        }
        match (what, &rule) {
            (Some(Do::CutAnswer(bytes)), _) => {
                client.write_all(&answer[..bytes.min(answer.len())])?;
                return Err(broken("cut in the answer"));
            }
            (Some(Do::HoldAnswer), Some(rule)) => {
                state.hold(rule)?;
                client.write_all(&answer)?;
            }
            (Some(Do::Replace(other)), _) => client.write_all(&other)?,
            _ => client.write_all(&answer)?,
        }
    }
    Ok(())
}
