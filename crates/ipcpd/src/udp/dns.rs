//! A name server that keeps the addresses of a layer's names: queries, and updates as of RFC 2136
//! (`spec/shims.md` §6.5).
//!
//! Only what a layer needs, on messages of `hickory-proto`: one server, no cache, no search. A name
//! is the hash in hexadecimal digits, without a domain, so the server must have a zone that holds
//! it; which one that is, it is asked first.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode, UpdateMessage},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA},
    },
};
use o7s::{Error, ErrorKind, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// How long an answer is waited for, at each try.
const TRIES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// How long an address may be kept by others, s.
const TTL: u32 = 86_400;
/// Longest answer by datagram; what is longer comes by TCP.
const DATAGRAM: usize = 4096;

/// What is done to the address of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// It is added.
    Add,
    /// It is removed; other addresses of the name stay.
    Remove,
}

/// The addresses of a name, of this family; none if it does not exist.
///
/// # Errors
/// The server does not answer, or cannot.
pub async fn addresses(server: SocketAddr, name: &str, v6: bool) -> Result<Vec<IpAddr>> {
    let kind = if v6 { RecordType::AAAA } else { RecordType::A };
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(full(name)?, kind));
    let answer = ask(server, &query).await?;
    match answer.metadata.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Ok(Vec::new()),
        code => return Err(refused(server, &format!("to look {name} up"), code)),
    }
    let found = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(A(ip)) if !v6 => Some(IpAddr::V4(*ip)),
            RData::AAAA(AAAA(ip)) if v6 => Some(IpAddr::V6(*ip)),
            _ => None,
        });
    Ok(found.collect())
}

/// Adds an address to a name, or removes it.
///
/// # Errors
/// The server does not answer, has no zone for the name, or does not allow it.
pub async fn update(server: SocketAddr, what: Update, name: &str, ip: IpAddr) -> Result<()> {
    let zone = zone_of(server, name).await?;
    let data = match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    };
    let mut record = Record::from_rdata(full(name)?, TTL, data);
    if what == Update::Remove {
        // RFC 2136 §2.5.4: this record, not all of the name.
        record.dns_class = DNSClass::NONE;
        record.ttl = 0;
    }
    let mut update = Message::query();
    update.metadata.op_code = OpCode::Update;
    update.metadata.recursion_desired = false;
    update.add_zone(Query::query(zone, RecordType::SOA));
    update.add_update(record);
    let answer = ask(server, &update).await?;
    match answer.metadata.response_code {
        ResponseCode::NoError => Ok(()),
        code => Err(refused(server, &format!("to update {name}"), code)),
    }
}

/// The zone of the server that a name is in.
async fn zone_of(server: SocketAddr, name: &str) -> Result<Name> {
    let mut query = Message::query();
    query.metadata.recursion_desired = false;
    query.add_query(Query::query(full(name)?, RecordType::SOA));
    let answer = ask(server, &query).await?;
    let mut records = answer.answers.iter().chain(&answer.authorities);
    let zone = records.find(|record| matches!(record.data, RData::SOA(_)));
    zone.map(|record| record.name.clone()).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "the name server {} has no zone for {name} ({}): names of this layer have no domain, \
                 so it must be the master of the zone \".\"",
                server.ip(),
                answer.metadata.response_code
            ),
        )
    })
}

fn full(name: &str) -> Result<Name> {
    Name::from_ascii(format!("{name}."))
        .map_err(|error| Error::new(ErrorKind::Name, format!("{name} is no DNS name: {error}")))
}

fn refused(server: SocketAddr, what: &str, code: ResponseCode) -> Error {
    let advice = match code {
        ResponseCode::Refused | ResponseCode::NotAuth => {
            "; it must allow dynamic updates and queries from this machine ('allow-update')"
        }
        _ => "",
    };
    Error::new(
        ErrorKind::Permission,
        format!(
            "the name server {} was asked {what} and answered \"{code}\"{advice}",
            server.ip()
        ),
    )
}

/// The answer to a message: by datagram, several times if none comes, and by TCP if it is long.
async fn ask(server: SocketAddr, message: &Message) -> Result<Message> {
    let bytes = message
        .to_vec()
        .map_err(|error| Error::new(ErrorKind::Invalid, format!("no DNS message: {error}")))?;
    let failed = |error: io::Error| {
        Error::new(
            ErrorKind::Name,
            format!("cannot ask the name server {server}: {error}"),
        )
    };
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // A port of its own for each question, which only the server may answer.
    let socket = UdpSocket::bind(local).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    let mut buffer = vec![0; DATAGRAM];
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for limit in TRIES {
        socket.send(&bytes).await.map_err(failed)?;
        let answer = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if let Some(answer) = answer_to(message, &buffer[..length]) {
                    return Ok(answer);
                }
            }
        };
        match timeout(limit, answer).await {
            Ok(Ok(answer)) if answer.metadata.truncation => {
                return timeout(limit, ask_stream(server, message, &bytes))
                    .await
                    .map_err(io::Error::from)
                    .flatten()
                    .map_err(failed);
            }
            Ok(Ok(answer)) => return Ok(answer),
            // Nobody is there (yet).
            Ok(Err(error)) => {
                last = error;
                tokio::time::sleep(limit / 4).await;
            }
            Err(elapsed) => last = elapsed.into(),
        }
    }
    Err(failed(last))
}

/// The same by TCP: each message has its length before it.
async fn ask_stream(server: SocketAddr, message: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(bytes).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).await?;
    answer_to(message, &answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A message, if it is the answer to this one.
fn answer_to(message: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let (asked, got) = (&message.metadata, &answer.metadata);
    let fits = got.id == asked.id
        && got.op_code == asked.op_code
        && got.message_type == hickory_proto::op::MessageType::Response
        // A server that cannot read the question need not repeat it.
        && (answer.queries == message.queries || answer.queries.is_empty());
    fits.then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_is_taken_for_it() {
        let mut asked = Message::query();
        asked.add_query(Query::query(full("00ff").unwrap(), RecordType::A));
        let good = asked.clone().into_response();
        assert!(answer_to(&asked, &good.to_vec().unwrap()).is_some());
        assert!(answer_to(&asked, &asked.to_vec().unwrap()).is_none());
        assert!(answer_to(&asked, b"nonsense").is_none());
        let mut other = good.clone();
        other.metadata.id = asked.metadata.id.wrapping_add(1);
        assert!(answer_to(&asked, &other.to_vec().unwrap()).is_none());
        let mut other = good;
        other.queries[0].name = full("00fe").unwrap();
        assert!(answer_to(&asked, &other.to_vec().unwrap()).is_none());
    }

    #[test]
    fn a_server_that_is_not_there_is_an_error_that_names_it() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        // A port that is taken by nobody who answers.
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = silent.local_addr().unwrap();
        let error = runtime
            .block_on(addresses(server, "00ff", false))
            .unwrap_err();
        let message = error.message();
        assert!(message.contains(&server.to_string()), "{message}");
    }
}
