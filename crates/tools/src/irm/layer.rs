//! The options of `irm ipcp bootstrap` (`spec/irm-tools.md` §7.4).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use o7s::{
    DirHash,
    control::{DEVICE_MAX, Impairment, LOCAL_MTU_MAX},
    irm::IpcpType,
};

use super::{
    command::{Bootstrap, LayerOptions},
    grammar::TYPES,
    keyword::find,
    parse::{Fields, ParseError, unknown_type},
};

/// A range of numbers of an option.
type Range<T> = std::ops::RangeInclusive<T>;

/// Reads and checks the options.
pub(super) fn bootstrap(fields: &Fields) -> Result<Bootstrap, ParseError> {
    let name = fields.need_name("name")?;
    let layer = fields.need_name("layer")?;
    let ipcp_type = fields
        .get("type")
        .map(|word| {
            find(word, TYPES.iter().copied())
                .and_then(|at| IpcpType::by_word(TYPES[at]))
                .ok_or_else(|| unknown_type(fields, word))
        })
        .transpose()?;
    let options = LayerOptions {
        hash: hash(fields)?,
        ip: address(fields, "ip", ipcp_type)?,
        dns: address(fields, "dns", ipcp_type)?,
        port: number(fields, "port", 1..=u16::MAX)?,
        device: device(fields)?,
        ethertype: ethertype(fields)?,
        addr_size: number(fields, "addr", 1..=8)?,
        eid_size: number(fields, "eid", 1..=8)?,
        max_ttl: number(fields, "ttl", 1..=u8::MAX)?,
        addr_auth: word(fields, "addr_auth", &[("flat", "flat")])?,
        directory: word(fields, "directory", &[("DHT", "DHT"), ("dht", "DHT")])?,
        dht_alpha: number(fields, "dht_alpha", 1..=10)?,
        dht_k: number(fields, "dht_k", 1..=20)?,
        dht_t_expire: number(fields, "dht_t_expire", 10..=86_400)?,
        dht_t_refresh: number(fields, "dht_t_refresh", 3..=3600)?,
        dht_t_replicate: number(fields, "dht_t_replicate", 3..=3600)?,
        routing: word(
            fields,
            "routing",
            &[
                ("link_state", "link_state"),
                ("link-state", "link_state"),
                ("lfa", "lfa"),
                ("ecmp", "ecmp"),
            ],
        )?,
        ls_t_timeo: number(fields, "ls_t_timeo", 1..=u32::MAX)?,
        ls_t_update: number(fields, "ls_t_update", 1..=u32::MAX)?,
        ls_t_recalc: number(fields, "ls_t_recalc", 1..=u32::MAX)?,
        congestion: word(
            fields,
            "congestion",
            &[("none", "none"), ("mb-ecn", "mb-ecn"), ("mb_ecn", "mb-ecn")],
        )?,
        impairment: impairment(fields)?,
        hosts: hosts(fields)?,
        given: fields
            .given()
            .filter(|word| !matches!(*word, "type" | "layer" | "name" | "autobind"))
            .collect(),
    };
    let bootstrap = Bootstrap {
        name,
        layer,
        ipcp_type,
        autobind: fields.has("autobind"),
        options,
    };
    if let Some(ipcp_type) = ipcp_type {
        bootstrap
            .config(ipcp_type)
            .map_err(|message| fields.wrong(message))?;
    }
    Ok(bootstrap)
}

fn unknown_value(fields: &Fields, option: &str, value: &str, known: &str) -> ParseError {
    fields.wrong(format!(
        "Unknown parameter for {option}: \"{value}\".\nUse {known}."
    ))
}

fn hash(fields: &Fields) -> Result<Option<DirHash>, ParseError> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| unknown_value(fields, "hash", text, &DirHash::CHOICE_WORDS.join(", ")))
    };
    fields.get("hash").map(parse).transpose()
}

/// One of some words, with their canonical spelling.
fn word(
    fields: &Fields,
    option: &str,
    words: &[(&str, &'static str)],
) -> Result<Option<&'static str>, ParseError> {
    let Some(given) = fields.get(option) else {
        return Ok(None);
    };
    let known = words.iter().find(|(word, _)| *word == given);
    match known {
        Some((_, canonical)) => Ok(Some(canonical)),
        None => {
            let mut names: Vec<&str> = words.iter().map(|(_, canonical)| *canonical).collect();
            names.dedup();
            Err(unknown_value(fields, option, given, &names.join(", ")))
        }
    }
}

fn number<T>(fields: &Fields, option: &str, range: Range<T>) -> Result<Option<T>, ParseError>
where
    T: FromStr + PartialOrd + fmt::Display,
{
    let Some(text) = fields.get(option) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => Err(fields.wrong(format!(
            "Invalid value for {option}: \"{text}\".\nUse a number from {} to {}.",
            range.start(),
            range.end()
        ))),
    }
}

/// What a local layer does to packets, if one of the options is there.
fn impairment(fields: &Fields) -> Result<Option<Impairment>, ParseError> {
    if !Impairment::OPTIONS.iter().any(|option| fields.has(option)) {
        return Ok(None);
    }
    Ok(Some(Impairment {
        loss: share(fields, "loss")?,
        delay_us: micros(fields, "delay")?,
        jitter_us: micros(fields, "jitter")?,
        reorder: share(fields, "reorder")?,
        duplicate: share(fields, "duplicate")?,
        corrupt: share(fields, "corrupt")?,
        mtu: number(fields, "mtu", 1..=LOCAL_MTU_MAX)?.unwrap_or(0),
        seed: number(fields, "seed", 0..=u64::MAX)?.unwrap_or(0),
    }))
}

/// A share of the packets, in millionths: percent, or `ppm`.
fn share(fields: &Fields, option: &str) -> Result<u32, ParseError> {
    let Some(text) = fields.get(option) else {
        return Ok(0);
    };
    Impairment::share(text).ok_or_else(|| {
        fields.wrong(format!(
            "Invalid value for {option}: \"{text}\".\nUse a percentage from 0 to 100, as \"0.5\" or \
             \"0.5%\", or millionths, as \"500ppm\"."
        ))
    })
}

/// A time in ms, as µs.
fn micros(fields: &Fields, option: &str) -> Result<u32, ParseError> {
    let Some(text) = fields.get(option) else {
        return Ok(0);
    };
    Impairment::micros(text).ok_or_else(|| {
        fields.wrong(format!(
            "Invalid value for {option}: \"{text}\".\nUse milliseconds from 0 to 60000, as \"20\" or \
             \"0.25\"."
        ))
    })
}

/// Names with fixed addresses; the family is looked at when the type is known.
fn hosts(fields: &Fields) -> Result<Vec<(String, String)>, ParseError> {
    let pair = |text: &str| {
        // A name may contain the sign, an address does not.
        let (name, address) = text.rsplit_once('=').ok_or_else(|| {
            fields.wrong(format!(
                "Invalid value for host: \"{text}\".\nUse NAME=ADDRESS or NAME=ADDRESS:PORT, as \
                 \"oping=192.0.2.7\"."
            ))
        })?;
        Ok((name.to_owned(), address.to_owned()))
    };
    fields.all("host").map(pair).collect()
}

/// An address; of the family of the type, if that is known.
fn address(
    fields: &Fields,
    option: &str,
    ipcp_type: Option<IpcpType>,
) -> Result<Option<IpAddr>, ParseError> {
    let Some(text) = fields.get(option) else {
        return Ok(None);
    };
    let (family, parsed) = match ipcp_type {
        Some(IpcpType::Udp4) => ("IPv4 ", text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)),
        Some(IpcpType::Udp6) => ("IPv6 ", text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)),
        _ => ("IP ", text.parse().ok()),
    };
    let dns = if option == "dns" { "DNS " } else { "" };
    match parsed {
        Some(address) => Ok(Some(address)),
        None => Err(fields.wrong(format!("Invalid {dns}{family}address: \"{text}\"."))),
    }
}

fn device(fields: &Fields) -> Result<Option<String>, ParseError> {
    match fields.get("device") {
        Some(device) if device.len() > DEVICE_MAX => Err(fields.wrong(format!(
            "Device name too long.\nIt has {} bytes; the limit is {DEVICE_MAX}.",
            device.len()
        ))),
        Some("") => Err(fields.wrong("The device name is empty.".to_owned())),
        device => Ok(device.map(str::to_owned)),
    }
}

/// Hexadecimal, with or without `0x`.
fn ethertype(fields: &Fields) -> Result<Option<u16>, ParseError> {
    let Some(text) = fields.get("ethertype") else {
        return Ok(None);
    };
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    match u16::from_str_radix(digits, 16) {
        Ok(number @ 0x0600..=0xfffe) if !digits.starts_with('+') => Ok(Some(number)),
        _ => Err(fields.wrong(format!(
            "Invalid Ethertype: \"{text}\".\nRecommended range: 0xA000-0xEFFF."
        ))),
    }
}
