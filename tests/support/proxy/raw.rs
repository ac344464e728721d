//! Bytes, as they come.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::State;

/// What bytes meet on a raw connection; for all connections, those that stand already too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire {
    /// Nothing moves, in either direction, and no connection breaks.
    pub stalled: bool,
    /// Before each piece, in each direction.
    pub delay: Duration,
    /// After so many more bytes of all connections together, to the server, all connections break; once.
    pub cut_request_after: Option<usize>,
    /// The same for bytes to the client.
    pub cut_answer_after: Option<usize>,
    /// What the server says is thrown away: requests arrive, replies are lost.
    pub swallow_answers: bool,
}

/// Serves a client's connection to its end.
pub fn serve(state: &Arc<State>, connection: u64, client: &TcpStream) -> io::Result<()> {
    let server = state.connect(connection)?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let for_requests = Arc::clone(state);
    let requests = thread::spawn(move || {
        let outcome = pump(&for_requests, &from_client, &to_server, true);
        // Half closed, as it came: the answer may still be under way.
        let _ = to_server.shutdown(Shutdown::Write);
        outcome
    });
    let answers = pump(state, &server, client, false);
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    let _ = requests.join();
    answers
}

fn pump(state: &State, mut from: &TcpStream, mut to: &TcpStream, is_request: bool) -> io::Result<()> {
    let mut piece = vec![0; 1 << 14];
    loop {
        let length = from.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        let mut inner = state.wait_while(|inner| inner.wire.stalled);
        if inner.ended {
            return Ok(());
        }
        let delay = inner.wire.delay;
        let is_swallowed = inner.wire.swallow_answers && !is_request;
        let wire = &mut inner.wire;
        let left = if is_request { &mut wire.cut_request_after } else { &mut wire.cut_answer_after };
        let allowed = left.map_or(length, |left| left.min(length));
        let is_cut = left.is_some_and(|left| left <= length);
        *left = left.filter(|_| !is_cut).map(|left| left - length);
        drop(inner);
        thread::sleep(delay);
        if !is_swallowed {
            to.write_all(&piece[..allowed])?;
        }
        if is_cut {
            state.lock().close_connections();
            return Ok(());
        }
    }
}
