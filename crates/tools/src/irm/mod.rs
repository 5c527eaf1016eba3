//! The `irm` command: grammar, execution, output, completion (`spec/irm-tools.md` §7).

use std::{ffi::OsString, process::ExitCode};

pub mod command;
mod complete;
mod execute;
pub mod grammar;
mod help;
mod keyword;
mod layer;
mod list;
pub mod parse;
pub mod pattern;
mod program;
mod show;

use crate::output;
pub(crate) use keyword::closest;

use command::{Command, Topic};
use execute::{Executor, Failure};

/// Runs `irm` with these arguments (without the program's own name).
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut words = Vec::new();
    for arg in args {
        match arg.into_string() {
            Ok(word) => words.push(word),
            Err(arg) => {
                output::complain(format_args!(
                    "The argument {} is not UTF-8; names and words are.",
                    arg.display()
                ));
                return ExitCode::FAILURE;
            }
        }
    }
    let invocation = match parse::parse(&words) {
        Ok(invocation) => invocation,
        Err(error) => return refuse(&error),
    };
    for warning in &invocation.warnings {
        output::complain(warning);
    }
    let text = match invocation.command {
        Command::Help(topic) => help::text(topic),
        Command::Version => output::version("irm"),
        Command::Completions(shell) => complete::script(shell).to_owned(),
        Command::Complete(words) => {
            // Never fails, whatever happens: the shell's line is at stake.
            let mut found = complete::candidates(&words, &mut complete::Daemon::default());
            found.push(String::new());
            output::print(&found.join("\n"));
            return ExitCode::SUCCESS;
        }
        command => match Executor::from_env().run(command, invocation.json) {
            Ok(text) => text,
            Err(Failure(message)) => {
                output::complain(message);
                return ExitCode::FAILURE;
            }
        },
    };
    if output::print(&text) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn refuse(error: &parse::ParseError) -> ExitCode {
    if !error.message.is_empty() {
        output::complain(&error.message);
    }
    match error.usage {
        // `irm` alone: the usage is the output.
        Some(Topic::Irm) if error.message.is_empty() => {
            output::print(&help::text(Topic::Irm));
        }
        Some(topic) => output::complain(format_args!("\n{}", help::text(topic).trim_end())),
        None => {}
    }
    ExitCode::from(error.status)
}
