//! The control channel: an IPCP's standard input, with the daemon at the other end.
//!
//! The IPCP ends in good order with the channel or on SIGTERM.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream as StdUnixStream},
};

use o7s::{
    Error, ErrorKind, Result,
    control::{Body, Decoder, Envelope, Hello, REQUEST_MAX, VERSION, encode, receive, send},
};
use tokio::{
    io::Interest,
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::{
    data::Event,
    framework::{Ipcp, Process},
};

/// Runs the IPCP that `make` makes until the daemon is gone or asks it to end. Its data path tells
/// what happens by the sender that `make` gets.
///
/// # Errors
/// The channel is no socket, the event loop cannot be set up, or the data path failed.
pub fn run<I: Ipcp>(make: impl FnOnce(UnboundedSender<Event>) -> I) -> Result<()> {
    let (sender, events) = unbounded_channel();
    let process = Process::new(make(sender));
    let failed = |error: io::Error| Error::system("use the control channel", &error);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let fd = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let channel = StdUnixStream::from(fd);
    // Fails for anything but a connected UNIX socket.
    channel.peer_addr().map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            format!("standard input is no control channel ({error}); ipcpd is started by irmd"),
        )
    })?;
    channel.set_nonblocking(true).map_err(failed)?;
    runtime
        .block_on(serve(process, channel, events))
        .map_err(failed)
}

async fn serve<I: Ipcp>(
    mut process: Process<I>,
    channel: StdUnixStream,
    mut events: UnboundedReceiver<Event>,
) -> io::Result<()> {
    let stream = UnixStream::from_std(channel)?;
    let mut terminate = signal(SignalKind::terminate())?;
    // From a terminal these reach the daemon too, which then ends its IPCPs in order.
    let _interrupt = signal(SignalKind::interrupt())?;
    let _hangup = signal(SignalKind::hangup())?;
    let hello = Hello {
        version: VERSION,
        program: "ipcpd".to_owned(),
        ..Hello::default()
    };
    let mut decoder = Decoder::new(REQUEST_MAX);
    let mut out = encode(&envelope(1, Body::Hello(hello)));
    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => {
                tracing::info!("Shutting down.");
                return Ok(());
            }
            ready = stream.writable(), if !out.is_empty() => {
                ready?;
                match stream.try_io(Interest::WRITABLE, || send(&stream, &out, &[])) {
                    Ok(sent) => drop(out.drain(..sent)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return gone(&error),
                }
            }
            Some(event) = events.recv() => {
                if let Some(body) = process.event(event).map_err(io::Error::other)? {
                    out.extend(encode(&envelope(0, body)));
                }
            }
            ready = stream.readable() => {
                ready?;
                match stream.try_io(Interest::READABLE, || receive(&stream, &mut decoder)) {
                    Ok(0) => return gone(&io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return gone(&error),
                }
                while let Some((envelope, fds)) = decoder.next_envelope().map_err(io::Error::other)? {
                    if let Some(body) = envelope.body {
                        for (id, body) in process.message(envelope.id, body, fds) {
                            out.extend(encode(&self::envelope(id, body)));
                        }
                    }
                }
            }
        }
    }
}

fn envelope(id: u64, body: Body) -> Envelope {
    Envelope {
        id,
        fds: 0,
        body: Some(body),
    }
}

/// Without its daemon an IPCP is of no use; flows that are open go on without it.
fn gone(error: &io::Error) -> io::Result<()> {
    tracing::warn!("The irmd is gone ({error}); shutting down.");
    Ok(())
}
