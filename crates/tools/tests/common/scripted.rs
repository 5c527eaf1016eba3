//! `irm` with a daemon that answers as a test says.

use std::{
    io::{Read, Write},
    os::unix::net::UnixListener,
    thread,
};

use o7s::control::{Body, Decoder, Envelope, HelloOk, REQUEST_MAX, encode};

use super::{Ran, run_in};

/// Runs `irm` with a daemon that answers so; returns also the requests, but for lists.
pub fn run(line: &str, answer: impl Fn(&Body) -> Body + Send + 'static) -> (Ran, Vec<Body>) {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("irm.sock")).unwrap();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut decoder = Decoder::new(REQUEST_MAX);
        let mut requests = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer).unwrap();
            if length == 0 {
                return requests;
            }
            decoder.push(&buffer[..length], []);
            while let Some((envelope, _)) = decoder.next_envelope().unwrap() {
                let body = envelope.body.unwrap();
                let answer = match &body {
                    Body::Hello(_) => Body::HelloOk(HelloOk::default()),
                    body => answer(body),
                };
                if !matches!(
                    body,
                    Body::Hello(_) | Body::ListIpcps(_) | Body::ListNames(_)
                ) {
                    requests.push(body);
                }
                let frame = encode(&Envelope {
                    id: envelope.id,
                    fds: 0,
                    body: Some(answer),
                });
                stream.write_all(&frame).unwrap();
            }
        }
    });
    let ran = run_in(dir.path(), "irm", line);
    (ran, daemon.join().unwrap())
}
