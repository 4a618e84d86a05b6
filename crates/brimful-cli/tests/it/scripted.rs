//! A server that does exactly what a test tells it, byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request that the server read whole.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// 0 for the first request of all, on whatever connection.
    pub(crate) number: usize,
    /// Such as `POST /v1/chat/completions HTTP/1.1`.
    pub(crate) line: String,
    /// Header lines in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What to do about a request.
pub(crate) enum Reply {
    /// Write this and wait for the next request.
    Send(Vec<u8>),
    /// Write this and close.
    SendAndClose(Vec<u8>),
}

type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

/// Listens on a free port until it is dropped.
pub(crate) struct Scripted {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    stopping: AtomicBool,
}

impl Scripted {
    pub(crate) fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { return };
                serving.connections.fetch_add(1, Ordering::Relaxed);
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.connection(stream));
            }
        });
        Self { address, shared }
    }

    /// Such as `http://127.0.0.1:4321/v1`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// `http://127.0.0.1:4321`.
    pub(crate) fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _woken = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn connection(&self, stream: TcpStream) {
        // A client that says nothing must not hold a thread for ever.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        loop {
            let Some((line, head, body)) = read_request(&mut reader) else {
                return;
            };
            let seen = {
                let mut all = self.seen.lock().unwrap();
                let seen = Seen {
                    number: all.len(),
                    line,
                    head,
                    body,
                };
                all.push(seen.clone());
                seen
            };
            // A client that has left does not care.
            match (self.script)(&seen) {
                Reply::Send(bytes) => {
                    let _gone = writer.write_all(&bytes);
                }
                Reply::SendAndClose(bytes) => {
                    let _gone = writer.write_all(&bytes);
                    let _gone = writer.shutdown(Shutdown::Both);
                    return;
                }
            }
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, String)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
    let mut head = String::new();
    loop {
        let mut header = String::new();
        reader
            .read_line(&mut header)
            .ok()
            .filter(|&read| read > 0)?;
        if header == "\r\n" {
            break;
        }
        head.push_str(&header.to_ascii_lowercase());
    }
    let length = head
        .lines()
        .find_map(|header| header.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).unwrap();
    Some((line.trim_end().to_owned(), head, body))
}

/// A chat answer's body.
pub(crate) fn chat(text: &str) -> String {
    serde_json::json!({
        "id": "c", "object": "chat.completion", "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    })
    .to_string()
}

/// A whole reply.
pub(crate) fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: \
         {length}\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A whole answer to a chat.
pub(crate) fn answer(text: &str) -> Vec<u8> {
    reply("200 OK", "", chat(text).as_bytes())
}

/// `data` as gzip has it, not compressed.
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    let mut bytes = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
    let blocks = data.chunks(0xFFFF);
    let last = blocks.len().saturating_sub(1);
    for (at, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        bytes.push(u8::from(at == last));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&(!length).to_le_bytes());
        bytes.extend_from_slice(block);
    }
    bytes.extend_from_slice(&(!crc).to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes
}
