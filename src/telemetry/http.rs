//! The listener for `/metrics`, `/livez` and `/readyz`.
//!
//! It shows numbers and states, never names or money, and takes no input beyond the path. It needs no TLS of its own: it
//! listens on the loopback interface unless told otherwise.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Health, Metrics};

/// Why the listener did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {at} for metrics ({source}); give `metrics.listen` another address, or \"\" to turn it off")]
pub struct Error {
    at: SocketAddr,
    source: std::io::Error,
}

/// A bound listener, not yet answering.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Takes the address, so that a port in use is known before anything else begins.
    ///
    /// # Errors
    /// The address cannot be taken.
    pub async fn bind(at: SocketAddr) -> Result<Self, Error> {
        TcpListener::bind(at).await.map(Self).map_err(|source| Error { at, source })
    }

    /// Where it listens; of interest when the port was 0.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers until `stopped` is done.
    ///
    /// # Errors
    /// The listener broke.
    pub async fn serve(
        self,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        axum::serve(self.0, router(metrics, health)).with_graceful_shutdown(stopped).await
    }
}

fn router(metrics: Arc<Metrics>, health: Arc<Health>) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics).with_state(metrics))
        .route("/livez", get(|State(health): State<Arc<Health>>| async move { answer(health.live()) }))
        .route("/readyz", get(|State(health): State<Arc<Health>>| async move { answer(health.ready()) }))
        .with_state(health)
}

async fn show_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn answer(state: Result<(), String>) -> Response {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn fetch(at: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_answers_with_numbers_and_with_the_reason_why_not() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let at = listener.address().unwrap();
        let refused = Listener::bind(at).await.unwrap_err().to_string();
        assert!(refused.contains(&at.to_string()) && refused.contains("metrics.listen"), "{refused}");

        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::new()));
        let serving = tokio::spawn(listener.serve(metrics, Arc::clone(&health), async { drop(stopped.await) }));
        assert!(fetch(at, "/metrics").await.contains("farebox_build_info{version=\""));
        assert!(fetch(at, "/livez").await.starts_with("HTTP/1.1 200"));
        let unready = fetch(at, "/readyz").await;
        assert!(unready.starts_with("HTTP/1.1 503") && unready.contains("ClickHouse does not answer"), "{unready}");
        health.set_assigned(true);
        health.set_schema_current(true);
        health.set_store_writable(true);
        assert!(fetch(at, "/readyz").await.ends_with("ok\n"));
        assert!(fetch(at, "/other").await.starts_with("HTTP/1.1 404"));
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
    }
}
