//! The control channel: an IPCP's standard input, with the daemon at the other end.
//!
//! The IPCP ends in good order with the channel or on SIGTERM.

use std::{
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream as StdUnixStream},
    time::{Duration, Instant},
};

use o7s::{
    Error, ErrorKind, Result,
    control::{
        Body, Decoder, Envelope, Failure, Hello, REQUEST_MAX, VERSION, encode, receive, send,
    },
};
use tokio::{
    io::Interest,
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
    time::sleep_until,
};

use crate::framework::{Event, Ipcp, Post, Process};

/// How long a failed IPCP waits for the daemon to take notice.
const NOTICE: Duration = Duration::from_secs(1);

/// Runs the IPCP that `make` makes, within the event loop, until the daemon is gone or asks it to
/// end. Its data path, tasks and threads tell what happens by the [`Post`] that `make` gets.
///
/// # Errors
/// The channel is no socket, the event loop cannot be set up, or the IPCP failed.
pub fn run<I: Ipcp>(make: impl FnOnce(Post<I::Event>) -> I) -> Result<()> {
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
    let served = runtime.block_on(async {
        let (post, events) = Post::new();
        serve(Process::new(make(post)), channel, events).await
    });
    // A thread that waits for a neighbour keeps nobody here.
    runtime.shutdown_background();
    served.map_err(failed)
}

/// Tells the daemon why this IPCP cannot run, so that whoever asked for it hears it, and waits a
/// moment for the daemon to take notice. Without a daemon nothing happens.
pub fn tell_failure(error: &Error) {
    let Ok(fd) = io::stdin().as_fd().try_clone_to_owned() else {
        return;
    };
    let mut channel = StdUnixStream::from(fd);
    let failure = encode(&envelope(0, Body::Failure(Failure::from(error))));
    // Fails for anything but a connected UNIX socket.
    let told = channel
        .peer_addr()
        .and_then(|_| channel.set_nonblocking(false))
        .and_then(|()| channel.set_read_timeout(Some(NOTICE)))
        .and_then(|()| channel.write_all(&failure));
    if told.is_ok() {
        // The daemon closes the channel, or signals.
        let _ = io::copy(&mut channel, &mut io::sink());
    }
}

async fn serve<I: Ipcp>(
    mut process: Process<I>,
    channel: StdUnixStream,
    mut events: UnboundedReceiver<Event<I::Event>>,
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
        let timeout = process.next_timeout();
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
                let messages = process.event(Instant::now(), event).map_err(io::Error::other)?;
                append(&mut out, messages);
            }
            () = sleep_until(timeout.unwrap_or_else(Instant::now).into()), if timeout.is_some() => {
                append(&mut out, process.timeout(Instant::now()));
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
                        let messages = process.message(Instant::now(), envelope.id, body, fds);
                        append(&mut out, messages);
                    }
                }
            }
        }
    }
}

fn append(out: &mut Vec<u8>, messages: Vec<(u64, Body)>) {
    for (id, body) in messages {
        out.extend(encode(&envelope(id, body)));
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
