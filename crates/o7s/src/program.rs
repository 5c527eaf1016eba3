//! The name of this program, by which `irm bind program` knows it.
//!
//! The base name of the executable as called; for a Python interpreter that of the script, or the
//! module's name after `-m` (`spec/api.md` A4).

use std::path::Path;

/// The program name of the running process, from its command line.
#[must_use]
pub fn name() -> String {
    let words: Vec<String> = std::fs::read("/proc/self/cmdline").map_or_else(
        |_| {
            std::env::args_os()
                .map(|word| word.to_string_lossy().into_owned())
                .collect()
        },
        |line| {
            line.split(|byte| *byte == 0)
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect()
        },
    );
    name_of(&words)
}

/// The program name for a command line.
#[must_use]
pub fn name_of(words: &[String]) -> String {
    let own = words.first().map(|word| base(word)).unwrap_or_default();
    if !is_python(&own) {
        return own;
    }
    let mut rest = words[1..].iter().map(String::as_str);
    while let Some(word) = rest.next() {
        match word {
            "-m" => return rest.next().map_or(own, str::to_owned),
            // A program on the command line, or standard input: the interpreter's own name.
            "-c" | "-" | "" => return own,
            // Options that take a value of their own.
            "-W" | "-X" | "--check-hash-based-pycs" => drop(rest.next()),
            // Grouped short options may end in `m` or `c`: `-Im module`.
            option if option.starts_with('-') && !option.starts_with("--") => {
                let takes_rest = option.find(['m', 'c', 'W', 'X']);
                match takes_rest.map(|at| (option.as_bytes()[at], &option[at + 1..])) {
                    Some((b'm', "")) => return rest.next().map_or(own, str::to_owned),
                    Some((b'm', module)) => return module.to_owned(),
                    Some((b'c', _)) => return own,
                    Some((_, "")) => drop(rest.next()),
                    _ => {}
                }
            }
            option if option.starts_with("--") => {}
            script => return base(script),
        }
    }
    own
}

/// Text after the last `/`.
fn base(path: &str) -> String {
    Path::new(path)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// `python`, `python3`, `python3.11`, `python3.13t`, `pypy`, `pypy3`, …
fn is_python(name: &str) -> bool {
    if name.starts_with("pypy") {
        return true;
    }
    name.strip_prefix("python").is_some_and(|version| {
        let version = version.strip_suffix('t').unwrap_or(version);
        version
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_start_a_program() {
        for (line, expected) in [
            ("/usr/bin/oping -l", "oping"),
            ("./oecho.py -l", "oecho.py"),
            ("python oecho.py -l", "oecho.py"),
            ("/usr/bin/python3.11 dir/s.py", "s.py"),
            ("python3.13t -u s.py", "s.py"),
            ("python -X dev -W error s.py -m x", "s.py"),
            ("python -Wdefault s.py", "s.py"),
            ("python -m pkg.mod -l", "pkg.mod"),
            ("python -Im pkg", "pkg"),
            ("python -c pass s.py", "python"),
            ("python3", "python3"),
            ("pypy3 s.py", "s.py"),
            ("pythonic s.py", "pythonic"),
            ("", ""),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(name_of(&words), expected, "{line}");
        }
        assert_eq!(name_of(&[]), "");
    }
}
