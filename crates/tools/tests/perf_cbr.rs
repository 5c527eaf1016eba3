//! `operf` and `ocbr`, server and client, over a real local layer.

mod common;

use std::{thread, time::Duration};

use common::{Net, Running, run_in};
use o7s::{ErrorKind, Flow, QosSpec};
use o7s_wire::operf::{TestType, sequence, set_sequence};
use rustix::process::Signal;
use serde_json::Value;

fn operf_server(net: &Net, line: &str) -> Running {
    let server = net.start("operf", line);
    assert_eq!(server.line(), "Ouroboros perf server started.");
    server
}

fn ocbr_server(net: &Net, line: &str) -> Running {
    let server = net.start("ocbr", line);
    let banner = server.line();
    assert!(
        banner.starts_with("Server started, interval is "),
        "{banner}"
    );
    server
}

/// The descriptor in a line such as `New flow 64.`
fn descriptor(line: &str) -> &str {
    line.strip_prefix("New flow ")
        .unwrap_or_else(|| panic!("no new flow: {line}"))
        .trim_end_matches('.')
}

/// The number before a word in a line.
fn number_before(line: &str, word: &str) -> u64 {
    let (before, _) = line
        .split_once(word)
        .unwrap_or_else(|| panic!("no {word:?} in {line:?}"));
    before
        .trim_end()
        .rsplit(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no number before {word:?} in {line:?}"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn operf_counts_what_it_sends() {
    let net = Net::with_name("operf", "operf");
    let server = operf_server(&net, "-l");
    let out = net
        .run("operf", "-n operf -d 60 -r 800k -s 1000 --sleep")
        .ok();
    assert!(
        out.starts_with(
            "Doing a unidirectional test.\n\
             Sending 1000 byte packets for 0.06 s to operf at 0.800 Mb/s.\n\n\
             Test finished.\n\n--- operf perf statistics ---\n"
        ),
        "{out}"
    );
    let last = out.lines().last().unwrap();
    let sent = number_before(last, "packets transmitted, time: ");
    // One each 10 ms, the first at once.
    assert!((1..=7).contains(&sent), "{out}");

    let new = server.line();
    let fd = descriptor(&new);
    assert_eq!(server.line(), "Doing a unidirectional test.");
    for seqno in 0..sent {
        let line = server.line();
        assert!(
            line.starts_with(&format!("Seqno {seqno} from fd {fd}: ")),
            "{line}"
        );
        let (_, micros) = line.rsplit_once('.').unwrap();
        assert_eq!(micros.len(), 6, "{line}");
    }
    assert_eq!(server.line(), format!("Flow {fd} closed."));
    let total = server.line();
    assert!(
        total.starts_with(&format!(
            "Flow {fd} in total: {sent} packets received, 0 lost (0.00%), 0 out-of-order, time: "
        )),
        "{total}"
    );
    server.end(Signal::INT);
}

/// The C client's flood sent nothing.
#[test]
fn an_operf_flood_lasts_and_reports_its_throughput() {
    let net = Net::with_name("operf", "operf");
    let server = operf_server(&net, "-l -Q");
    let out = net.run("operf", "-n operf -f -d 150 -s 64 -Q").ok();
    assert!(
        out.contains("\nFlooding operf with 64 byte packets for 0.15 seconds.\n\n"),
        "{out}"
    );
    let last = out.lines().last().unwrap();
    let sent = number_before(last, "packets transmitted, time: ");
    assert!(sent > 0, "{out}");
    let measured = |before: &str, after: &str| -> f64 {
        let (_, rest) = last.split_once(before).unwrap();
        rest.split_once(after).unwrap().0.parse().unwrap()
    };
    let (time, bandwidth) = (measured("time: ", " ms"), measured("bandwidth: ", " Mb/s."));
    assert!(time >= 150.0, "{out}");
    let expected = f64::from(u32::try_from(sent).unwrap()) * 512.0 / (time * 1000.0);
    assert!(
        (bandwidth / expected - 1.0).abs() < 1e-3,
        "{expected}: {out}"
    );
    let new = server.line();
    let fd = descriptor(&new);
    let total = server.line_with("Flow ");
    assert_eq!(total, format!("Flow {fd} closed."));
    let total = server.line();
    assert_eq!(number_before(&total, "packets received"), sent, "{total}");

    // Both directions, with packets of other sizes.
    for size in [64, 1500, 100_000] {
        let out = net
            .run("operf", &format!("-n operf -t bi -f -d 50 -s {size} -Q"))
            .ok();
        assert!(out.starts_with("Doing a bidirectional test.\n"), "{out}");
        let last = out.lines().last().unwrap();
        let sent = number_before(last, "packets transmitted, ");
        assert!(sent > 0, "{out}");
        assert_eq!(number_before(last, "received, "), sent, "{out}");
        assert!(last.contains(" received, 0% packet loss, time: "), "{out}");
        assert!(!out.contains("Server timed out."), "{out}");
    }
}

/// Printing must not slow the test down, unless that is asked for.
#[test]
fn the_operf_server_prints_a_line_per_packet_within_reason() {
    let net = Net::with_name("operf", "operf");
    let counts = |options: &str, load: &str| {
        let server = operf_server(&net, options);
        let out = net.run("operf", &format!("-n operf {load} -Q")).ok();
        let sent = number_before(out.lines().last().unwrap(), "packets transmitted, ");
        let mut lines = 0;
        let total = loop {
            let line = server.line();
            if line.contains(" in total: ") {
                break line;
            }
            lines += u64::from(line.starts_with("Seqno "));
        };
        assert_eq!(number_before(&total, "packets received"), sent, "{total}");
        let seconds: f64 = total
            .split_once("time: ")
            .and_then(|(_, rest)| rest.split_once(" ms"))
            .map(|(time, _)| time.parse::<f64>().unwrap() / 1000.0)
            .unwrap();
        (sent, lines, seconds)
    };
    let (sent, lines, seconds) = counts("-l", "-f -d 100 -s 64");
    assert!(lines > 0 && lines <= sent);
    assert!(
        lines as f64 <= 1000.0 * (seconds + 1.0),
        "{lines} lines in {seconds} s"
    );
    // 1,600 packets.
    let (sent, lines, _) = counts("-l -v", "-d 100 -r 8192k -s 64");
    assert_eq!(lines, sent);
    let (sent, lines, _) = counts("-l -Q", "-d 50 -s 64");
    assert!(sent > 0 && lines == 0);
}

#[test]
fn operf_speaks_json() {
    let net = Net::with_name("operf", "operf");
    let server = operf_json_server(&net);
    let out = net
        .run("operf", "-n operf -t bi -d 20 -r 10M -s 500 --json")
        .ok();
    let summary = json(&out);
    assert_eq!(summary["name"], "operf");
    assert_eq!(summary["test"], "bi");
    assert_eq!(summary["size"], 500);
    assert!(summary["transmitted"].as_u64().unwrap() > 0);
    assert_eq!(summary["received"], summary["transmitted"]);
    assert_eq!(summary["loss_percent"], 0);
    assert!(summary["bandwidth_mbps"].as_f64().unwrap() > 0.0);

    let events: Vec<Value> = (0..4).map(|_| json(&server.line())).collect();
    let kinds: Vec<_> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(kinds, ["flow", "test", "closed", "summary"]);
    assert_eq!(events[3]["packets"], summary["transmitted"]);
    assert_eq!(events[3]["lost"], 0);
    server.signal(Signal::TERM);
    assert_eq!(server.finish().code, Some(0));
}

fn operf_json_server(net: &Net) -> Running {
    let server = net.start("operf", "-l --json -i 0");
    assert_eq!(json(&server.line())["event"], "started");
    server
}

/// A server of this process: it answers what `answers` says yes to, after the configuration.
fn own_server(net: &Net, name: &str, answers: fn(u32) -> bool) -> thread::JoinHandle<u32> {
    let node = net.node();
    net.management()
        .bind_process(i32::try_from(std::process::id()).unwrap(), name)
        .unwrap();
    thread::spawn(move || {
        let flow: Flow = node.accept(Some(Duration::from_secs(30))).unwrap();
        let config = flow.read_packet().unwrap();
        assert_eq!(TestType::parse(&config), Ok(TestType::Bi));
        let mut count = 0;
        while let Ok(packet) = flow.read_packet() {
            let number = sequence(&packet).unwrap();
            assert_eq!(number, count);
            assert!(packet[4..].iter().all(|byte| *byte == 0));
            count += 1;
            if answers(number) {
                // The client may have gone with the last reply.
                let _ = flow.write(&packet);
            }
        }
        count
    })
}

#[test]
fn operf_tells_the_loss_and_ends() {
    let net = Net::with_name("operf", "operf");
    let server = own_server(&net, "operf", |number| number != 1);
    let out = net
        .run("operf", "-n operf -t bi -d 30 -r 800k -s 1000")
        .ok();
    assert!(
        out.contains("\nTest finished.\nServer timed out.\n\n---"),
        "{out}"
    );
    let last = out.lines().last().unwrap();
    let sent = number_before(last, "packets transmitted, ");
    assert_eq!(number_before(last, "received, "), sent - 1, "{out}");
    assert!(!last.contains(" 0% packet loss"), "{out}");
    assert_eq!(u64::from(server.join().unwrap()), sent);
}

#[test]
fn signals_end_operf_with_its_summary() {
    let net = Net::with_name("operf", "operf");
    let server = operf_server(&net, "-l -i 10");
    for (which, line) in [
        (Signal::INT, "-n operf -i 20"),
        (Signal::TERM, "-n operf -f -i 20"),
        (Signal::HUP, "-n operf -t bi -f -i 20"),
        // In the middle of a pause of minutes.
        (Signal::INT, "-n operf -r 1k -s 1000000 -i 20"),
    ] {
        let client = net.start("operf", line);
        client.line_with("Doing a ");
        // A line of progress: it is under way.
        let progress = loop {
            let line = client.line();
            if line.contains(" packets sent, ") {
                break line;
            }
        };
        assert!(
            progress.contains(" s: ") && progress.ends_with(" Mb/s"),
            "{progress}"
        );
        assert_eq!(progress.contains(" received, "), line.contains("bi"));
        client.signal(which);
        client.line_with("--- operf perf statistics ---");
        assert!(client.line().contains(" packets transmitted, "));
        let ran = client.finish();
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (Some(0), ""),
            "{line}: {ran:?}"
        );
        server.line_with("Flow ");
    }
    // The server too says what it has.
    let client = net.start("operf", "-n operf -r 10M -i 20");
    loop {
        if client.line().contains(" packets sent, ") {
            break;
        }
    }
    let ran = server.end(Signal::INT);
    assert!(
        ran.out.lines().last().unwrap().contains(" in total: "),
        "{ran:?}"
    );
    // The client's flow is down with it.
    client.line_with("--- operf perf statistics ---");
    let ran = client.finish();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.starts_with("Failed to send packet.\n"), "{ran:?}");
}

#[test]
fn the_operf_server_shows_gaps_and_refuses_nonsense() {
    let net = Net::with_name("operf", "operf");
    let server = operf_server(&net, "-l");
    let node = net.node();
    let alloc = || node.alloc("operf", QosSpec::RAW, None).unwrap();
    for bad in [&[0; 5][..], &[0; 3], &[0, 0, 0, 1], &[0; 1500]] {
        let flow = alloc();
        flow.write(bad).unwrap();
        // The server ends the flow.
        assert_eq!(flow.read_packet().unwrap_err().kind(), ErrorKind::FlowDown);
    }
    let flow = alloc();
    flow.write(&TestType::Uni.emit()).unwrap();
    let mut packet = [0; 64];
    for number in [0, 1, 5, 4] {
        set_sequence(&mut packet, number);
        flow.write(&packet).unwrap();
    }
    flow.write(&[1, 2, 3]).unwrap();
    flow.dealloc().unwrap();
    let total = loop {
        let line = server.line_with("Flow ");
        if line.contains(" in total: ") {
            break line;
        }
    };
    assert!(
        total.contains(": 4 packets received, 2 lost (33.33%), 1 out-of-order, time: "),
        "{total}"
    );
    server.signal(Signal::INT);
    let ran = server.finish();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let invalid = ran.err.matches("Invalid config message.\n").count();
    assert_eq!(invalid, 4, "{ran:?}");
    assert!(ran.err.contains("Invalid message on fd "), "{ran:?}");
}

/// The server in C is slower to take the flow, and drops one that is idle for a second.
#[test]
fn an_idle_operf_flow_times_out() {
    let net = Net::with_name("operf", "operf");
    let server = operf_server(&net, "-l -Q");
    let flow = net.node().alloc("operf", QosSpec::RAW, None).unwrap();
    flow.write(&TestType::Bi.emit()).unwrap();
    for number in 0..2 {
        let mut packet = [0; 64];
        set_sequence(&mut packet, number);
        flow.write(&packet).unwrap();
        assert_eq!(flow.read_packet().unwrap(), packet);
    }
    assert_eq!(flow.read_packet().unwrap_err().kind(), ErrorKind::FlowDown);
    let new = server.line();
    let fd = descriptor(&new);
    assert_eq!(server.line(), "Doing a bidirectional test.");
    assert_eq!(server.line(), format!("Flow {fd} timed out."));
    let total = server.line();
    assert_eq!(number_before(&total, "packets received"), 2, "{total}");
}

#[test]
fn operf_failures_say_why() {
    let net = Net::new();
    for (line, start) in [
        ("", "No server specified.\n\nUsage: operf"),
        ("-n x -t tri", "Invalid test type.\n\nUsage: operf"),
        ("-n x -d 5w", "Unknown time unit: w.\n"),
        ("-n x -r 5K", "Unknown rate unit: K.\n"),
        ("-n x -r 0", "Invalid rate.\n"),
        ("-n x -s many", "\"many\" is no number for --size.\n"),
        ("-n x -i 5w", "Unknown time unit: w.\n"),
        ("-n", "operf: missing argument for option '-n'\n"),
        ("-l more", "operf: unexpected argument \"more\"\n"),
        ("--listen=no", "operf: unexpected argument for option"),
        ("--flood=1 -n x", "operf: unexpected argument for option"),
        ("--sleep=1 -n x", "operf: unexpected argument for option"),
        ("-Qx", "operf: invalid option '-x'\n"),
        ("-vx", "operf: invalid option '-x'\n"),
        ("--json=x", "operf: unexpected argument for option"),
    ] {
        let error = net.run("operf", line).failed(1);
        assert!(error.starts_with(start), "{line}: {error}");
    }
    let error = net.run("operf", "-n none").failed(1);
    assert!(error.starts_with("Failed to allocate flow: -"), "{error}");
    let error = net.run("operf", "-n none -q gold").failed(1);
    assert!(
        error.starts_with("Unknown QoS cube, defaulting to raw.\nFailed to allocate flow: -"),
        "{error}"
    );
    for line in ["-n operf", "-l"] {
        let error = run_in(&net.dir().join("none"), "operf", line).failed(1);
        assert!(error.contains("\nno irmd is running"), "{line}: {error}");
    }
    assert!(net.run("operf", "--help").ok().starts_with("Usage: operf"));
    assert!(net.run("operf", "--version").ok().starts_with("operf "));
}

#[test]
fn a_packet_that_is_too_large_is_cut_to_what_the_flow_carries() {
    let net = Net::with_name("operf", "operf");
    let _server = operf_server(&net, "-l -Q");
    let ran = net.run("operf", "-n operf -f -d 20 -s 2000000 -Q");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.err
            .starts_with("Packet size truncated to 1048576 bytes.\nPacket size truncated to "),
        "{ran:?}"
    );
}

#[test]
fn ocbr_sends_and_counts() {
    let net = Net::with_name("ocbr", "ocbr");
    let server = ocbr_server(&net, "-l -i 20ms");
    let out = net
        .run("ocbr", "-n ocbr -d 60ms -r 800k -s 1000 --spin")
        .ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0],
        "Client started, duration 0.06, rate 800000 b/s, size 1000 B."
    );
    let sent = number_before(lines[1], "packets, ");
    assert!((1..=7).contains(&sent), "{out}");
    assert_eq!(number_before(lines[1], "bytes in "), sent * 1000, "{out}");

    assert_eq!(server.line(), "New flow.");
    let (mut counted, mut total) = (0, String::new());
    while total.is_empty() {
        let line = server.line();
        if line.contains(" in total: ") {
            total = line;
        } else if line.contains(" packets (") {
            counted += number_before(&line, "packets (");
        } else {
            assert!(line.ends_with(" closed."), "{line}");
        }
    }
    assert_eq!(counted, sent);
    assert_eq!(number_before(&total, "packets ("), sent, "{total}");
    assert_eq!(number_before(&total, "bytes)"), sent * 1000, "{total}");

    let out = net.run("ocbr", "-n ocbr -d 50ms -f -s 1 --json").ok();
    let lines: Vec<Value> = out.lines().map(json).collect();
    assert_eq!(lines[0]["event"], "started");
    assert_eq!(lines[0]["rate"], Value::Null);
    assert_eq!(lines[1]["event"], "sent");
    assert!(lines[1]["packets"].as_u64().unwrap() > 0, "{out}");
    assert_eq!(lines[1]["packets"], lines[1]["bytes"]);

    // Ctrl-C: both sum up.
    let client = net.start("ocbr", "-n ocbr -r 1M");
    client.line_with("Client started");
    server.line_with("New flow.");
    client.signal(Signal::INT);
    client.line_with("sent statistics: ");
    assert_eq!(client.finish().code, Some(0));
    server.end(Signal::TERM);
}

#[test]
fn the_ocbr_server_serves_ten_and_lets_go_of_the_idle() {
    let net = Net::with_name("ocbr", "ocbr");
    let server = net.start("ocbr", "-l -t 300s --json");
    assert_eq!(json(&server.line())["event"], "started");
    let node = net.node();
    let alloc = || node.alloc("ocbr", QosSpec::RAW, None).unwrap();
    let flows: Vec<Flow> = (0..10).map(|_| alloc()).collect();
    for _ in &flows {
        assert_eq!(json(&server.line())["event"], "flow");
    }
    // The eleventh waits until one of the ten goes.
    let eleventh = alloc();
    eleventh.write(b"x").unwrap();
    flows[3].dealloc().unwrap();
    assert_eq!(json(&server.line())["event"], "closed");
    assert_eq!(json(&server.line())["event"], "total");
    assert_eq!(json(&server.line())["event"], "flow");
    server.signal(Signal::INT);
    let ran = server.finish();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.err
            .starts_with("Can't accept any more flows, waiting.\n"),
        "{ran:?}"
    );
    assert_eq!(ran.out.matches("\"event\":\"total\"").count(), 10);

    let server = ocbr_server(&net, "-l -t 50ms");
    let flow = alloc();
    flow.write(b"abc").unwrap();
    assert_eq!(flow.read_packet().unwrap_err().kind(), ErrorKind::FlowDown);
    assert_eq!(server.line(), "New flow.");
    server.line_with("Test on flow ");
    let total = server.line();
    assert_eq!(number_before(&total, "packets ("), 1, "{total}");
}

#[test]
fn ocbr_failures_say_why() {
    let net = Net::new();
    for (line, start) in [
        ("", "No server specified.\n\nUsage: ocbr"),
        ("-n x -s 524289", "Maximum size: 524288.\n"),
        ("-n x -s=-5", "Size overflow.\n"),
        ("-n x -s 0", "A packet has at least a byte.\n"),
        ("-n x -s many", "\"many\" is no number for --size.\n"),
        ("-n x -r 0", "Invalid rate.\n"),
        ("-n x -r 5K", "Unknown rate unit: K.\n"),
        ("-n x -d 5w", "Unknown time unit: w.\n"),
        ("-l -i 0", "--interval must be more than 0.\n"),
        ("-l -t 0", "--timeout must be more than 0.\n"),
        ("-n", "ocbr: missing argument for option '-n'\n"),
        ("-l more", "ocbr: unexpected argument \"more\"\n"),
        ("--listen=no", "ocbr: unexpected argument for option"),
        ("--flood=1", "ocbr: unexpected argument for option"),
        ("--sleep=1", "ocbr: unexpected argument for option"),
        ("--spin=1", "ocbr: unexpected argument for option"),
        ("--json=1", "ocbr: unexpected argument for option"),
        ("-q", "ocbr: missing argument for option '-q'\n"),
    ] {
        let error = net.run("ocbr", line).failed(1);
        assert!(error.starts_with(start), "{line}: {error}");
    }
    let error = net.run("ocbr", "-n none").failed(255);
    assert!(error.starts_with("Failed to allocate flow.\n"), "{error}");
    let error = run_in(&net.dir().join("none"), "ocbr", "-l").failed(1);
    assert!(error.contains("\nno irmd is running"), "{error}");
    assert!(net.run("ocbr", "--help").ok().starts_with("Usage: ocbr"));
    assert!(net.run("ocbr", "--version").ok().starts_with("ocbr "));
}
