//! Bad input and exhaustion: the daemon lives, and the others are served.

mod support;

use std::{
    fs,
    io::{IoSlice, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    process::Stdio,
};

use o7s::{
    ErrorKind,
    control::{Body, Connection, Empty, Envelope, NameRef, REQUEST_MAX, encode},
    irm::Irm,
};
use proptest::prelude::*;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use support::*;

fn framed(length: u32, bytes: &[u8]) -> Vec<u8> {
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend_from_slice(bytes);
    frame
}

/// Sends bytes and reads until the daemon closes the connection.
fn closed_after(socket: &std::path::Path, bytes: &[u8]) {
    let mut stream = UnixStream::connect(socket).unwrap();
    // It may be closed before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn bytes_that_are_no_messages() {
    let daemon = start();
    let socket = daemon.dir().socket();
    let hello = Envelope {
        id: 1,
        fds: 0,
        body: Some(Body::Hello(hello("p", false))),
    };
    let good = encode(&hello);
    let announced_fds = Envelope { fds: 3, ..hello };
    for bytes in [
        framed(u32::MAX, b""),
        framed(u32::try_from(REQUEST_MAX).unwrap() + 1, b"x"),
        framed(4, &[0xff; 4]),
        [&good[..], &framed(5, &[0x80; 5])].concat(),
        encode(&announced_fds),
    ] {
        closed_after(&socket, &bytes);
    }
    // Truncated: the client goes first.
    for length in 0..good.len() {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(&good[..length]).unwrap();
    }
    let silent = UnixStream::connect(&socket).unwrap();
    manager(daemon.dir());
    drop(silent);
}

#[test]
fn random_bytes() {
    let daemon = start();
    let socket = daemon.dir().socket();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    runner
        .run(&(bytes, any::<bool>()), |(bytes, frame)| {
            let bytes = if frame {
                framed(u32::try_from(bytes.len()).unwrap(), &bytes)
            } else {
                bytes
            };
            let mut stream = UnixStream::connect(&socket).unwrap();
            // The daemon may close first.
            let _ = stream.write_all(&bytes);
            Ok(())
        })
        .unwrap();
    let mut manager = manager(daemon.dir());
    assert_eq!(status(&mut manager).processes, 0);
}

#[test]
fn descriptors_that_nobody_asked_for_are_not_kept() {
    let daemon = start();
    let mut manager = manager(daemon.dir());
    let before = status(&mut manager).descriptors;
    let mut stream = UnixStream::connect(daemon.dir().socket()).unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    let fds = [file.as_fd(); 8];
    for _ in 0..20 {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let bytes = [IoSlice::new(b"\0")];
        sendmsg(&stream, &bytes, &mut control, SendFlags::empty()).unwrap();
    }
    // The bytes were five empty frames; what follows shows that they were taken.
    let hello = Envelope {
        id: 1,
        fds: 0,
        body: Some(Body::Hello(hello("p", false))),
    };
    stream.write_all(&encode(&hello)).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    assert_eq!(status(&mut manager).descriptors, before + 1);
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    let daemon = start();
    let mut manager = manager(daemon.dir());
    for number in 0..200 {
        let info = o7s::control::NameInfo {
            name: format!("{number:0>200}"),
            ..Default::default()
        };
        manager.call(Body::CreateName(info)).unwrap();
    }
    let mut deaf = Connection::open(daemon.dir(), hello("deaf", false)).unwrap();
    // The daemon closes the connection long before these are all sent.
    let mut sent = 0;
    while deaf.start(Body::ListNames(Empty {})).is_ok() {
        sent += 1;
        assert!(sent < 100_000, "still served");
    }
    assert_eq!(status(&mut manager).names, 200);
}

#[test]
fn a_stranger() {
    if !is_root("a_stranger") {
        return;
    }
    // Everybody may enter the directory of root's daemon.
    let temp = open_tempdir();
    let daemon = builder().dir(temp.path().join("run")).start().unwrap();
    let mut owner = announce(daemon.dir(), "owner");
    bind_own(&mut owner, "owners");
    let program = temp.path().join("stranger");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    allow(&program, 0o755);
    let output = child(&program, "as_stranger", daemon.dir())
        .uid(65_534)
        .gid(65_534)
        .env("OWNER", own_pid().to_string())
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
#[ignore = "run by a_stranger"]
fn as_stranger() {
    let dir = child_dir();
    let irm = Irm::at(dir.clone());
    let refusals = [
        irm.list_names().unwrap_err(),
        irm.status().unwrap_err(),
        irm.create_ipcp("x", o7s::irm::IpcpType::Local).unwrap_err(),
        irm.destroy_name("owners").unwrap_err(),
        irm.bind_program("/bin/sh".as_ref(), "owners", true, &[])
            .unwrap_err(),
        irm.bind_process(std::env::var("OWNER").unwrap().parse().unwrap(), "mine")
            .unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.kind(), ErrorKind::Permission, "{error}");
        assert!(error.to_string().contains("root"), "{error}");
    }
    // Flows are for everybody, and so are own processes.
    let mut own = announce(&dir, "stranger");
    bind_own(&mut own, "mine");
    let accept = own.start(accept_body(None)).unwrap();
    let mut client = further(&dir, "stranger");
    let alloc = client.start(alloc_body("mine", None)).unwrap();
    flow(&mut client, alloc).unwrap();
    flow(&mut own, accept).unwrap();
    // The owner's memory is not shared.
    let alloc = client.start(alloc_body("owners", None)).unwrap();
    let error = flow(&mut client, alloc).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ipcp);
}

#[test]
fn no_descriptors_left_in_the_daemon() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run");
    let wrapper = temp.path().join("irmd");
    let script = format!(
        "#!/bin/sh\nulimit -n 40\nexec {} \"$@\"\n",
        irmd().display()
    );
    fs::write(&wrapper, script).unwrap();
    allow(&wrapper, 0o755);
    let daemon = o7s_irmd::embedded::Daemon::builder(&wrapper)
        .dir(&dir)
        .stderr(Stdio::null())
        .start()
        .unwrap();
    let mut server = announce(daemon.dir(), "server");
    bind_own(&mut server, "svc");
    let mut client = further(daemon.dir(), "server");

    // One by one until the daemon has no room.
    let mut held = Vec::new();
    loop {
        assert!(held.len() < 100);
        let mut stream = UnixStream::connect(daemon.dir().socket()).unwrap();
        let hello = Envelope {
            id: 1,
            fds: 0,
            body: Some(Body::Hello(hello("more", false))),
        };
        let sent = stream.write_all(&encode(&hello));
        let mut answer = [0; 4];
        if sent.is_err() || stream.read_exact(&mut answer).is_err() {
            break;
        }
        held.push(stream);
    }
    // Who is in is served, as far as that needs no descriptor.
    let accept = server.start(accept_body(None)).unwrap();
    let alloc = client.start(alloc_body("svc", None)).unwrap();
    let error = flow(&mut client, alloc).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDescriptors);
    assert!(error.to_string().contains("ulimit -n"), "{error}");
    let missing = NameRef {
        name: "missing".to_owned(),
    };
    let error = client.call(Body::DestroyName(missing)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Name);

    // With room again everything works, and the accept has not been lost.
    held.clear();
    let info = loop {
        // The daemon learns of the closed connections in its own time.
        let alloc = client.start(alloc_body("svc", None)).unwrap();
        match flow(&mut client, alloc) {
            Ok((info, _fds)) => break info,
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoDescriptors),
        }
    };
    let (there, _fds) = flow(&mut server, accept).unwrap();
    assert_eq!(there.flow_id, info.flow_id);
    dealloc(&mut client, &info);
    dealloc(&mut server, &there);
    assert_eq!(status(&mut manager(daemon.dir())).flows, 0);
}
