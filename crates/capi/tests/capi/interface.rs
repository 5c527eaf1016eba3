//! The numbers of the interface: layouts, constants, symbols.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use crate::stage::{compile, out, run, stage};

/// The table, as pairs of expression and value.
fn table() -> Vec<(&'static str, &'static str)> {
    include_str!("abi.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.rsplit_once(" = ").expect("a pair"))
        .collect()
}

#[test]
#[cfg(target_pointer_width = "64")]
fn layouts_and_constants_are_those_of_the_table() {
    let mut text = String::from("#include <stddef.h>\n#include <stdio.h>\n#include <string.h>\n");
    for header in ["cep", "dev", "errno", "fccntl", "fqueue", "irm", "version"] {
        writeln!(text, "#include <ouroboros/{header}.h>").unwrap();
    }
    text.push_str("int main(void)\n{\n");
    for (expression, _) in table() {
        writeln!(
            text,
            "        printf(\"%lld\\n\", (long long) ({expression}));"
        )
        .unwrap();
    }
    text.push_str("        return 0;\n}\n");
    let source = out().join("abi.c");
    fs::write(&source, text).unwrap();
    for (compiler, flags) in [
        ("cc", &["-std=c99", "-D_POSIX_C_SOURCE=200809L"][..]),
        ("c++", &["-std=c++17", "-xc++"][..]),
    ] {
        let program = compile(compiler, flags, &source);
        let mut command = Command::new(program);
        let output = run(command.env("LD_LIBRARY_PATH", stage().join("lib")));
        let said = String::from_utf8(output.stdout).unwrap();
        let said: Vec<&str> = said.lines().collect();
        assert_eq!(said.len(), table().len());
        for ((expression, value), said) in table().into_iter().zip(said) {
            assert_eq!(said, value, "{expression}");
        }
    }
}

/// The functions that a header declares.
fn declared(header: &Path) -> Vec<String> {
    let text = fs::read_to_string(header).unwrap();
    let inside = text.split("__BEGIN_DECLS\n").nth(1).unwrap_or_default();
    // Without comments.
    let mut parts = inside.split("/*");
    let first = parts.next().unwrap_or_default();
    let rest = parts.filter_map(|part| part.split_once("*/"));
    let code: String = std::iter::once(first)
        .chain(rest.map(|(_, code)| code))
        .collect();
    code.split(';')
        .filter_map(|part| part.split_once('('))
        .map(|(before, _)| {
            before
                .rsplit([' ', '\n', '*', '/'])
                .next()
                .unwrap_or_default()
        })
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn exactly_the_interface_is_exported() {
    let include = stage().join("include/ouroboros");
    for (lib, headers) in [
        ("dev", &["dev", "fccntl", "fqueue", "cep", "o7s"][..]),
        ("irm", &["irm", "o7s"][..]),
    ] {
        let path = stage().join(format!("lib/libouroboros-{lib}.so.0.23.0"));
        let output = run(Command::new("nm").args(["-D", "--defined-only"]).arg(&path));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut exported: Vec<&str> = text.split_whitespace().skip(2).step_by(3).collect();
        exported.sort_unstable();
        let mut expected: Vec<String> = headers
            .iter()
            .flat_map(|header| declared(&include.join(format!("{header}.h"))))
            .filter(|name| !name.starts_with("o7s_") || (lib == "irm") == name.contains("_irm_"))
            .collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(exported, expected);
        let of_023 = exported.iter().filter(|name| !name.starts_with("o7s_"));
        assert_eq!(of_023.count(), if lib == "dev" { 20 } else { 16 });

        let output = run(Command::new("readelf").arg("-d").arg(&path));
        let text = String::from_utf8(output.stdout).unwrap();
        let soname = format!("[libouroboros-{lib}.so.0.23]");
        assert!(text.contains(&soname), "{soname} in {text}");
    }
}
