//! What can go wrong with ClickHouse, told so that the caller knows what to do and a person knows the remedy.

use std::time::Duration;

/// What the caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The server cannot be reached or is overloaded: wait and try again.
    Retry,
    /// Mended by editing the configuration or by `farebox migrate`: exit code 78.
    Configuration,
    /// Anything else: exit code 1, or a stop of the partition.
    Halt,
}

/// An error of the store. Never shows a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot be used.
    #[error("[clickhouse] {setting}: {reason}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("ClickHouse at {server} cannot be reached: {reason}")]
    Unreachable {
        /// Scheme, host and port.
        server: String,
        /// What the network said.
        reason: String,
    },
    /// No complete answer in time.
    #[error("ClickHouse at {server} did not answer within {} s", after.as_secs_f32())]
    Timeout {
        /// Scheme, host and port.
        server: String,
        /// How long we waited.
        after: Duration,
    },
    /// The server does not accept user and password, or the user may not do this.
    #[error("ClickHouse at {server} refuses user `{user}`: {message}; set `user` and `password` in [clickhouse]")]
    Refused {
        /// Scheme, host and port.
        server: String,
        /// The user we came as.
        user: String,
        /// What the server said.
        message: String,
    },
    /// The user is known and may not do this.
    #[error("ClickHouse at {server} does not let user `{user}` do this: {message}")]
    Denied {
        /// Scheme, host and port.
        server: String,
        /// The user we came as.
        user: String,
        /// What the server said.
        message: String,
    },
    /// A database, table, view or column that the schema has is not there.
    #[error("ClickHouse at {server}: database `{database}` does not have farebox's schema ({message}); run `farebox migrate`")]
    Schema {
        /// Scheme, host and port.
        server: String,
        /// The database we asked.
        database: String,
        /// What the server said.
        message: String,
    },
    /// The server said no.
    #[error("ClickHouse answers with error {code}: {message}")]
    Server {
        /// ClickHouse's error code; 0 when the answer named none.
        code: u32,
        /// Its first line.
        message: String,
    },
    /// The answer was not what the question asks for.
    #[error("ClickHouse's answer cannot be read: {0}")]
    Answer(String),
    /// A migration was recorded with other text than this binary has.
    #[error("migration {number} `{name}` was applied with other text than this farebox has; use the farebox that applied it")]
    MigrationChanged {
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
    },
    /// The server stored nothing although it said success, under every token that we may use.
    #[error("`{key}` was not stored in `{table}`: ClickHouse answered success ten times and has no such row")]
    Burnt {
        /// The table.
        table: String,
        /// The key of the entry.
        key: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => Disposition::Retry,
            Self::Setting { .. } | Self::Refused { .. } | Self::Schema { .. } | Self::MigrationChanged { .. } => {
                Disposition::Configuration
            }
            Self::Server { code, .. } if BUSY.contains(code) => Disposition::Retry,
            Self::Denied { .. } | Self::Server { .. } | Self::Answer(_) | Self::Burnt { .. } => Disposition::Halt,
        }
    }
}

/// Codes that pass by themselves: too slow, too many queries, memory, too many parts, a network within the server, read-only for now, stopping.
const BUSY: [u32; 10] = [159, 202, 203, 209, 210, 241, 242, 252, 425, 236];

/// Sorts an answer that is no success.
pub(super) fn of_answer(server: &str, user: &str, database: &str, status: u16, code: u32, body: &[u8]) -> Error {
    let message = first_line(body);
    let code = if code == 0 { code_in(&message) } else { code };
    let message = message.split_once("DB::Exception: ").map_or(message.as_str(), |(_, reason)| reason).to_owned();
    match code {
        // a right that was not granted: the server names it
        497 => Error::Denied { server: server.to_owned(), user: user.to_owned(), message },
        // unknown user, wrong or missing password, authentication failed
        192..=194 | 516 => Error::Refused { server: server.to_owned(), user: user.to_owned(), message },
        // unknown column, unknown table, unknown database
        16 | 47 | 60 | 81 => Error::Schema { server: server.to_owned(), database: database.to_owned(), message },
        0 if matches!(status, 401 | 403) => Error::Refused { server: server.to_owned(), user: user.to_owned(), message },
        0 if matches!(status, 502..=504) => {
            Error::Unreachable { server: server.to_owned(), reason: format!("HTTP status {status}") }
        }
        0 if message.is_empty() => Error::Answer(format!("HTTP status {status}")),
        _ => Error::Server { code, message },
    }
}

/// The first line of an exception, without code and version, at most 500 characters.
fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    let text = text.trim_start_matches(['\r', '\n']);
    let text = text.strip_prefix("__exception__").unwrap_or(text);
    let line =
        text.lines().map(str::trim).find(|line| line.contains("Exception")).or_else(|| text.lines().next()).unwrap_or_default();
    let line = line.split(" (version ").next().unwrap_or_default();
    line.trim_end_matches(['.', ' ']).chars().take(500).collect()
}

fn code_in(message: &str) -> u32 {
    let digits = message.split_once("Code: ").map_or("", |(_, rest)| rest);
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, code: u32, body: &str) -> Error {
        of_answer("http://h:1", "me", "farebox", status, code, body.as_bytes())
    }

    #[test]
    fn an_answer_becomes_what_a_person_can_do() {
        let refused =
            of(401, 194, "Code: 194. DB::Exception: default: Authentication failed: password is incorrect\n\nIf you use…");
        assert!(matches!(refused, Error::Refused { .. }) && refused.disposition() == Disposition::Configuration);
        assert!(refused.to_string().contains("`password` in [clickhouse]"), "{refused}");
        let missing = of(404, 81, "Code: 81. DB::Exception: Database nope does not exist. (UNKNOWN_DATABASE) (version 26.7.2.1)");
        assert!(missing.to_string().ends_with("run `farebox migrate`"), "{missing}");
        assert!(!missing.to_string().contains("version"), "{missing}");
        assert!(matches!(of(500, 0, "__exception__\r\nabc\r\nCode: 60. DB::Exception: Unknown table"), Error::Schema { .. }));
        assert_eq!(of(500, 252, "Code: 252. DB::Exception: Too many parts").disposition(), Disposition::Retry);
        assert_eq!(of(500, 62, "Code: 62. DB::Exception: Syntax error").disposition(), Disposition::Halt);
        assert_eq!(of(503, 0, "").disposition(), Disposition::Retry);
        assert_eq!(of(418, 0, "").disposition(), Disposition::Halt);
    }
}
