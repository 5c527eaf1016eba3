//! The relay as its parent sees it, with socket pairs instead of interfaces.

use std::io::{BufRead, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use o7s_relay::control::Answer;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

const PATIENCE: Duration = Duration::from_secs(30);

struct Relay {
    process: Child,
    control: Option<BufReader<UnixStream>>,
}

impl Relay {
    fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        ours.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let process = Command::new(env!("CARGO_BIN_EXE_o7s-relay"))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("the relay starts");
        Self {
            process,
            control: Some(BufReader::new(ours)),
        }
    }

    fn ask_with(&mut self, command: &str, ends: &[UnixDatagram]) -> Answer {
        let control = self.control.as_mut().expect("the channel is open");
        let fds: Vec<_> = ends.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        }
        let line = format!("{command}\n");
        sendmsg(
            control.get_ref(),
            &[IoSlice::new(line.as_bytes())],
            &mut ancillary,
            SendFlags::empty(),
        )
        .expect("the relay listens");
        let mut answer = String::new();
        control.read_line(&mut answer).expect("an answer");
        serde_json::from_str(&answer).expect("JSON")
    }

    fn ask(&mut self, command: &str) -> Answer {
        self.ask_with(command, &[])
    }

    /// A link; its outer ends A and B.
    fn link(&mut self, number: usize) -> [UnixDatagram; 2] {
        let (a, inner_a) = UnixDatagram::pair().expect("a socket pair");
        let (b, inner_b) = UnixDatagram::pair().expect("a socket pair");
        for end in [&a, &b] {
            end.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        }
        let command = format!(r#"{{"op":"add","link":{number}}}"#);
        let answer = self.ask_with(&command, &[inner_a, inner_b]);
        assert!(answer.ok, "{answer:?}");
        [a, b]
    }

    fn finish(mut self) {
        self.control = None;
        assert!(self.process.wait().expect("it ends").success());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.control = None;
        let _ = self.process.wait();
    }
}

fn receive(end: &UnixDatagram) -> Vec<u8> {
    let mut frame = [0; 2000];
    let length = end.recv(&mut frame).expect("a frame");
    frame[..length].to_vec()
}

fn good(answer: &Answer) {
    assert!(answer.ok, "{answer:?}");
}

#[test]
fn frames_pass_both_ways_and_links_are_apart() {
    let mut relay = Relay::start();
    let [a, b] = relay.link(0);
    let [c, d] = relay.link(1);
    a.send(b"to b").expect("sent");
    d.send(b"to c").expect("sent");
    b.send(b"to a").expect("sent");
    assert_eq!(receive(&b), b"to b");
    assert_eq!(receive(&c), b"to c");
    assert_eq!(receive(&a), b"to a");
    let stats = relay.ask(r#"{"op":"stats","link":1}"#);
    assert_eq!(stats.ab.expect("counters").received, 0);
    assert_eq!(stats.ba.expect("counters").passed_bytes, 4);
    relay.finish();
}

#[test]
fn a_cut_takes_effect_behind_what_was_sent() {
    let mut relay = Relay::start();
    let [a, b] = relay.link(0);
    a.send(b"before").expect("sent");
    good(&relay.ask(r#"{"op":"cut","link":0,"direction":"ab"}"#));
    for _ in 0..10 {
        a.send(b"while").expect("sent");
    }
    b.send(b"other way").expect("sent");
    good(&relay.ask(r#"{"op":"heal","link":0}"#));
    a.send(b"after").expect("sent");
    assert_eq!(receive(&b), b"before");
    assert_eq!(receive(&b), b"after");
    assert_eq!(receive(&a), b"other way");
    let stats = relay
        .ask(r#"{"op":"stats","link":0}"#)
        .ab
        .expect("counters");
    assert_eq!((stats.cut, stats.passed), (10, 2));
    relay.finish();
}

#[test]
fn delay_takes_its_time() {
    let mut relay = Relay::start();
    let [a, b] = relay.link(0);
    good(&relay.ask(r#"{"op":"set","link":0,"impairment":{"delay":0.05}}"#));
    let start = Instant::now();
    a.send(b"there").expect("sent");
    assert_eq!(receive(&b), b"there");
    b.send(b"back").expect("sent");
    assert_eq!(receive(&a), b"back");
    assert!(start.elapsed() >= Duration::from_millis(100));
    relay.finish();
}

#[test]
fn errors_say_what_is_wrong_and_the_relay_goes_on() {
    let mut relay = Relay::start();
    for (command, word) in [
        ("nonsense", "no command"),
        (r#"{"op":"fly"}"#, "fly"),
        (r#"{"op":"cut","link":3}"#, "no link 3"),
        (r#"{"op":"add","link":0}"#, "two descriptors"),
        (r#"{"op":"add","link":1}"#, "next link is 0"),
        (r#"{"op":"set","link":0,"impairment":{"loss":7}}"#, "loss"),
        (
            r#"{"op":"guard","namespaces":["/run/netns/other"]}"#,
            "o7s-",
        ),
        (r#"{"op":"guard","namespaces":["o7s-relative"]}"#, "o7s-"),
    ] {
        let answer = relay.ask(command);
        let error = answer.error.expect(command);
        assert!(!answer.ok && error.contains(word), "{command}: {error}");
    }
    let [a, b] = relay.link(0);
    a.send(b"well").expect("sent");
    assert_eq!(receive(&b), b"well");
    relay.finish();
}

#[test]
fn names_that_it_guards_are_gone_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let name = directory.path().join("o7s-test");
    std::fs::write(&name, "").expect("a file");
    let mut relay = Relay::start();
    let list = serde_json::to_string(&[&name]).expect("JSON");
    good(&relay.ask(&format!(r#"{{"op":"guard","namespaces":{list}}}"#)));
    assert!(name.exists());
    relay.finish();
    assert!(!name.exists());
}
