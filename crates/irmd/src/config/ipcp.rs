//! Entries of IPCPs: `[TYPE."NAME"]` (`spec/irm-tools.md` §9).

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use o7s::{
    DirHash,
    irm::{
        CongestionPolicy, ETHERTYPE, EthConfig, Impairment, IpcpConfig, IpcpType, LinkStatePolicy,
        UDP_HOSTS_MAX, UDP_PORT, Udp4Config, Udp4Host, Udp6Config, Udp6Host, UnicastConfig,
    },
};

use super::{
    At, IpcpEntry, Join, Problem,
    table::{Key, Reader, Table, Value},
};

/// Keys of IPCPs of any type, for complaints elsewhere.
pub(super) const KEYS: &[&str] = &[
    "bootstrap",
    "enrol",
    "enroll",
    "autobind",
    "reg",
    "conn",
    "hash",
    "dev",
    "ethertype",
    "ip",
    "dns",
    "port",
    "addr_size",
    "eid_size",
    "max_ttl",
    "directory",
    "dht_alpha",
    "dht_k",
    "dht_t_expire",
    "dht_t_expiry",
    "dht_t_refresh",
    "dht_t_replicate",
    "routing",
    "ls_t_recalc",
    "ls_t_update",
    "ls_t_timeo",
    "addr-auth",
    "addr_auth",
    "congestion",
    "hosts",
    "loss",
    "delay",
    "jitter",
    "reorder",
    "duplicate",
    "corrupt",
    "mtu",
    "seed",
];

/// Reads an entry.
pub(super) fn read(
    reader: &mut Reader,
    ipcp_type: IpcpType,
    key: &Key,
    value: &Value,
) -> Option<IpcpEntry> {
    let kind = ipcp_type.as_str();
    let name = reader.name(key.span(), key.get_ref(), "name of an IPCP");
    if let Some(name) = &name {
        let line = reader.line(key.span().start);
        if let Some(other) = reader.ipcps.insert(name.clone(), line) {
            reader.tell(
                Problem::error(key.span(), format!("there are two IPCPs named {name:?}"))
                    .help(format!("the other one is in line {other}")),
            );
        }
    }
    let mut table = reader.table(key, value, kind)?;
    let autobind = table.flag(reader, "autobind").unwrap_or(false);
    let reg = table.names(reader, "reg", "name");
    let join = join(reader, ipcp_type, &mut table);
    let enrolled = matches!(&join, Some(join) if matches!(join.value, Join::Enroll(_)));
    // Only members that enrolled connect to neighbours.
    let conn = if enrolled {
        table.names(reader, "conn", "name of a neighbour")
    } else {
        if let Some((key, _)) = table.get(reader, &["conn"]) {
            reader.tell(
                Problem::warning(key.span(), "conn is ignored: the IPCP does not enroll")
                    .help("write enrol = \"DST\", or remove conn"),
            );
        }
        Vec::new()
    };
    if join.is_none() {
        for (word, given) in [("autobind", autobind), ("reg", !reg.is_empty())] {
            if let Some((key, _)) = table.get(reader, &[word]).filter(|_| given) {
                reader.tell(
                    Problem::warning(
                        key.span(),
                        format!("{word} has no effect: the IPCP comes into no layer"),
                    )
                    .help("write bootstrap = \"LAYER\" or enrol = \"DST\""),
                );
            }
        }
    }
    let all: Vec<&str> = KEYS.iter().chain(super::name::KEYS).copied().collect();
    table.finish(reader, &format!("an IPCP of type {kind}"), &all);
    Some(IpcpEntry {
        name: name?,
        ipcp_type,
        join,
        autobind,
        reg,
        conn,
    })
}

/// How the IPCP comes into a layer, with the options of the layer.
fn join(reader: &mut Reader, ipcp_type: IpcpType, table: &mut Table) -> Option<At<Join>> {
    let enrol = table.string(reader, &["enrol", "enroll"]);
    let bootstrap = table.string(reader, &["bootstrap"]);
    // The options are checked also where they have no effect.
    let layer = bootstrap
        .as_ref()
        .and_then(|layer| reader.name(layer.span(), layer.get_ref(), "name of a layer"));
    let needed = bootstrap
        .as_ref()
        .filter(|_| enrol.is_none())
        .map(toml::Spanned::span);
    let config = layer_config(
        reader,
        ipcp_type,
        table,
        layer.as_deref().unwrap_or("-"),
        needed,
    );
    if let Some(dst) = enrol {
        if let Some(bootstrap) = bootstrap {
            reader.tell(
                Problem::warning(
                    bootstrap.span(),
                    "bootstrap is ignored: the entry has enrol too",
                )
                .help("remove one of the two"),
            );
        }
        if !matches!(ipcp_type, IpcpType::Unicast | IpcpType::Broadcast) {
            reader.tell(
                Problem::error(
                    dst.span(),
                    format!("an IPCP of type {} cannot enroll", ipcp_type.as_str()),
                )
                .help("write bootstrap = \"LAYER\""),
            );
            return None;
        }
        let name = reader.name(dst.span(), dst.get_ref(), "name of a member or a layer")?;
        return Some(At {
            line: reader.line(dst.span().start),
            value: Join::Enroll(name),
        });
    }
    let line = reader.line(bootstrap?.span().start);
    layer?;
    Some(At {
        line,
        value: Join::Bootstrap(Box::new(config)),
    })
}

/// The options of a layer. `needed` is where the layer is started, if it is.
fn layer_config(
    reader: &mut Reader,
    ipcp_type: IpcpType,
    table: &mut Table,
    layer: &str,
    needed: Option<std::ops::Range<usize>>,
) -> IpcpConfig {
    let kind = ipcp_type.as_str();
    let mut config = IpcpConfig::new(ipcp_type, layer);
    let missing = |reader: &mut Reader, word: &str, what: &str| {
        if let Some(span) = needed.clone() {
            reader.tell(
                Problem::error(span, format!("a layer of type {kind} needs {word}"))
                    .help(format!("write {word} = \"…\": {what}")),
            );
        }
    };
    match ipcp_type {
        IpcpType::Local => {
            hash(reader, table, &mut config);
            config.local = impairment(reader, table);
        }
        IpcpType::Broadcast => {}
        IpcpType::Unicast => config.unicast = Some(unicast(reader, table)),
        IpcpType::EthLlc | IpcpType::EthDix => {
            hash(reader, table, &mut config);
            let mut eth = EthConfig::default();
            match device(reader, table) {
                Device::Given(dev) => eth.dev = dev,
                Device::Wrong => eth.dev = "-".to_owned(),
                Device::Missing => missing(reader, "dev", "the network device"),
            }
            if ipcp_type == IpcpType::EthDix {
                eth.ethertype = table
                    .number(reader, &["ethertype"], 0x0600..=0xfffe)
                    .unwrap_or(ETHERTYPE)
                    .into();
            }
            config.eth = Some(eth);
        }
        IpcpType::Udp4 => {
            let (ip, dns, port) = udp(reader, table, "IPv4", Ipv4Addr::is_unspecified, || {
                Ipv4Addr::LOCALHOST
            });
            if ip.is_none() {
                missing(reader, "ip", "this machine's IPv4 address");
            }
            let mut udp = Udp4Config::new(ip.unwrap_or(Ipv4Addr::LOCALHOST), dns, port);
            udp.hosts = hosts(reader, table, Udp4Host::parse, "192.0.2.7");
            config.udp4 = Some(udp);
        }
        IpcpType::Udp6 => {
            let (ip, dns, port) = udp(reader, table, "IPv6", Ipv6Addr::is_unspecified, || {
                Ipv6Addr::LOCALHOST
            });
            if ip.is_none() {
                missing(reader, "ip", "this machine's IPv6 address");
            }
            let mut udp = Udp6Config::new(ip.unwrap_or(Ipv6Addr::LOCALHOST), dns, port);
            udp.hosts = hosts(reader, table, Udp6Host::parse, "2001:db8::7");
            config.udp6 = Some(udp);
        }
    }
    config
}

fn hash(reader: &mut Reader, table: &mut Table, config: &mut IpcpConfig) {
    let words = DirHash::CHOICE_WORDS.chunks(1);
    let words: Vec<_> = words.zip(DirHash::CHOICE).collect();
    if let Some(hash) = table.word(reader, &["hash"], &words) {
        config.layer.dir_hash = hash as u32;
    }
}

/// What a local layer does to packets, if one of its keys is there.
fn impairment(reader: &mut Reader, table: &mut Table) -> Option<Impairment> {
    let given = Impairment::OPTIONS
        .iter()
        .any(|word| table.get(reader, &[*word]).is_some());
    let share = |reader: &mut Reader, table: &mut Table, word| {
        let allowed = "allowed are 0 to 100 percent, as 0.5, or millionths, as \"500ppm\"";
        let share = table.quantity(reader, word, Impairment::share, allowed);
        share.unwrap_or(0)
    };
    let time = |reader: &mut Reader, table: &mut Table, word| {
        let allowed = "allowed are 0 to 60000 ms, as 20 or 0.25";
        let time = table.quantity(reader, word, Impairment::micros, allowed);
        time.unwrap_or(0)
    };
    let impairment = Impairment {
        loss: share(reader, table, "loss"),
        delay_us: time(reader, table, "delay"),
        jitter_us: time(reader, table, "jitter"),
        reorder: share(reader, table, "reorder"),
        duplicate: share(reader, table, "duplicate"),
        corrupt: share(reader, table, "corrupt"),
        mtu: table
            .number(reader, &["mtu"], 1..=o7s::control::LOCAL_MTU_MAX)
            .unwrap_or(0),
        // An integer of TOML has 63 bits.
        seed: table
            .number(reader, &["seed"], 0..=i64::MAX as u64)
            .unwrap_or(0),
    };
    given.then_some(impairment)
}

/// Names with fixed addresses.
fn hosts<H>(
    reader: &mut Reader,
    table: &mut Table,
    parse: fn(&str, &str) -> o7s::Result<H>,
    example: &str,
) -> Vec<H> {
    let example = format!("{{ oping = {example:?} }}");
    let pairs = table.pairs(reader, "hosts", &example);
    if let Some((name, _)) = pairs.get(UDP_HOSTS_MAX) {
        reader.tell(
            Problem::error(name.span(), "there are too many hosts").help(format!(
                "{UDP_HOSTS_MAX} are allowed; use a name server for more"
            )),
        );
    }
    pairs
        .into_iter()
        .take(UDP_HOSTS_MAX)
        .filter_map(|(name, address)| {
            reader.name(name.span(), name.get_ref(), "name")?;
            match parse(name.get_ref(), address.get_ref()) {
                Ok(host) => Some(host),
                Err(error) => {
                    reader.tell(Problem::error(address.span(), error.message().to_owned()));
                    None
                }
            }
        })
        .collect()
}

enum Device {
    Given(String),
    Wrong,
    Missing,
}

fn device(reader: &mut Reader, table: &mut Table) -> Device {
    if table.get(reader, &["dev"]).is_none() {
        return Device::Missing;
    }
    let Some(dev) = table.string(reader, &["dev"]) else {
        return Device::Wrong;
    };
    let length = dev.get_ref().len();
    if (1..=o7s::control::DEVICE_MAX).contains(&length) {
        return Device::Given((*dev.get_ref()).to_owned());
    }
    reader.tell(Problem::error(
        dev.span(),
        format!(
            "the name of a network device has 1 to {} bytes, not {length}",
            o7s::control::DEVICE_MAX
        ),
    ));
    Device::Wrong
}

/// Own address, name server and port. A wrong address was told and counts as given.
fn udp<A: FromStr + Copy>(
    reader: &mut Reader,
    table: &mut Table,
    family: &str,
    unspecified: fn(&A) -> bool,
    stand_in: fn() -> A,
) -> (Option<A>, Option<A>, u16) {
    let given = table.get(reader, &["ip"]).is_some();
    let ip = table.string(reader, &["ip"]).and_then(|text| {
        let ip: A = address(reader, &text, family)?;
        if unspecified(&ip) {
            reader.tell(
                Problem::error(
                    text.span(),
                    format!("the {family} address {} cannot be used", text.get_ref()),
                )
                .help("give an address of this machine"),
            );
            return None;
        }
        Some(ip)
    });
    let dns = table
        .string(reader, &["dns"])
        .and_then(|text| address(reader, &text, family));
    let port = table
        .number(reader, &["port"], 1..=u16::MAX)
        .unwrap_or(UDP_PORT);
    (ip.or_else(|| given.then(stand_in)), dns, port)
}

fn address<A: FromStr>(reader: &mut Reader, text: &toml::Spanned<&str>, family: &str) -> Option<A> {
    let parsed = text.get_ref().parse().ok();
    if parsed.is_none() {
        let example = if family == "IPv4" {
            "192.0.2.1"
        } else {
            "2001:db8::1"
        };
        reader.tell(
            Problem::error(
                text.span(),
                format!("{:?} is no {family} address", text.get_ref()),
            )
            .help(format!("write it like \"{example}\"")),
        );
    }
    parsed
}

fn unicast(reader: &mut Reader, table: &mut Table) -> UnicastConfig {
    let mut config = UnicastConfig::default();
    let UnicastConfig { dt, dir, .. } = &mut config;
    let set = |field: &mut u32, value: Option<u32>| {
        if let Some(value) = value {
            *field = value;
        }
    };
    // Ranges: `o7s::irm::IpcpConfig::check`.
    set(
        &mut dt.addr_size,
        table.number(reader, &["addr_size"], 4..=4),
    );
    set(&mut dt.eid_size, table.number(reader, &["eid_size"], 1..=8));
    set(&mut dt.max_ttl, table.number(reader, &["max_ttl"], 1..=255));
    table.word(reader, &["directory"], &[(&["DHT", "dht"], ())]);
    let dht = &mut dir.dht;
    set(&mut dht.alpha, table.number(reader, &["dht_alpha"], 1..=10));
    set(&mut dht.k, table.number(reader, &["dht_k"], 1..=20));
    set(
        &mut dht.t_expire,
        table.number(reader, &["dht_t_expire", "dht_t_expiry"], 10..=86_400),
    );
    set(
        &mut dht.t_refresh,
        table.number(reader, &["dht_t_refresh"], 3..=3600),
    );
    set(
        &mut dht.t_replicate,
        table.number(reader, &["dht_t_replicate"], 3..=3600),
    );
    let routing = table.word(
        reader,
        &["routing"],
        &[
            (&["link-state", "link_state"], LinkStatePolicy::Simple),
            (&["lfa"], LinkStatePolicy::Lfa),
            (&["ecmp"], LinkStatePolicy::Ecmp),
        ],
    );
    let ls = &mut dt.routing.ls;
    if let Some(routing) = routing {
        ls.set_pol(routing);
    }
    for (word, field) in [
        ("ls_t_recalc", &mut ls.t_recalc),
        ("ls_t_update", &mut ls.t_update),
        ("ls_t_timeo", &mut ls.t_timeo),
    ] {
        set(field, table.number(reader, &[word], 1..=u32::MAX));
    }
    table.word(reader, &["addr-auth", "addr_auth"], &[(&["flat"], ())]);
    // The sample file of 0.23 chooses MB-ECN by the word "lfa".
    let congestion = table.word(
        reader,
        &["congestion"],
        &[
            (&["none"], CongestionPolicy::None),
            (&["mb-ecn", "mb_ecn", "lfa"], CongestionPolicy::MbEcn),
        ],
    );
    if let Some(congestion) = congestion {
        config.set_cong_avoid(congestion);
    }
    config
}
