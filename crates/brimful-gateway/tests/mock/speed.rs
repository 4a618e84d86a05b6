//! How fast it is.

use brimful_gateway::mock::MockServer;
use brimful_sim::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::rig::{chat, post};

/// Prints requests a second with the server on one thread and 64 clients on another:
/// `cargo test -p brimful-gateway --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn requests_a_second() {
    const CLIENTS: usize = 64;
    const EACH: usize = 5_000;
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (found, addr) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = std::thread::spawn(move || -> Option<f64> {
        runtime().block_on(async {
            let config = ServerConfig::default();
            let server = MockServer::bind(([127, 0, 0, 1], 0).into(), config, 1).unwrap();
            found
                .send((server.local_addr().unwrap(), server.account()))
                .unwrap();
            server.serve(async { stopped.await.unwrap_or(()) }).await;
        });
        // Linux alone tells what one thread has used; its first figure is in nanoseconds.
        let usage = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        usage.split(' ').next()?.parse().ok()
    });
    let (addr, account) = addr.recv().unwrap();
    let prompt = "Summarise the following sentence in at most ten words: the quick brown fox jumps \
                  over the lazy dog. ";
    let start = std::time::Instant::now();
    runtime().block_on(async {
        let clients: Vec<JoinHandle<()>> = (0..CLIENTS)
            .map(|client| {
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(addr).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut seen = Vec::with_capacity(4_096);
                    for turn in 0..EACH {
                        let body = chat(&format!("{prompt}{client}-{turn}"));
                        stream
                            .write_all(&post("/v1/chat/completions", &body, ""))
                            .await
                            .unwrap();
                        seen.clear();
                        // The body's last word; cheaper than reading the length.
                        while !seen.ends_with(b"\"fp_mock\"}") {
                            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    drop(stop);
    let cpu_ns = server.join().unwrap();
    let requests = (CLIENTS * EACH) as f64;
    assert_eq!(account.stats().answered as f64, requests);
    println!("{:.0} requests/s", requests / seconds);
    if let Some(cpu_ns) = cpu_ns {
        println!(
            "{:.2} µs of CPU in the server a request",
            cpu_ns / requests / 1e3
        );
    }
}
