//! What the parent says to the relay, and hears: one JSON object a line, each way.
//!
//! | command | answer beyond `"ok"` |
//! | --- | --- |
//! | `{"op":"add","link":0}` with two descriptors, ends A and B | |
//! | `{"op":"set","link":0,"direction":"both","impairment":{"loss":0.1}}` | |
//! | `{"op":"cut","link":0,"direction":"ab"}` | |
//! | `{"op":"heal","link":0}` | |
//! | `{"op":"stats","link":0}` | `"ab"`, `"ba"`: [`Stats`] |
//! | `{"op":"guard","namespaces":["/run/netns/o7s-…"]}` | |
//!
//! A command takes effect behind all frames that had reached the relay before it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::direction::{Impairment, Stats};

/// The longest command, bytes.
pub const LONGEST: usize = 1 << 20;

/// Which directions of a link are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From end A to end B.
    Ab,
    /// From end B to end A.
    Ba,
    /// Both.
    #[default]
    Both,
}

impl Way {
    /// The indices of the directions.
    pub fn indices(self) -> std::ops::Range<usize> {
        match self {
            Self::Ab => 0..1,
            Self::Ba => 1..2,
            Self::Both => 0..2,
        }
    }
}

/// A command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A link between the two sockets that came with the command.
    Add {
        /// Its number: 0, 1, 2, …
        link: usize,
    },
    /// Another impairment.
    Set {
        /// The link.
        link: usize,
        /// The directions.
        #[serde(default)]
        direction: Way,
        /// What it does.
        impairment: Impairment,
    },
    /// Nothing passes any more.
    Cut {
        /// The link.
        link: usize,
        /// The directions.
        #[serde(default)]
        direction: Way,
    },
    /// It passes again.
    Heal {
        /// The link.
        link: usize,
        /// The directions.
        #[serde(default)]
        direction: Way,
    },
    /// Asks for the counters.
    Stats {
        /// The link.
        link: usize,
    },
    /// Network namespaces to take away, with the processes in them, when the channel ends.
    Guard {
        /// The files that name them.
        namespaces: Vec<PathBuf>,
    },
}

/// The answer to a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The counters from A to B.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ab: Option<Stats>,
    /// The counters from B to A.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ba: Option<Stats>,
}

impl From<Result<Answer, String>> for Answer {
    fn from(result: Result<Answer, String>) -> Self {
        match result {
            Ok(answer) => Self { ok: true, ..answer },
            Err(error) => Self {
                error: Some(error),
                ..Self::default()
            },
        }
    }
}

/// Cuts what arrives into lines.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
}

impl Lines {
    /// Bytes that arrived. An error if a line grows beyond [`LONGEST`].
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > LONGEST && !self.buffer.contains(&b'\n') {
            return Err(format!("a command is longer than {LONGEST} bytes"));
        }
        Ok(())
    }

    /// The next complete line, without its end.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|&byte| byte == b'\n')?;
        let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}
