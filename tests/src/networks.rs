//! Layers on networks: an IPCP of such a type at a test's daemon, names in it, its counters.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use o7s::{
    control::{EthConfig, Udp4Config, Udp4Host, Udp6Config, Udp6Host},
    irm::{IpcpConfig, IpcpType, NameInfo},
};

use crate::{TestNode, own_pid};

/// Name of the layers.
const LAYER: &str = "net";

/// A loopback address that belongs to this process' tests only, so that others run beside them.
#[must_use]
pub fn own_ip(number: u8) -> Ipv4Addr {
    let [.., high, low] = own_pid().to_be_bytes();
    Ipv4Addr::new(127, high, low, number)
}

/// An IPCP of a layer on an Ethernet device; its pid.
///
/// # Panics
/// If that fails.
#[must_use]
pub fn ethernet(test: &TestNode, ipcp_type: IpcpType, device: &str) -> i32 {
    let mut config = IpcpConfig::new(ipcp_type, LAYER);
    config.eth = Some(EthConfig {
        dev: device.to_owned(),
        ..EthConfig::default()
    });
    bootstrap(test, ipcp_type, &config)
}

/// An IPCP of a layer over UDP, which finds names at these addresses; its pid.
///
/// # Panics
/// If that fails.
#[must_use]
pub fn internet(test: &TestNode, own: SocketAddr, hosts: &[(&str, SocketAddr)]) -> i32 {
    let ipcp_type = match own {
        SocketAddr::V4(_) => IpcpType::Udp4,
        SocketAddr::V6(_) => IpcpType::Udp6,
    };
    let mut config = IpcpConfig::new(ipcp_type, LAYER);
    match own.ip() {
        IpAddr::V4(ip) => {
            let mut udp = Udp4Config::new(ip, None, own.port());
            for (name, host) in hosts {
                let IpAddr::V4(ip) = host.ip() else {
                    panic!("{host} is of another family");
                };
                udp.hosts.push(Udp4Host::new(name, ip, Some(host.port())));
            }
            config.udp4 = Some(udp);
        }
        IpAddr::V6(ip) => {
            let mut udp = Udp6Config::new(ip, None, own.port());
            for (name, host) in hosts {
                let IpAddr::V6(ip) = host.ip() else {
                    panic!("{host} is of another family");
                };
                udp.hosts.push(Udp6Host::new(name, ip, Some(host.port())));
            }
            config.udp6 = Some(udp);
        }
    }
    bootstrap(test, ipcp_type, &config)
}

fn bootstrap(test: &TestNode, ipcp_type: IpcpType, config: &IpcpConfig) -> i32 {
    let irm = test.irm();
    let pid = irm.create_ipcp("net", ipcp_type).expect("an IPCP starts");
    irm.bootstrap_ipcp(pid, config).expect("it gets its layer");
    pid
}

/// Registers a name in the layer of an IPCP, and binds a process to it.
///
/// # Panics
/// If that fails.
pub fn serve(test: &TestNode, ipcp: i32, name: &str, process: i32) {
    let irm = test.irm();
    let info = NameInfo {
        name: name.to_owned(),
        ..NameInfo::default()
    };
    irm.create_name(&info).expect("the name is created");
    irm.reg_name(name, ipcp).expect("the name is registered");
    irm.bind_process(process, name).expect("it is bound");
}

/// A counter of an IPCP.
///
/// # Panics
/// If there is none of that name.
#[must_use]
pub fn counter(test: &TestNode, ipcp: i32, section: &str, counter: &str) -> u64 {
    let status = test.irm().show_ipcp(ipcp).expect("the status of the IPCP");
    let table = status.sections.iter().find(|it| it.name == section);
    let mut rows = table.expect("the table").rows.iter();
    let row = rows.find(|row| row.cells[0] == counter);
    let cell = &row
        .unwrap_or_else(|| panic!("no {counter} in {section}"))
        .cells[1];
    cell.parse().expect("a number")
}
