//! From the words of the command line to a [`Command`] (`spec/irm-tools.md` §7). Pure: no daemon, no
//! file is asked.

use o7s::{
    Name, QosSpec,
    irm::{Balance, IpcpType},
};

use super::{
    command::{Command, Component, Enroll, Invocation, Paths, Selection, Topic},
    grammar::{COMPLETE, GROUPS, Group, OTHERS, Op, Operation, SHELLS, TYPES, Value, first_words},
    keyword::{find, suggestion},
    layer, pattern,
};

/// Most layers and most IPCPs of one registration.
const SELECTION_MAX: usize = 128;

/// Why the words are no command.
#[derive(Debug, PartialEq)]
pub struct ParseError {
    /// What is wrong and what to do.
    pub message: String,
    /// The usage text that helps.
    pub usage: Option<Topic>,
    /// Exit status.
    pub status: u8,
}

impl ParseError {
    fn unknown(message: String) -> Self {
        Self {
            message,
            usage: None,
            status: 1,
        }
    }

    /// A wrong value.
    pub(super) fn value(operation: &'static Operation, message: String) -> Self {
        Self {
            message: format!("{message}\nSee \"{} --help\".", operation.command()),
            usage: None,
            status: 1,
        }
    }

    /// Something is missing.
    pub(super) fn usage(topic: Topic, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            usage: Some(topic),
            status: 1,
        }
    }
}

/// What the words say.
///
/// `--json`, `--help` (`-h`) and, in the first place, `--version` are options of `irm` as a whole
/// and may stand anywhere before `--`.
///
/// # Errors
/// [`ParseError`] with the text for the user and the exit status.
pub fn parse(words: &[String]) -> Result<Invocation, ParseError> {
    if words.first().is_some_and(|word| word == COMPLETE) {
        return Ok(plain(Command::Complete(words[1..].to_vec())));
    }
    let end = words.iter().position(|word| word == "--");
    let (before, after) = words.split_at(end.unwrap_or(words.len()));
    let mut left: Vec<&str> = Vec::with_capacity(words.len());
    let (mut json, mut help) = (false, false);
    for word in before {
        match word.as_str() {
            "--json" => json = true,
            "--help" | "-h" => help = true,
            "--version" | "-V" if left.is_empty() => return Ok(plain(Command::Version)),
            word => left.push(word),
        }
    }
    left.extend(after.iter().map(String::as_str));
    if help {
        return Ok(plain(Command::Help(topic(&left))));
    }
    let mut warnings = Vec::new();
    let command = command(&left, &mut warnings)?;
    let lists = matches!(
        command,
        Command::ListIpcps { .. }
            | Command::ShowIpcp { .. }
            | Command::ListNames { .. }
            | Command::Status
    );
    if json && !lists {
        return Err(ParseError::unknown(
            "--json is for \"irm ipcp list\", \"irm ipcp show\", \"irm name list\" and \"irm status\"; \
             other commands print nothing."
                .to_owned(),
        ));
    }
    Ok(Invocation {
        command,
        json,
        warnings,
    })
}

fn plain(command: Command) -> Invocation {
    Invocation {
        command,
        json: false,
        warnings: Vec::new(),
    }
}

/// The most specific help for these words.
fn topic(words: &[&str]) -> Topic {
    let words = match words.first() {
        Some(word) if find(word, first_words()) == Some(GROUPS.len()) => &words[1..],
        _ => words,
    };
    let group = words
        .first()
        .and_then(|word| find(word, GROUPS.iter().map(|group| group.word)))
        .map(|at| &GROUPS[at]);
    let Some(group) = group else {
        return Topic::Irm;
    };
    let operation = words
        .get(1)
        .and_then(|word| find(word, group.words()))
        .and_then(|at| group.operations.get(at));
    operation.map_or(Topic::Group(group), Topic::Operation)
}

fn command(words: &[&str], warnings: &mut Vec<String>) -> Result<Command, ParseError> {
    let Some((first, rest)) = words.split_first() else {
        return Err(ParseError {
            message: String::new(),
            usage: Some(Topic::Irm),
            status: 255,
        });
    };
    let Some(at) = find(first, first_words()) else {
        return Err(ParseError::unknown(format!(
            "\"{first}\" is unknown, try \"irm help\".{}",
            suggestion(first, first_words())
        )));
    };
    let Some(group) = GROUPS.get(at) else {
        return other(OTHERS[at - GROUPS.len()].0, rest);
    };
    let Some((second, rest)) = rest.split_first() else {
        return Err(ParseError::usage(
            Topic::Group(group),
            format!("\"irm {}\" needs an operation.", group.word),
        ));
    };
    let Some(at) = find(second, group.words()) else {
        return Err(ParseError::unknown(format!(
            "\"{second}\" is unknown, try \"irm {} help\".{}",
            group.word,
            suggestion(second, group.words())
        )));
    };
    match group.operations.get(at) {
        Some(operation) => operate(operation, rest, warnings),
        None => Ok(Command::Help(group_topic(group, rest))),
    }
}

/// `irm GROUP help [OPERATION]`.
fn group_topic(group: &'static Group, rest: &[&str]) -> Topic {
    rest.first()
        .and_then(|word| find(word, group.words()))
        .and_then(|at| group.operations.get(at))
        .map_or(Topic::Group(group), Topic::Operation)
}

fn other(word: &str, rest: &[&str]) -> Result<Command, ParseError> {
    let surplus = |rest: &[&str]| match rest.first() {
        None => Ok(()),
        Some(word) => Err(ParseError::unknown(format!(
            "\"{word}\" is unknown, try \"irm help\"."
        ))),
    };
    match word {
        "help" => Ok(Command::Help(topic(rest))),
        "status" => surplus(rest).map(|()| Command::Status),
        _ => {
            let Some((shell, rest)) = rest.split_first() else {
                return Err(ParseError::usage(
                    Topic::Irm,
                    format!("Missing the shell: one of {}.", SHELLS.join(", ")),
                ));
            };
            surplus(rest)?;
            SHELLS
                .iter()
                .find(|known| *known == shell)
                .map(|shell| Command::Completions(shell))
                .ok_or_else(|| {
                    ParseError::unknown(format!(
                        "There is no completion script for \"{shell}\"; use one of {}.",
                        SHELLS.join(", ")
                    ))
                })
        }
    }
}

/// The values of an operation's options, as given.
pub(super) struct Fields<'a> {
    /// The operation they belong to.
    pub(super) operation: &'static Operation,
    positional: Option<&'a str>,
    values: Vec<(&'static str, &'a str)>,
    rest: Option<&'a [&'a str]>,
}

impl<'a> Fields<'a> {
    fn collect(operation: &'static Operation, words: &'a [&'a str]) -> Result<Self, ParseError> {
        let mut fields = Self {
            operation,
            positional: None,
            values: Vec::new(),
            rest: None,
        };
        let mut words = words;
        if let Some(Value { shown, .. }) = operation.positional {
            match words.split_first() {
                Some((value, rest)) => {
                    fields.positional = Some(value);
                    words = rest;
                }
                None if operation.required => {
                    return Err(fields.missing(&format!("Missing the {shown}.")));
                }
                None => {}
            }
        }
        while let Some((word, rest)) = words.split_first() {
            words = rest;
            if operation.rest && *word == "--" {
                fields.rest = Some(words);
                break;
            }
            let Some(option) = operation.option(word) else {
                match operation.bare {
                    Some(option) if fields.values.is_empty() && fields.hint(word).is_empty() => {
                        fields.values.push((option, word));
                        continue;
                    }
                    _ => return Err(fields.unknown(word)),
                }
            };
            let mut value = "";
            if option.value.is_some() {
                let Some((next, rest)) = words.split_first() else {
                    return Err(
                        fields.missing(&format!("Option \"{}\" needs a value.", option.word))
                    );
                };
                value = next;
                words = rest;
            }
            fields.values.push((option.word, value));
        }
        Ok(fields)
    }

    /// The option that may have been meant by a word, for a message.
    fn hint(&self, word: &str) -> String {
        let options = self.operation.options.iter();
        suggestion(word, options.map(|option| option.word))
    }

    fn unknown(&self, word: &str) -> ParseError {
        let hint = self.hint(word);
        ParseError::unknown(match self.operation.op {
            Op::IpcpBootstrap => format!(
                "Unknown option: \"{word}\".{hint}\nSee \"{} --help\".",
                self.operation.command()
            ),
            _ => format!(
                "\"{word}\" is unknown, try \"{}\".{hint}",
                self.operation.command()
            ),
        })
    }

    /// The usage of the operation with a message.
    fn missing(&self, message: &str) -> ParseError {
        ParseError::usage(Topic::Operation(self.operation), message)
    }

    /// A wrong value.
    pub(super) fn wrong(&self, message: String) -> ParseError {
        ParseError::value(self.operation, message)
    }

    /// The value given last for an option.
    pub(super) fn get(&self, option: &str) -> Option<&'a str> {
        self.all(option).last()
    }

    /// All values given for an option.
    pub(super) fn all(&self, option: &str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.values
            .iter()
            .filter(move |(word, _)| *word == option)
            .map(|(_, value)| *value)
    }

    /// Whether an option is there.
    pub(super) fn has(&self, option: &str) -> bool {
        self.get(option).is_some()
    }

    /// The keywords of the given options.
    pub(super) fn given(&self) -> impl Iterator<Item = &'static str> {
        self.values.iter().map(|(word, _)| *word)
    }

    /// The value of an option that must be there.
    fn need(&self, option: &str) -> Result<&'a str, ParseError> {
        self.get(option)
            .ok_or_else(|| self.missing(&format!("Missing option \"{option}\".")))
    }

    /// The positional value as a name.
    fn name(&self) -> Result<String, ParseError> {
        self.checked(self.positional.unwrap_or_default(), "Name")
    }

    /// The name of an option that must be there.
    pub(super) fn need_name(&self, option: &str) -> Result<String, ParseError> {
        let value = self.need(option)?;
        self.checked(
            value,
            if option == "layer" {
                "Layer name"
            } else {
                "Name"
            },
        )
    }

    /// The name of an option, if it is there.
    pub(super) fn get_name(&self, option: &str) -> Result<Option<String>, ParseError> {
        self.get(option).map(|_| self.need_name(option)).transpose()
    }

    fn checked(&self, text: &str, what: &str) -> Result<String, ParseError> {
        match Name::new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(o7s_wire::name::NameError::TooLong(length)) => Err(self.wrong(format!(
                "{what} too long.\nIt has {length} bytes; the limit is {} bytes.",
                o7s_wire::name::NAME_MAX
            ))),
            Err(error) => Err(self.wrong(format!("{what} not valid: {error}."))),
        }
    }

    fn pid(&self) -> Result<i32, ParseError> {
        let text = self.positional.unwrap_or_default();
        text.parse()
            .ok()
            .filter(|pid| *pid > 0 && !text.starts_with('+'))
            .ok_or_else(|| self.wrong(not_a_pid(text)))
    }

    fn selection(&self) -> Result<Selection, ParseError> {
        let (layers, ipcps): (Vec<_>, Vec<_>) = (
            self.all("layer").map(str::to_owned).collect(),
            self.all("ipcp").map(str::to_owned).collect(),
        );
        if layers.is_empty() && ipcps.is_empty() {
            return Err(self.missing("Missing option \"layer\" or \"ipcp\"."));
        }
        for (word, list) in [("layer", &layers), ("ipcp", &ipcps)] {
            if list.len() > SELECTION_MAX {
                return Err(self.wrong(format!(
                    "Option \"{word}\" is given {} times; the limit is {SELECTION_MAX}. Use a \
                     pattern with *.",
                    list.len()
                )));
            }
        }
        Ok(Selection { layers, ipcps })
    }

    fn components(&self, order: [Component; 2]) -> Result<Vec<Component>, ParseError> {
        let given = self.get("component").unwrap_or("*");
        let chosen: Vec<Component> = order
            .into_iter()
            .filter(|component| pattern::matches(given, component.word()))
            .collect();
        if chosen.is_empty() {
            return Err(self.wrong(format!(
                "There is no component \"{given}\"; use mgmt, dt or *."
            )));
        }
        Ok(chosen)
    }
}

/// Text for a word that is no process id, or that of a process that is not there.
pub(super) fn not_a_pid(text: &str) -> String {
    format!("\"{text}\" is not a valid process id.")
}

fn operate(
    operation: &'static Operation,
    words: &[&str],
    warnings: &mut Vec<String>,
) -> Result<Command, ParseError> {
    // 0.23 wrote the filter as an option: `irm name list list FILTER`.
    let words = match (operation.op, words) {
        (Op::NameList, [word, filter]) if "list".starts_with(word) => std::slice::from_ref(filter),
        _ => words,
    };
    let fields = Fields::collect(operation, words)?;
    let owned = |text: &str| text.to_owned();
    Ok(match operation.op {
        Op::IpcpCreate => {
            let text = fields.need("type")?;
            let name = fields.need_name("name")?;
            let ipcp_type = exact_type(&fields, text)?;
            Command::CreateIpcp { name, ipcp_type }
        }
        Op::IpcpDestroy => Command::DestroyIpcp {
            name: fields.need("name").map(owned)?,
        },
        Op::IpcpBootstrap => Command::BootstrapIpcp(Box::new(layer::bootstrap(&fields)?)),
        Op::IpcpEnroll => Command::EnrollIpcp(enroll(&fields)?),
        Op::IpcpConnect => Command::ConnectIpcp {
            name: fields.need("name").map(owned)?,
            dst: fields.need_name("dst")?,
            components: fields.components([Component::Mgmt, Component::Dt])?,
            qos: qos(fields.get("qos").unwrap_or("raw"), warnings),
        },
        Op::IpcpDisconnect => Command::DisconnectIpcp {
            name: fields.need("name").map(owned)?,
            dst: fields.need_name("dst")?,
            components: fields.components([Component::Dt, Component::Mgmt])?,
        },
        Op::IpcpList => Command::ListIpcps {
            ipcp_type: fields
                .get("type")
                .map(|text| exact_type(&fields, text))
                .transpose()?,
            name: fields.get("name").map(owned),
            layer: fields.get("layer").map(owned),
        },
        Op::IpcpShow => Command::ShowIpcp {
            name: fields.need("name").map(owned)?,
        },
        Op::BindProgram => {
            let auto = fields.has("auto");
            let args: Vec<String> = fields
                .rest
                .unwrap_or_default()
                .iter()
                .map(|word| owned(word))
                .collect();
            if !auto && !args.is_empty() {
                warnings.push(
                    "The arguments have no effect without \"auto\": they are for automatic starts."
                        .to_owned(),
                );
            }
            Command::BindProgram {
                name: fields.need_name("name")?,
                program: program(&fields)?,
                auto,
                args,
            }
        }
        Op::BindProcess => Command::BindProcess {
            pid: fields.pid()?,
            name: fields.need_name("name")?,
        },
        Op::BindIpcp => Command::BindIpcp {
            ipcp: fields.name()?,
            name: fields.need_name("name")?,
        },
        Op::UnbindProgram => Command::UnbindProgram {
            program: program(&fields)?,
            name: fields.get_name("name")?,
        },
        Op::UnbindProcess => Command::UnbindProcess {
            pid: fields.pid()?,
            name: fields.get_name("name")?,
        },
        Op::UnbindIpcp => Command::UnbindIpcp {
            ipcp: fields.name()?,
            name: fields.get_name("name")?,
        },
        Op::NameCreate => {
            let name = fields.name()?;
            let balance = match fields.get("lb") {
                None | Some("round-robin") => Balance::RoundRobin,
                Some("spillover" | "spill") => Balance::Spill,
                Some(other) => {
                    return Err(fields.missing(&format!(
                        "Unknown load balancing policy \"{other}\"; use round-robin or spillover."
                    )));
                }
            };
            let path = |option: &str| fields.get(option).map(owned);
            let paths = |encryption, certificate, key| Paths {
                encryption: path(encryption),
                certificate: path(certificate),
                key: path(key),
            };
            Command::CreateName {
                name,
                balance,
                server: paths("sencpath", "scrtpath", "skeypath"),
                client: paths("cencpath", "ccrtpath", "ckeypath"),
            }
        }
        Op::NameDestroy => Command::DestroyName {
            name: fields.name()?,
        },
        Op::NameRegister => Command::RegisterName {
            name: fields.name()?,
            selection: fields.selection()?,
        },
        Op::NameUnregister => Command::UnregisterName {
            name: fields.name()?,
            selection: fields.selection()?,
        },
        Op::NameList => Command::ListNames {
            filter: fields.positional.map(owned),
        },
    })
}

fn program(fields: &Fields) -> Result<String, ParseError> {
    match fields.positional.unwrap_or_default() {
        "" => Err(fields.missing("The PROGRAM is empty.")),
        program => Ok(program.to_owned()),
    }
}

fn enroll(fields: &Fields) -> Result<Enroll, ParseError> {
    let name = fields.need_name("name")?;
    let layer = fields.get_name("layer")?;
    let Some(dst) = fields.get_name("dst")?.or_else(|| layer.clone()) else {
        return Err(fields.missing("Missing option \"layer\" or \"dst\"."));
    };
    let ipcp_type = match fields.get("type") {
        None | Some("unicast") => IpcpType::Unicast,
        Some("broadcast") => IpcpType::Broadcast,
        Some(other) => {
            return Err(fields.wrong(format!(
                "IPCPs of type \"{other}\" cannot enroll; use unicast or broadcast."
            )));
        }
    };
    Ok(Enroll {
        name,
        ipcp_type,
        layer,
        dst,
        autobind: fields.has("autobind"),
    })
}

/// The type with exactly this word.
fn exact_type(fields: &Fields, word: &str) -> Result<IpcpType, ParseError> {
    IpcpType::by_word(word).ok_or_else(|| unknown_type(fields, word))
}

/// Error for a type that does not exist.
pub(super) fn unknown_type(fields: &Fields, word: &str) -> ParseError {
    fields.missing(&format!(
        "IPCP type \"{word}\" is unknown.{}",
        suggestion(word, TYPES.iter().copied())
    ))
}

/// The QoS cube of this name; an unknown one becomes raw, and the user is told.
fn qos(word: &str, warnings: &mut Vec<String>) -> QosSpec {
    QosSpec::by_name(word).unwrap_or_else(|| {
        warnings.push(format!(
            "Unknown QoS cube, defaulting to raw.\nKnown are {}.",
            QosSpec::NAMES.join(", ")
        ));
        QosSpec::RAW
    })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
