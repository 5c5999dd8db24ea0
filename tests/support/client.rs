//! An HTTP/1.1 client that shows requests and answers byte by byte and header by header.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::{conformance, secrets};

/// Long enough for any answer on a busy machine; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A kept-alive connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    /// Whether answers are compared with the OpenAPI document.
    checked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// In order, with lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} stands there twice");
        value
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A request as text: head and body, with `Content-Length` if there is a body.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), checked: true })
    }

    /// For a server whose answers the document does not describe.
    pub fn unchecked(self) -> Self {
        Self { checked: false, ..self }
    }

    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends raw bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        secrets::sent(bytes);
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer; `head_only` for answers to `HEAD`.
    pub fn receive(&mut self, head_only: bool) -> io::Result<Reply> {
        let line = self.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").ok_or_else(|| io::Error::other(line.clone()))?;
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        if !head_only && status != 204 {
            let length = reply.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            reply.body = vec![0; length];
            self.stream.read_exact(&mut reply.body)?;
            secrets::received(&reply.body);
        }
        Ok(reply)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn answer_to(&mut self, method: &str, path: &str) -> io::Result<Reply> {
        let reply = self.receive(method == "HEAD")?;
        if self.checked {
            conformance::check(method, path, &reply);
        }
        Ok(reply)
    }

    /// Sends a request and returns its answer or error.
    pub fn try_call(
        &mut self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> io::Result<Reply> {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let mut headers = Vec::new();
        if let Some(authorization) = &authorization {
            headers.push(("Authorization", authorization.as_str()));
        }
        let body = body.map(|body| {
            headers.push(("Content-Type", "application/json"));
            body.to_string().into_bytes()
        });
        self.send_raw(&request(method, path, &headers, body.as_deref()))?;
        self.answer_to(method, path)
    }

    /// Sends a request and returns its answer.
    pub fn call(&mut self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Reply {
        self.try_call(method, path, token, body).unwrap()
    }

    /// Sends a request with exactly these headers and returns its answer.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Reply {
        self.send_raw(&request(method, path, headers, body)).unwrap();
        self.answer_to(method, path).unwrap()
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Reply {
        self.call("POST", path, None, Some(body))
    }
}
