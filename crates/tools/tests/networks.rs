//! Two daemons of one machine in a layer over UDP, managed with `irm` alone.

mod common;

use std::net::UdpSocket;

use common::{Net, tool};

/// A UDP port that nobody uses at these addresses.
fn free_port(addresses: [&str; 2]) -> u16 {
    loop {
        let first = UdpSocket::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if UdpSocket::bind((addresses[1], port)).is_ok() {
            return port;
        }
    }
}

/// A client's and a server's daemon; the client knows where `oecho` is.
fn pair(kind: &str, addresses: [&str; 2], host: &str, ports: [u16; 2]) -> [Net; 2] {
    let [client, server] = [Net::new(), Net::new()];
    client
        .irm(&format!(
            "i b t {kind} n u l net ip {} port {} host oecho={host}",
            addresses[0], ports[0]
        ))
        .ok();
    server
        .irm(&format!(
            "i b t {kind} n u l net ip {} port {}",
            addresses[1], ports[1]
        ))
        .ok();
    server
        .irm(&format!("b prog {} n oecho", tool("oecho").display()))
        .ok();
    server.irm("n r oecho l net").ok();
    [client, server]
}

#[test]
fn a_name_is_reached_at_the_host_that_serves_it() {
    let addresses = ["127.0.0.1", "127.0.0.2"];
    let port = free_port(addresses);
    let [client, server] = pair("udp4", addresses, addresses[1], [port; 2]);
    let echo = server.start("oecho", "-l");
    echo.line_with("Starting");
    let said = client.run("oecho", "").ok();
    assert!(said.contains("Server replied with"), "{said}");

    // A name without host is not found, and the layer that was asked is named.
    let error = client.run("oping", "-n nowhere -c 1");
    assert_ne!(error.code, Some(0));
    assert!(error.err.contains("1 layer asked: net"), "{error:?}");

    let shown = client.irm("i s n u").ok();
    for expected in ["ipcp:\n", "udp4", "net", "MD5"] {
        assert!(shown.contains(expected), "{shown}");
    }
    let json = client.irm("i s n u --json").ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ipcp"]["layer"], "net");
    assert_eq!(json["ipcp"]["state"], "operational");
}

#[test]
fn a_host_may_have_a_port_of_its_own() {
    // One address, two ports: there is but one in IPv6.
    if UdpSocket::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let ports = [0, 1].map(|_| {
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        socket.local_addr().unwrap().port()
    });
    let host = format!("[::1]:{}", ports[1]);
    let [client, server] = pair("udp6", ["::1", "::1"], &host, ports);
    let echo = server.start("oecho", "-l");
    echo.line_with("Starting");
    let said = client.run("oecho", "").ok();
    assert!(said.contains("Server replied with"), "{said}");
}

/// A layer over the layer: enrollment and connections through `irm`, the traffic over UDP.
#[test]
fn a_unicast_layer_over_udp() {
    let addresses = ["127.0.0.1", "127.0.0.2"];
    let port = free_port(addresses);
    let [first, second] = [Net::new(), Net::new()];
    let hosts = format!("host lan={0} host n1={0}", addresses[0]);
    for (net, own, hosts) in [(&first, addresses[0], ""), (&second, addresses[1], &*hosts)] {
        net.irm(format!("i b t udp4 n u l net ip {own} port {port} {hosts}").trim())
            .ok();
    }
    first.irm("i b t unicast n n1 l lan autobind").ok();
    for name in ["n1", "lan"] {
        first.irm(&format!("n r {name} l net")).ok();
    }
    // It learns the layer's name from the member, and checks it.
    second.irm("i e n n2 l lan autobind").ok();
    second.irm("i co n n2 d n1").ok();
    let ipcps = second.management().list_ipcps().unwrap();
    assert!(
        ipcps
            .iter()
            .any(|ipcp| (&*ipcp.name, &*ipcp.layer) == ("n2", "lan"))
    );

    first
        .irm(&format!("b prog {} n oecho", tool("oecho").display()))
        .ok();
    first.irm("n r oecho l lan").ok();
    let echo = first.start("oecho", "-l");
    echo.line_with("Starting");
    let said = second.run("oecho", "").ok();
    assert!(said.contains("Server replied with"), "{said}");

    second.irm("i di n n2 d n1").ok();
    // It is a member for its life.
    let error = second.irm("i e n n2 l lan").failed(1);
    assert!(error.contains("member of layer lan already"), "{error}");
}

/// A broadcast layer over the layer: what a program at one member sends, one at the other gets.
#[test]
fn a_broadcast_layer_over_udp() {
    let addresses = ["127.0.0.1", "127.0.0.2"];
    let port = free_port(addresses);
    let [first, second] = [Net::new(), Net::new()];
    let hosts = format!("host chat={0} host b1={0}", addresses[0]);
    for (net, own, hosts) in [(&first, addresses[0], ""), (&second, addresses[1], &*hosts)] {
        net.irm(format!("i b t udp4 n u l net ip {own} port {port} {hosts}").trim())
            .ok();
    }
    first.irm("i b t broadcast n b1 l chat autobind").ok();
    for name in ["b1", "chat"] {
        first.irm(&format!("n r {name} l net")).ok();
    }
    second.irm("i e n b2 t broadcast l chat autobind").ok();
    second.irm("i co n b2 d b1").ok();

    let reader = first.start("obc", "-n chat -l");
    reader.line_with("New flow");
    second.run("obc", "-n chat -m hello").ok();
    reader.line_with("Message is hello");
}
