//! The program over a real control channel.

use std::{
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
};

use o7s::control::{
    Body, Decoder, Envelope, HelloOk, IpcpConfig, IpcpJoined, IpcpType, LayerInfo, REQUEST_MAX,
    VERSION, encode,
};
use rustix::process::{Pid, Signal, kill_process};

fn start() -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_ipcpd"))
        .args(["--type", "local", "--name", "l", "--log-level", "error"])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    (child, ours)
}

fn next(stream: &mut UnixStream, decoder: &mut Decoder) -> (u64, Body) {
    loop {
        if let Some((envelope, _)) = decoder.next_envelope().unwrap() {
            return (envelope.id, envelope.body.unwrap());
        }
        let mut buffer = [0; 512];
        let length = stream.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "the IPCP is gone");
        decoder.push(&buffer[..length], []);
    }
}

fn send(stream: &mut UnixStream, id: u64, body: Body) {
    let envelope = Envelope {
        id,
        fds: 0,
        body: Some(body),
    };
    stream.write_all(&encode(&envelope)).unwrap();
}

#[test]
fn an_ipcp_that_cannot_run_says_why() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut stream = ours.try_clone().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ipcpd"))
        .args(["--type", "local", "--name", "l", "--log-level", "error"])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut decoder = Decoder::new(REQUEST_MAX);
    next(&mut stream, &mut decoder);
    // A frame that is too long.
    stream.write_all(&[0xff; 8]).unwrap();
    match next(&mut stream, &mut decoder) {
        (0, Body::Failure(failure)) => assert!(!failure.message.is_empty()),
        other => panic!("{other:?}"),
    }
    drop((stream, ours));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn greets_works_and_ends_with_its_channel() {
    let (mut child, mut stream) = start();
    let mut decoder = Decoder::new(REQUEST_MAX);
    match next(&mut stream, &mut decoder) {
        (1, Body::Hello(hello)) => assert_eq!(hello.version, VERSION),
        other => panic!("{other:?}"),
    }
    send(&mut stream, 1, Body::HelloOk(HelloOk::default()));
    let config = IpcpConfig {
        ipcp_type: IpcpType::Local.into(),
        layer: LayerInfo {
            name: "home".to_owned(),
            dir_hash: 0,
        },
        ..IpcpConfig::default()
    };
    send(&mut stream, 5, Body::IpcpBootstrap(config.clone()));
    let answer = next(&mut stream, &mut decoder);
    let joined = IpcpJoined {
        layer: config.layer,
        shares_segments: true,
    };
    assert_eq!(answer, (5, Body::IpcpJoined(joined)));
    drop(stream);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn ends_on_sigterm_only() {
    let (mut child, mut stream) = start();
    let mut decoder = Decoder::new(REQUEST_MAX);
    next(&mut stream, &mut decoder);
    let pid = Pid::from_child(&child);
    for signal in [Signal::INT, Signal::HUP] {
        kill_process(pid, signal).unwrap();
    }
    send(&mut stream, 5, Body::Status(o7s::control::Empty {}));
    assert!(matches!(
        next(&mut stream, &mut decoder),
        (5, Body::Failure(_))
    ));
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn garbage_ends_it() {
    let (mut child, mut stream) = start();
    stream.write_all(&[0xff; 64]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn needs_a_channel_and_a_type_that_exists() {
    let run = |kind: &str| {
        Command::new(env!("CARGO_BIN_EXE_ipcpd"))
            .args(["--type", kind, "--name", "l"])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    for (kind, expected) in [
        ("local", "no control channel"),
        ("eth-dix", "no control channel"),
        ("wrong", "the types are local, unicast"),
    ] {
        let output = run(kind);
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expected), "{said}");
    }
}
