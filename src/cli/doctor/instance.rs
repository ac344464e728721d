//! What the instance on this machine says of itself, when one listens where the configuration says.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Finding;
use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let Some(listen) = config.metrics.listen else { return Vec::new() };
    let asked = tokio::time::timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(listen).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await.ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await.ok()?;
        Some(page)
    });
    match asked.await {
        Ok(Some(page)) if page.contains("\nfarebox_") => of_page(&page, &listen.to_string()),
        _ => Vec::new(), // none runs here, or its name is another
    }
}

/// Alarms and guards that are not at zero.
fn of_page(page: &str, listen: &str) -> Vec<Finding> {
    let raised = |name: &str| -> Vec<String> {
        let series = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("{kind=\"")?.split_once("\"} "));
        series.filter(|(_, count)| count.trim() != "0").map(|(kind, count)| format!("{kind} ({})", count.trim())).collect()
    };
    let mut findings = Vec::new();
    for (name, what, remedy) in [
        ("farebox_alarms_total", "alarms", "docs/exactly-once.md says what each means; they count since the instance started"),
        ("farebox_guards_tripped_total", "guards", "docs/exactly-once.md says what to do about each kind of stop"),
    ] {
        let kinds = raised(name);
        findings.push(if kinds.is_empty() {
            Finding::ok(what, format!("none since the instance at {listen} started"))
        } else {
            Finding::warn(what, format!("the instance at {listen} raised {}", kinds.join(", ")), remedy)
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn what_an_instance_has_raised_is_told() {
        let page = "# HELP x\nfarebox_alarms_total{kind=\"gap\"} 0\nfarebox_alarms_total{kind=\"rewound\"} 2\nfarebox_guards_tripped_total{kind=\"doubt\"} 0\n";
        let findings = of_page(page, "127.0.0.1:1");
        assert_eq!((findings[0].state, findings[1].state), (State::Warn, State::Ok));
        assert!(findings[0].found.ends_with("raised rewound (2)") && !findings[0].remedy.is_empty(), "{findings:?}");
    }
}
