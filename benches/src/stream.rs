//! Messages over byte streams, as one would write it: a length before each message, one gathered
//! write a message, buffered reading; in the clear and through TLS 1.3.

use std::{
    fs::File,
    io::{self, BufReader, IoSlice, Read, Write},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    client::Resumption,
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::TLS13,
};

use crate::identity::{SECURITY, SIGNED, authority_path, server_paths};

type Failure = Box<dyn std::error::Error>;

/// Bytes that are read from a socket at once, if they are there.
const READ: usize = 64 << 10;

/// A connected socket, read through a buffer.
pub(crate) struct Socket {
    reader: BufReader<File>,
    writer: File,
}

impl Socket {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let reader = File::from(socket.try_clone()?);
        Ok(Self {
            reader: BufReader::with_capacity(READ, reader),
            writer: File::from(socket),
        })
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.writer.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writer.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One end of a connection.
pub(crate) enum Stream {
    Clear(Socket),
    Client(Box<StreamOwned<ClientConnection, Socket>>),
    Server(Box<StreamOwned<ServerConnection, Socket>>),
}

impl Stream {
    /// The end that connects. A handshake comes with the first message.
    pub(crate) fn client(kind: &str, socket: OwnedFd, security: &Path) -> Result<Self, Failure> {
        let socket = Socket::new(socket)?;
        if !kind.starts_with("tls") {
            return Ok(Self::Clear(socket));
        }
        let config = client_config(security, aws_lc_rs::kx_group::X25519)?;
        let mut connection = ClientConnection::new(config, server_name()?)?;
        connection.set_buffer_limit(None);
        Ok(Self::Client(Box::new(StreamOwned::new(connection, socket))))
    }

    /// The end that was connected to.
    pub(crate) fn server(kind: &str, socket: OwnedFd) -> Result<Self, Failure> {
        let socket = Socket::new(socket)?;
        if !kind.starts_with("tls") {
            return Ok(Self::Clear(socket));
        }
        let config = server_config(&security_dir()?, aws_lc_rs::kx_group::X25519)?;
        let mut connection = ServerConnection::new(config)?;
        connection.set_buffer_limit(None);
        Ok(Self::Server(Box::new(StreamOwned::new(connection, socket))))
    }

    pub(crate) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(stream) => write_message(stream, message),
            Self::Client(stream) => write_message(stream, message),
            Self::Server(stream) => write_message(stream, message),
        }
    }

    pub(crate) fn receive(&mut self, message: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => read_message(stream, message),
            Self::Client(stream) => read_message(stream, message),
            Self::Server(stream) => read_message(stream, message),
        }
    }
}

fn write_message(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let length = length.to_be_bytes();
    let parts = [IoSlice::new(&length), IoSlice::new(message)];
    let mut written = stream.write_vectored(&parts)?;
    for part in [&length, message] {
        let done = written.min(part.len());
        if done < part.len() {
            stream.write_all(&part[done..])?;
        }
        written -= done;
    }
    stream.flush()
}

fn read_message(stream: &mut impl Read, message: &mut [u8]) -> io::Result<usize> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    let message = message
        .get_mut(..length)
        .ok_or_else(|| io::Error::other("a message is too long"))?;
    stream.read_exact(message)?;
    Ok(length)
}

/// Two connected sockets: over UNIX, or over the loopback interface without Nagle's delay.
pub(crate) fn pair(kind: &str) -> io::Result<(OwnedFd, OwnedFd)> {
    if kind.ends_with("unix") {
        let (ours, theirs) = UnixStream::pair()?;
        return Ok((ours.into(), theirs.into()));
    }
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    ours.set_nodelay(true)?;
    theirs.set_nodelay(true)?;
    Ok((ours.into(), theirs.into()))
}

/// The key exchange with this name in `enc.conf`, as TLS has it.
pub(crate) fn group(kex: &str) -> Result<&'static dyn SupportedKxGroup, Failure> {
    match kex {
        "X25519" => Ok(aws_lc_rs::kx_group::X25519),
        "X25519MLKEM768" => Ok(aws_lc_rs::kx_group::X25519MLKEM768),
        _ => Err(format!("TLS is not measured with the key exchange {kex}").into()),
    }
}

/// Who the client expects: the name in the server's certificate.
pub(crate) fn server_name() -> Result<ServerName<'static>, Failure> {
    Ok(ServerName::try_from(SIGNED)?)
}

/// The directory of the security files, in a child.
pub(crate) fn security_dir() -> Result<PathBuf, Failure> {
    Ok(std::env::var_os(SECURITY)
        .ok_or("no security directory")?
        .into())
}

/// AES-256-GCM as of a flow with `cypher_s` 256, and one key exchange.
fn provider(group: &'static dyn SupportedKxGroup) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    })
}

/// A client that trusts the authority and never resumes a session.
pub(crate) fn client_config(
    security: &Path,
    group: &'static dyn SupportedKxGroup,
) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority_path(security))?)?;
    let mut config = ClientConfig::builder_with_provider(provider(group))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// A server with the certificate of [`SIGNED`] that gives no tickets.
pub(crate) fn server_config(
    security: &Path,
    group: &'static dyn SupportedKxGroup,
) -> Result<Arc<ServerConfig>, Failure> {
    let (certificate, key) = server_paths(security);
    let chain = vec![CertificateDer::from_pem_file(certificate)?];
    let mut config = ServerConfig::builder_with_provider(provider(group))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
