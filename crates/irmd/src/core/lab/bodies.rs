//! Messages that tests send.

use std::time::Duration;

use o7s::{
    DirHash, QosSpec,
    control::{
        BindProcess, BindProgram, Body, FlowAccept, FlowAlloc, FlowEnd, FlowInfo, IpcpConfig,
        IpcpType, NameInfo, RegName,
    },
};

pub(in crate::core) fn bind_body(pid: i32, name: &str) -> Body {
    Body::BindProcess(BindProcess {
        pid,
        name: Some(name.to_owned()),
    })
}

pub(in crate::core) fn program_body(program: &str, name: &str, auto: bool) -> Body {
    Body::BindProgram(BindProgram {
        program: program.to_owned(),
        name: name.to_owned(),
        auto,
        args: vec!["-l".to_owned()],
    })
}

pub(in crate::core) fn name_body(name: &str, balance: o7s::control::Balance) -> Body {
    Body::CreateName(NameInfo {
        name: name.to_owned(),
        balance: balance.into(),
        ..NameInfo::default()
    })
}

/// A configuration that is complete.
pub(in crate::core) fn config_of(ipcp_type: IpcpType, layer: &str) -> IpcpConfig {
    let mut config = IpcpConfig::new(ipcp_type, layer);
    if let Some(eth) = &mut config.eth {
        eth.dev = "eth0".to_owned();
    }
    if let Some(udp) = &mut config.udp4 {
        udp.ip_addr = 0x7f00_0001;
    }
    if let Some(udp) = &mut config.udp6 {
        udp.ip_addr = vec![1; 16];
    }
    config
}

pub(in crate::core) fn reg_body(name: &str, pid: i32) -> Body {
    Body::RegName(RegName {
        name: name.to_owned(),
        pid,
    })
}

pub(in crate::core) fn alloc_body(dst: &str) -> Body {
    alloc_within(dst, None)
}

pub(in crate::core) fn alloc_within(dst: &str, timeout: Option<Duration>) -> Body {
    Body::FlowAlloc(FlowAlloc {
        dst: dst.to_owned(),
        qos: QosSpec::RAW.into(),
        timeout_ns: timeout.map(|timeout| timeout.as_nanos() as u64),
        kex: String::new(),
    })
}

/// A flow whose cipher has at least so many bits.
pub(in crate::core) fn alloc_secret(dst: &str, cypher_s: u16) -> Body {
    let qos = QosSpec {
        cypher_s,
        ..QosSpec::RAW
    };
    Body::FlowAlloc(FlowAlloc {
        dst: dst.to_owned(),
        qos: qos.into(),
        timeout_ns: None,
        kex: String::new(),
    })
}

pub(in crate::core) fn accept_body(timeout: Option<Duration>) -> Body {
    Body::FlowAccept(FlowAccept {
        timeout_ns: timeout.map(|timeout| timeout.as_nanos() as u64),
    })
}

pub(in crate::core) fn dealloc_body(info: &FlowInfo) -> Body {
    Body::FlowDealloc(FlowEnd {
        flow_id: info.flow_id,
        side: info.side,
        ..FlowEnd::default()
    })
}

/// The hash of a name in the directory of a layer.
pub(in crate::core) fn hash(name: &str) -> Vec<u8> {
    let hash = DirHash::Sha3_256.digest(name.as_bytes());
    hash.as_bytes().to_vec()
}
