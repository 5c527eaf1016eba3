//! `oecho` and `oping`, server and client, over a real local layer.

mod common;

use std::{thread, time::Duration};

use common::{Net, Running, run_in};
use o7s::{ErrorKind, Flow, FlowState, QosSpec};
use o7s_wire::oping::{HEADER_LEN, Kind, Ping};
use rustix::process::Signal;

#[test]
fn oecho_answers_and_outlives_bad_clients() {
    let net = Net::with_name("oecho", "oecho");
    let server = net.start("oecho", "-l");
    assert_eq!(server.line(), "Starting the server.");
    assert_eq!(
        net.run("oecho", "").ok(),
        "Server replied with Client says hi!\n"
    );
    assert_eq!(server.line(), "New flow.");
    assert_eq!(server.line(), "Message from client is Client says hi!.");

    // A client that goes without a word, and one that sends what no terminal should get.
    let node = net.node();
    node.alloc("oecho", QosSpec::RAW, None)
        .unwrap()
        .dealloc()
        .unwrap();
    assert_eq!(server.line(), "New flow.");
    let flow = node.alloc("oecho", QosSpec::RAW, None).unwrap();
    flow.write(b"\x1b[2J").unwrap();
    assert_eq!(flow.read_packet().unwrap(), b"\x1b[2J");
    assert_eq!(server.line(), "New flow.");
    assert_eq!(server.line(), "Message from client is \\u{1b}[2J.");

    assert_eq!(
        net.run("oecho", "").ok(),
        "Server replied with Client says hi!\n"
    );
    server.signal(Signal::TERM);
    let ran = server.finish();
    assert_eq!(ran.code, None, "{ran:?}");
    assert!(ran.err.starts_with("Failed to read packet.\n"), "{ran:?}");
}

#[test]
fn oecho_failures_say_why() {
    let net = Net::new();
    net.irm("i b t local n local l local").ok();
    net.irm("n r oecho l local").ok();
    let error = run_in(&net.dir().join("none"), "oecho", "").failed(255);
    assert!(
        error.starts_with("Failed to allocate flow.\nno irmd is running"),
        "{error}"
    );
    let error = net.run("oecho", "--foo").failed(1);
    assert!(
        error.starts_with("oecho: invalid option '--foo'\n\nUsage: oecho"),
        "{error}"
    );
    assert!(net.run("oecho", "-h").ok().starts_with("Usage: oecho"));
    // Registered, but nothing is bound to it.
    let error = net.run("oecho", "").failed(255);
    assert!(error.starts_with("Failed to allocate flow.\n"), "{error}");
    assert!(
        error
            .lines()
            .nth(1)
            .is_some_and(|reason| !reason.is_empty()),
        "{error}"
    );
}

#[test]
fn oecho_client_hears_of_a_server_that_dies() {
    let net = Net::with_name("oecho", "oecho");
    let node = net.node();
    net.management()
        .bind_process(i32::try_from(std::process::id()).unwrap(), "oecho")
        .unwrap();
    let client = net.start("oecho", "");
    let flow = node.accept(None).unwrap();
    assert_eq!(flow.read_packet().unwrap(), b"Client says hi!\0");
    flow.dealloc().unwrap();
    let ran = client.finish();
    assert_eq!((ran.code, ran.out.as_str()), (Some(255), ""), "{ran:?}");
    assert!(ran.err.starts_with("Failed to read packet.\n"), "{ran:?}");
}

#[test]
fn servers_end_when_the_daemon_is_gone() {
    let mut net = Net::with_name("oping", "oping");
    let echo = net.start("oecho", "-l");
    assert_eq!(echo.line(), "Starting the server.");
    let ping = net.start("oping", "-l");
    assert_eq!(ping.line(), "Ouroboros ping server started.");
    net.daemon.kill().unwrap();
    let ran = echo.finish();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.starts_with("Failed to accept flow.\n"), "{ran:?}");
    let ran = ping.finish();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.starts_with("Failed to accept flow: -1002 \n"),
        "{ran:?}"
    );
}

/// A name that the library's own server in this process serves: it answers the requests that
/// `answers` says yes to, and returns with the flow after `last`.
fn own_server(net: &Net, answers: fn(u32) -> bool, last: u32) -> thread::JoinHandle<Flow> {
    let node = net.node();
    net.management()
        .bind_process(i32::try_from(std::process::id()).unwrap(), "oping")
        .unwrap();
    thread::spawn(move || {
        let flow = node.accept(Some(Duration::from_secs(30))).unwrap();
        loop {
            let mut packet = flow.read_packet().unwrap();
            let ping = Ping::parse(&packet).unwrap();
            assert_eq!(ping.kind, Kind::Request);
            if answers(ping.id) {
                let header: &mut [u8; HEADER_LEN] = packet.first_chunk_mut().unwrap();
                let kind = Kind::Reply;
                Ping { kind, ..ping }.emit(header);
                flow.write(&packet).unwrap();
            }
            if ping.id == last {
                return flow;
            }
        }
    })
}

fn start_server(net: &Net, line: &str) -> Running {
    let server = net.start("oping", line);
    let banner = server.line();
    assert!(
        banner.starts_with("Ouroboros ping server started."),
        "{banner}"
    );
    server
}

/// Replaces each run of digits and dots that stand for a measured time.
fn shape(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let (fixed, measured) = match line.find("time") {
            Some(at) => line.split_at(at),
            None if line.starts_with("rtt") => line.split_at(line.find('=').unwrap()),
            None => (line, ""),
        };
        out.push_str(fixed);
        let mut number = false;
        for c in measured.replace("µs", "ms").chars() {
            if c.is_ascii_digit() || c == '.' {
                if !number {
                    out.push('#');
                }
                number = true;
            } else {
                number = false;
                out.push(c);
            }
        }
        out.push('\n');
    }
    out
}

#[test]
fn oping_prints_replies_and_the_summary() {
    let net = Net::with_name("oping", "oping");
    let server = start_server(&net, "-l");
    let out = net.run("oping", "-n oping -c 3 -i 5").ok();
    assert_eq!(
        shape(&out),
        "Pinging oping with 64 bytes of data (3 packets):\n\
         \n\
         64 bytes from oping: seq=0 time=# ms\n\
         64 bytes from oping: seq=1 time=# ms\n\
         64 bytes from oping: seq=2 time=# ms\n\
         \n\
         --- oping ping statistics ---\n\
         3 packets transmitted, 3 received, 0 out-of-order, 0% packet loss, time: # ms\n\
         rtt min/avg/max/mdev = #/#/#/# ms\n"
    );
    let new = server.line();
    let fd = new.strip_prefix("New flow ").unwrap().trim_end_matches('.');
    for _ in 0..3 {
        assert_eq!(server.line(), format!("Received 64 bytes on fd {fd}."));
    }
    assert_eq!(server.line(), format!("Flow {fd} closed."));

    let out = net.run("oping", "-n oping -c 2 -i 0 -s 1500 -D").ok();
    assert!(
        out.contains("] 1500 bytes from oping: seq=1 time="),
        "{out}"
    );
    assert_eq!(
        out.lines().filter(|line| line.starts_with('[')).count(),
        2,
        "{out}"
    );

    let out = net.run("oping", "-n oping -c 100 -f -Q --json").ok();
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (
            &summary["transmitted"],
            &summary["received"],
            &summary["loss_percent"]
        ),
        (&100.into(), &100.into(), &0.into())
    );

    server.end(Signal::TERM);
}

#[test]
fn oping_shows_how_the_times_are_spread() {
    let net = Net::with_name("oping", "oping");
    let _server = start_server(&net, "-l -Q");
    let out = net.run("oping", "-n oping -c 50 -f -Q --histogram").ok();
    let (_, spread) = out
        .split_once("rtt min/avg/max/mdev = ")
        .unwrap_or_else(|| panic!("{out}"));
    let lines: Vec<&str> = spread.lines().collect();
    assert!(lines[1].starts_with("rtt p50/p90/p99/p99.9 = "), "{out}");
    assert_eq!(lines[2], "");
    let counted: u64 = lines[3..]
        .iter()
        .map(|line| {
            let (_, rest) = line.split_once(" to ").unwrap();
            rest.split_whitespace()
                .nth(2)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        })
        .sum();
    assert_eq!(counted, 50, "{out}");
    assert!(out.contains('#'), "{out}");

    let out = net
        .run("oping", "-n oping -c 20 -f --histogram --json")
        .ok();
    let summary: serde_json::Value = serde_json::from_str(&out).unwrap();
    let counted: u64 = summary["histogram"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["count"].as_u64().unwrap())
        .sum();
    assert_eq!((counted, &summary["received"]), (20, &20.into()), "{out}");
    assert!(summary["percentiles_ms"]["p99"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_servers_speak_json() {
    let event = |server: &Running| -> serde_json::Value {
        let line = server.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    };
    let net = Net::with_name("oping", "oping");
    let server = net.start("oping", "-l --json");
    assert_eq!(event(&server)["event"], "started");
    net.run("oping", "-n oping -c 1 -i 0 -Q").ok();
    let new = event(&server);
    assert_eq!(
        (&new["event"], &new["busy"]),
        (&"flow".into(), &false.into())
    );
    let received = event(&server);
    assert_eq!(
        (&received["event"], &received["bytes"], &received["fd"]),
        (&"received".into(), &64.into(), &new["fd"])
    );
    assert_eq!(event(&server)["event"], "closed");

    let net = Net::with_name("oecho", "oecho");
    let server = net.start("oecho", "-l --json");
    assert_eq!(event(&server)["event"], "started");
    assert_eq!(
        net.run("oecho", "--json").ok(),
        "{\"event\":\"reply\",\"text\":\"Client says hi!\"}\n"
    );
    assert_eq!(event(&server)["event"], "flow");
    let message = event(&server);
    assert_eq!(message["text"], "Client says hi!");
}

/// Every option with a wrong value or a value too many.
#[test]
fn wrong_options_are_told() {
    let net = Net::new();
    for (line, start) in [
        ("-n", "oping: missing argument for option '-n'\n"),
        ("-n x -c many", "\"many\" is no number for --count.\n"),
        ("-n x -s many", "\"many\" is no number for --size.\n"),
        ("-n x -d 1w", "Unknown time unit: w.\n"),
        ("-n x -i soon", "\"soon\" is no time; use a number"),
        ("-n x -q", "oping: missing argument for option '-q'\n"),
        ("-n x --flood=1", "oping: unexpected argument for option"),
        (
            "-n x --flood-busy=1",
            "oping: unexpected argument for option",
        ),
        ("-n x --quiet=1", "oping: unexpected argument for option"),
        (
            "-n x --timeofday=1",
            "oping: unexpected argument for option",
        ),
        (
            "-n x --histogram=1",
            "oping: unexpected argument for option",
        ),
        ("-n x --json=1", "oping: unexpected argument for option"),
        ("-l --poll=1", "oping: unexpected argument for option"),
        ("-l --busy=1", "oping: unexpected argument for option"),
        ("--listen=1", "oping: unexpected argument for option"),
    ] {
        let error = net.run("oping", line).failed(1);
        assert!(error.starts_with(start), "{line}: {error}");
    }
    for line in ["--listen=1", "--json=1", "hi"] {
        let error = net.run("oecho", line).failed(1);
        assert!(error.starts_with("oecho: unexpected argument"), "{error}");
    }
}

#[test]
fn oping_polls_and_spins() {
    let net = Net::with_name("oping", "oping");
    let server = start_server(&net, "-l --poll -Q");
    let out = net.run("oping", "-n oping -c 50 -F -Q").ok();
    assert!(out.starts_with("Pinging oping with 64 bytes of data (50 packets, busy-poll):\n\n"));
    assert!(out.contains("\n50 packets transmitted, 50 received, 0 out-of-order, 0% packet loss"));
    server.signal(Signal::INT);
    assert_eq!(server.finish().code, Some(0));

    let server = start_server(&net, "-l --busy");
    net.run("oping", "-n oping -c 50 -f -Q").ok();
    assert!(server.line().ends_with(" (busy-poll)."));
    // One flow, then it ends.
    let ran = server.finish();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.out.lines().count(), 50, "{ran:?}");
}

#[test]
fn oping_server_refuses_what_is_no_request() {
    let net = Net::with_name("oping", "oping");
    let server = start_server(&net, "-l -Q");
    let flow = net.node().alloc("oping", QosSpec::RAW, None).unwrap();
    for bad in [&[0; 5][..], &[7; 64], &[0; 1501], &[0; 64]] {
        flow.write(bad).unwrap();
    }
    // Only the last is a request.
    let reply = flow.read_packet().unwrap();
    assert_eq!(Ping::parse(&reply).unwrap().kind, Kind::Reply);
    assert_eq!(reply.len(), 64);
    let error = flow.try_read_packet().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let new = server.line();
    let fd = new.strip_prefix("New flow ").unwrap().trim_end_matches('.');

    // It says goodbye when it is stopped.
    server.signal(Signal::HUP);
    assert_eq!(flow.read_packet().unwrap_err().kind(), ErrorKind::FlowDown);
    assert_ne!(flow.state(), FlowState::Allocated);
    let ran = server.finish();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.err, format!("Invalid message on fd {fd}.\n").repeat(3));
}

/// Trap 21: a lost packet hung the flood modes.
#[test]
fn floods_survive_a_lost_packet() {
    for mode in ["-f", "-F"] {
        let net = Net::with_name("oping", "oping");
        let server = own_server(&net, |id| id != 1, 3);
        let out = net.run("oping", &format!("-n oping -c 4 {mode} -Q")).ok();
        assert!(
            out.contains("\n4 packets transmitted, 3 received, 0 out-of-order, 25% packet loss"),
            "{mode}: {out}"
        );
        server.join().unwrap();
    }
}

#[test]
fn a_silent_server_times_out() {
    let net = Net::with_name("oping", "oping");
    let server = own_server(&net, |id| id == 0, 2);
    let out = net.run("oping", "-n oping -c 3 -i 1").ok();
    assert!(
        out.contains("\nServer timed out.\n\n--- oping ping statistics ---\n"),
        "{out}"
    );
    assert!(out.contains("\n3 packets transmitted, 1 received, 0 out-of-order, 67% packet loss"));
    assert!(out.contains("/NaN "), "{out}");
    server.join().unwrap();
}

#[test]
fn signals_end_a_ping_with_its_summary() {
    let net = Net::with_name("oping", "oping");
    let _server = start_server(&net, "-l -Q");
    for (which, line) in [
        (Signal::INT, "-n oping -i 5"),
        (Signal::TERM, "-n oping -f"),
        (Signal::HUP, "-n oping -F"),
    ] {
        let client = net.start("oping", line);
        client.line_with("64 bytes from oping: seq=0 ");
        client.signal(which);
        client.line_with("--- oping ping statistics ---");
        assert!(client.line().contains(" packets transmitted, "));
        let ran = client.finish();
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (Some(0), ""),
            "{line}: {ran:?}"
        );
    }
    // Also in the middle of a long interval.
    let client = net.start("oping", "-n oping -i 10s");
    client.line_with("Pinging oping");
    client.signal(Signal::INT);
    client.line_with("0 packets transmitted, 0 received, 0 out-of-order, 0% packet loss");
    assert_eq!(client.finish().code, Some(0));
}

/// Trap 21: the reader spun when the flow went down.
#[test]
fn a_flow_that_breaks_ends_a_ping() {
    let net = Net::with_name("oping", "oping");
    for line in ["-n oping -i 5", "-n oping -f", "-n oping -F"] {
        let server = start_server(&net, "-l -Q");
        let client = net.start("oping", line);
        client.line_with("64 bytes from oping: seq=0 ");
        server.signal(Signal::KILL);
        client.line_with("--- oping ping statistics ---");
        let ran = client.finish();
        assert_eq!(ran.code, Some(1), "{line}: {ran:?}");
        let first = ran.err.lines().next().unwrap();
        assert!(
            first == "The flow to oping is down." || first == "Failed to send packet.",
            "{line}: {ran:?}"
        );
        assert!(
            ran.err
                .lines()
                .nth(1)
                .is_some_and(|reason| !reason.is_empty())
        );
    }
}

#[test]
fn oping_failures_say_why() {
    let net = Net::new();
    let error = net.run("oping", "").failed(1);
    assert!(
        error.starts_with("No server specified.\n\nUsage: oping"),
        "{error}"
    );
    let error = net.run("oping", "-n x -i 5w").failed(1);
    assert!(error.starts_with("Unknown time unit: w.\n"), "{error}");
    let error = net.run("oping", "-n none -c 1").failed(1);
    let number = error
        .strip_prefix("Failed to allocate flow: -")
        .and_then(|rest| rest.split('.').next());
    assert!(
        number.is_some_and(|number| number.parse::<u32>().is_ok()),
        "{error}"
    );
    assert!(
        error
            .lines()
            .nth(1)
            .is_some_and(|reason| !reason.is_empty()),
        "{error}"
    );
    let help = net.run("oping", "--help");
    assert_eq!((help.code, help.err.as_str()), (Some(1), ""));
    assert!(help.out.starts_with("Usage: oping"));
}

/// A name whose program is started on demand.
fn with_autostart() -> Net {
    let net = Net::new();
    net.irm("i b t local n local l local").ok();
    net.irm("n r oecho l local").ok();
    let program = common::tool("oecho");
    net.irm(&format!("b prog {} n oecho auto -- -l", program.display()))
        .ok();
    net
}

/// Arguments of an automatic start reach the program.
#[test]
fn a_bound_program_is_started_on_demand() {
    let net = with_autostart();
    let flow = net.node().alloc("oecho", QosSpec::RAW, None).unwrap();
    flow.write(b"hello").unwrap();
    assert_eq!(flow.read_packet().unwrap(), b"hello");
}

/// The client runs the bound program, too, but it is no server.
#[test]
fn a_client_of_the_same_program_gets_a_server_started() {
    let net = with_autostart();
    assert_eq!(
        net.run("oecho", "").ok(),
        "Server replied with Client says hi!\n"
    );
}
