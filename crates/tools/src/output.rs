//! What all tools print alike.
//!
//! Lines are flushed one by one, also into a pipe. A reader that went away does not end a tool: a
//! server goes on serving.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

/// Prints a line on standard output.
pub(crate) fn say(line: impl fmt::Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// How a tool says what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines for people, and for scripts that know those of C.
    Text,
    /// A JSON object per line.
    Json,
}

impl Format {
    /// As the option `--json` says.
    pub(crate) fn json(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }

    /// Says what happened.
    pub(crate) fn tell(self, event: &(impl fmt::Display + Serialize)) {
        match self {
            Self::Text => say(event),
            // Strings and finite numbers only: it cannot fail.
            Self::Json => say(serde_json::to_string(event).unwrap_or_default()),
        }
    }

    /// Says something that is for people only.
    pub(crate) fn remark(self, line: impl fmt::Display) {
        if self == Self::Text {
            say(line);
        }
    }
}

/// Prints a line on standard error.
pub(crate) fn complain(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints a text that is the whole output of a command; false if it could not be written, which is
/// told.
pub(crate) fn print(text: &str) -> bool {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => true,
        Err(error) => {
            complain(format_args!("cannot write the output: {error}"));
            false
        }
    }
}

/// A text from elsewhere as it may go to a terminal: control characters are shown, not sent.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A C string from a peer: up to the first NUL, or all of it.
pub(crate) fn c_text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    shown(&String::from_utf8_lossy(text))
}

/// Version line of a tool.
pub(crate) fn version(tool: &str) -> String {
    format!("{tool} (Ouroboros in Rust) {}\n", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_cannot_write_to_the_terminal() {
        assert_eq!(c_text(b"Client says hi!\0"), "Client says hi!");
        assert_eq!(c_text(b"no end"), "no end");
        assert_eq!(c_text(b"\x1b[2Jx\0y"), "\\u{1b}[2Jx");
        assert_eq!(c_text(b"a\xff"), "a\u{fffd}");
        assert_eq!(c_text(b""), "");
        assert_eq!(shown("µs\n"), "µs\\n");
    }
}
