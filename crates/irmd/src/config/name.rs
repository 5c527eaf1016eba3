//! Entries of names: `[name."NAME"]` (`spec/irm-tools.md` §9, §10).

use std::{fs, path::Path};

use o7s::irm::{Balance, NameInfo, PATH_MAX, SecurityPaths};

use super::{
    At, NameEntry, Problem, ProgramEntry,
    table::{Key, Reader, Table, Value, located},
};

/// Reads an entry.
pub(super) fn read(reader: &mut Reader, key: &Key, value: &Value) -> Option<NameEntry> {
    let name = reader.name(key.span(), key.get_ref(), "name");
    let mut table = reader.table(key, value, "name")?;
    let balance = table
        .word(
            reader,
            &["lb"],
            &[
                (&["spill", "spillover"], Balance::Spill),
                (&["round-robin", "round_robin"], Balance::RoundRobin),
            ],
        )
        .unwrap_or(Balance::Spill);
    let server = SecurityPaths {
        encryption: file(reader, &mut table, "server_enc_file"),
        key: file(reader, &mut table, "server_key_file"),
        certificate: file(reader, &mut table, "server_crt_file"),
    };
    let client = SecurityPaths {
        encryption: file(reader, &mut table, "client_enc_file"),
        key: file(reader, &mut table, "client_key_file"),
        certificate: file(reader, &mut table, "client_crt_file"),
    };
    let programs = programs(reader, &mut table);
    table.finish(reader, "a name", super::ipcp::KEYS);
    let given = |paths: SecurityPaths| (paths != SecurityPaths::default()).then_some(paths);
    Some(NameEntry {
        info: NameInfo {
            name: name?,
            balance: balance.into(),
            server: given(server),
            client: given(client),
            ..NameInfo::default()
        },
        programs,
    })
}

/// Keys of names, for complaints elsewhere.
pub(super) const KEYS: &[&str] = &[
    "lb",
    "prog",
    "args",
    "server_enc_file",
    "server_crt_file",
    "server_key_file",
    "client_enc_file",
    "client_crt_file",
    "client_key_file",
];

/// The full path of a security file; empty for the default.
fn file(reader: &mut Reader, table: &mut Table, word: &'static str) -> String {
    let Some(given) = table.string(reader, &[word]) else {
        return String::new();
    };
    let path = match fs::canonicalize(given.get_ref()) {
        Ok(path) => path,
        Err(error) => {
            reader.tell(
                Problem::error(
                    given.span(),
                    format!("cannot find {:?}: {error}", given.get_ref()),
                )
                .help("the file must be there when the daemon starts; best give its full path"),
            );
            return String::new();
        }
    };
    match path.into_os_string().into_string() {
        Ok(path) if path.len() <= PATH_MAX => path,
        Ok(path) => {
            reader.tell(Problem::error(
                given.span(),
                format!("the path has {} bytes; the limit is {PATH_MAX}", path.len()),
            ));
            String::new()
        }
        Err(_) => {
            reader.tell(Problem::error(given.span(), "the path is not UTF-8"));
            String::new()
        }
    }
}

/// Programs as written; those with an entry in `args` are started when needed.
fn programs(reader: &mut Reader, table: &mut Table) -> Vec<At<ProgramEntry>> {
    let programs = table.strings(reader, &["prog"]);
    let args = table.strings(reader, &["args"]);
    if let Some(surplus) = args.get(programs.len()) {
        reader.tell(
            Problem::warning(
                surplus.span(),
                "these arguments have no program: args is longer than prog",
            )
            .help("entry n of args is for entry n of prog"),
        );
    }
    let mut args = args.into_iter();
    let mut entries = Vec::new();
    for program in programs {
        let args = args.next();
        let path = *program.get_ref();
        if Path::new(path).file_name().is_none() {
            reader.tell(Problem::error(
                program.span(),
                format!("{path:?} is no path of a program"),
            ));
            continue;
        }
        if args.is_some() && !path.starts_with('/') {
            reader.tell(
                Problem::error(
                    program.span(),
                    format!("{path:?} cannot be started: it is no absolute path"),
                )
                .help("give its full path, or leave its entry in args out: then it is not started"),
            );
            continue;
        }
        // Split at spaces, no quoting; an empty entry means no arguments.
        let args = args.map(|args| {
            args.get_ref()
                .split(' ')
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        });
        let At { line, value } = located(reader, &program);
        entries.push(At {
            line,
            value: ProgramEntry {
                path: value.to_owned(),
                args,
            },
        });
    }
    entries
}
