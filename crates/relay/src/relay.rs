//! Moves the frames: sockets, a timer, and the channel to the parent, in one thread.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recv, recvmsg, send,
};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::control::{Answer, Command, Lines};
use crate::direction::Direction;
use crate::guard::Guard;

const CONTROL: u64 = 0;
const TIMER: u64 = 1;
/// Tokens of the sockets: this, plus twice the link, plus the end.
const PORTS: u64 = 2;
/// The longest frame, bytes; more than an interface can have.
const FRAME: usize = 1 << 17;
/// How many frames are taken from a socket before the others get their turn.
const BURST: usize = 64;
/// How many threads close sockets at the end.
const CLOSERS: usize = 32;
/// How many descriptors may come with a part of a command.
const DESCRIPTORS: usize = 8;

/// A link: end 0 is A, end 1 is B; direction 0 leads from A to B.
struct Link {
    ends: [OwnedFd; 2],
    directions: [Direction; 2],
}

/// The relay.
pub struct Relay<'control> {
    control: BorrowedFd<'control>,
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer goes off.
    armed: Option<Duration>,
    links: Vec<Link>,
    lines: Lines,
    /// Descriptors that came and that no command has taken yet.
    descriptors: VecDeque<OwnedFd>,
    guard: Guard,
    frame: Vec<u8>,
}

impl<'control> Relay<'control> {
    /// A relay without links, whose parent is at the other end of a UNIX stream socket.
    pub fn new(control: BorrowedFd<'control>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        watch(&epoll, control, CONTROL)?;
        watch(&epoll, timer.as_fd(), TIMER)?;
        Ok(Self {
            control,
            epoll,
            timer,
            armed: None,
            links: Vec::new(),
            lines: Lines::default(),
            descriptors: VecDeque::new(),
            guard: Guard::default(),
            frame: vec![0; FRAME],
        })
    }

    /// Runs until the parent is gone, then takes away the namespaces that it guards.
    pub fn run(mut self) -> io::Result<()> {
        let result = self.serve();
        // The sockets belong to a namespace, too.
        close(std::mem::take(&mut self.links));
        self.guard.end();
        result
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let mut events = Vec::with_capacity(64);
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            for event in &events {
                match event.data.u64() {
                    CONTROL => {
                        if !self.hear()? {
                            return Ok(());
                        }
                    }
                    TIMER => {
                        // Expirations do not matter: what is due is looked up.
                        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
                        self.armed = None;
                    }
                    token => {
                        let port = (token - PORTS) as usize;
                        self.take(port / 2, port % 2, BURST);
                    }
                }
            }
            self.release();
            self.arm()?;
        }
    }

    /// Takes frames from an end of a link.
    fn take(&mut self, link: usize, end: usize, most: usize) {
        let Some(link) = self.links.get_mut(link) else {
            return;
        };
        for _ in 0..most {
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match recv(&link.ends[end], &mut self.frame[..], flags) {
                Ok((0, _)) => {
                    // The end of a stream, where there should be frames: nothing comes any more.
                    let _ = epoll::delete(&self.epoll, &link.ends[end]);
                    return;
                }
                Ok((_, length)) => {
                    let frame = &self.frame[..length.min(FRAME)];
                    link.directions[end].push(now(), frame);
                }
                Err(Errno::INTR) => {}
                // Nothing there, or the interface is down: the socket says so once.
                Err(_) => return,
            }
        }
    }

    /// Sends what is due.
    fn release(&mut self) {
        for link in &mut self.links {
            for (index, direction) in link.directions.iter_mut().enumerate() {
                let now = now();
                while let Some(frame) = direction.pop(now) {
                    if send(&link.ends[1 - index], &frame, SendFlags::DONTWAIT).is_err() {
                        direction.unsent(frame.len());
                    }
                }
            }
        }
    }

    /// Sets the timer to the earliest deadline.
    fn arm(&mut self) -> io::Result<()> {
        let earliest = self
            .links
            .iter()
            .flat_map(|link| link.directions.iter().filter_map(Direction::deadline))
            .min();
        if self.armed == earliest {
            return Ok(());
        }
        // Zero would stop the timer.
        let time = earliest.map_or(Duration::ZERO, |time| time.max(Duration::from_nanos(1)));
        let setting = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(time),
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &setting)?;
        self.armed = earliest;
        Ok(())
    }

    /// Reads from the parent, does what it says and answers; false at the end of the channel.
    fn hear(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let length = match recvmsg(
            self.control,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            flags,
        ) {
            Ok(message) => message.bytes,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
            Err(Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        if length == 0 {
            return Ok(false);
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.lines
            .extend(&bytes[..length])
            .map_err(io::Error::other)?;
        while let Some(line) = self.lines.next_line() {
            let answer = Answer::from(self.obey(&line));
            let mut text = serde_json::to_vec(&answer)?;
            text.push(b'\n');
            if !self.say(&text)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes to the parent; false if it is gone.
    fn say(&self, mut text: &[u8]) -> io::Result<bool> {
        while !text.is_empty() {
            match send(self.control, text, SendFlags::NOSIGNAL) {
                Ok(length) => text = &text[length..],
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn obey(&mut self, line: &[u8]) -> Result<Answer, String> {
        let command = serde_json::from_slice(line).map_err(|error| {
            format!(
                "{:?} is no command: {error}",
                String::from_utf8_lossy(&line[..line.len().min(200)])
            )
        })?;
        // Frames that were sent before the command are not touched by it.
        for link in 0..self.links.len() {
            for end in 0..2 {
                self.take(link, end, usize::MAX);
            }
        }
        self.release();
        match command {
            Command::Add { link } => self.add(link)?,
            Command::Set {
                link,
                direction,
                impairment,
            } => {
                impairment.check()?;
                for direction in &mut self.link(link)?.directions[direction.indices()] {
                    direction.set(impairment.clone())?;
                }
            }
            Command::Cut { link, direction } => {
                for direction in &mut self.link(link)?.directions[direction.indices()] {
                    direction.cut();
                }
            }
            Command::Heal { link, direction } => {
                for direction in &mut self.link(link)?.directions[direction.indices()] {
                    direction.heal();
                }
            }
            Command::Stats { link } => {
                let [ab, ba] = &self.link(link)?.directions;
                return Ok(Answer {
                    ab: Some(ab.stats()),
                    ba: Some(ba.stats()),
                    ..Answer::default()
                });
            }
            Command::Guard { namespaces } => {
                for path in namespaces {
                    self.guard.add(path)?;
                }
            }
        }
        Ok(Answer::default())
    }

    fn link(&mut self, link: usize) -> Result<&mut Link, String> {
        let number = self.links.len();
        self.links
            .get_mut(link)
            .ok_or_else(|| format!("there is no link {link}; there are {number}, from 0"))
    }

    fn add(&mut self, link: usize) -> Result<(), String> {
        let number = self.links.len();
        if link != number {
            return Err(format!("the next link is {number}, not {link}"));
        }
        let came = self.descriptors.len();
        let (Some(a), Some(b), 2) = (
            self.descriptors.pop_front(),
            self.descriptors.pop_front(),
            came,
        ) else {
            self.descriptors.clear();
            return Err(format!(
                "a link needs two descriptors, ends A and B, sent with the command; {came} came"
            ));
        };
        for (end, socket) in [&a, &b].into_iter().enumerate() {
            let token = PORTS + (link * 2 + end) as u64;
            watch(&self.epoll, socket.as_fd(), token)
                .map_err(|error| format!("cannot wait for frames of link {link}: {error}"))?;
        }
        self.links.push(Link {
            ends: [a, b],
            directions: [Direction::new(0), Direction::new(1)],
        });
        Ok(())
    }
}

/// Closes the sockets. The kernel waits some 10 ms in the end of each packet socket, so they are
/// closed at the same time.
fn close(mut links: Vec<Link>) {
    let share = links.len().div_ceil(CLOSERS).max(1);
    thread::scope(|scope| {
        while !links.is_empty() {
            let part = links.split_off(links.len().saturating_sub(share));
            scope.spawn(move || drop(part));
        }
    });
}

fn watch(epoll: &OwnedFd, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
    let data = epoll::EventData::new_u64(token);
    Ok(epoll::add(epoll, fd, data, epoll::EventFlags::IN)?)
}

/// The time of the timer's clock.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    }
}
