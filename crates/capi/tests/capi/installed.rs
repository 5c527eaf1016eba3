//! What is installed, and that programs can be compiled with it.

use std::{fs, path::Path, process::Command};

use crate::stage::{check_syntax, make, out, pkg_config, root, run, stage};

/// All files of an installation, relative to it.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let path = path.strip_prefix(dir).expect("a path in it");
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn what_is_installed_is_removed_again() {
    let dir = tempfile::tempdir().unwrap();
    let destination = format!("DESTDIR={}", dir.path().display());
    // The libraries themselves are made only once.
    stage();
    make(&["install-capi", "PREFIX=/opt/x", &destination]);
    let installed = files(&dir.path().join("opt/x"));
    for lib in ["dev", "irm"] {
        for suffix in ["", ".0.23", ".0.23.0"] {
            let name = format!("lib/libouroboros-{lib}.so{suffix}");
            assert!(installed.contains(&name), "{name} in {installed:?}");
        }
        let name = format!("opt/x/lib/pkgconfig/ouroboros-{lib}.pc");
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        for line in [
            "prefix=/opt/x",
            "libdir=/opt/x/lib",
            "includedir=/opt/x/include",
            &format!("Name: ouroboros-{lib}"),
            "Version: 0.23.0",
            &format!("Libs: -L${{libdir}} -louroboros-{lib}"),
            "Cflags: -I${includedir}",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} in {text}");
        }
        assert!(!text.contains("Requires") && !text.contains("private"));
    }
    for header in [
        "cdefs", "cep", "dev", "errno", "fccntl", "fqueue", "hash", "ipcp", "irm", "name", "o7s",
        "proto", "qos", "version",
    ] {
        let name = format!("include/ouroboros/{header}.h");
        assert!(installed.contains(&name), "{name} in {installed:?}");
    }
    make(&["uninstall-capi", "PREFIX=/opt/x", &destination]);
    assert_eq!(files(dir.path()), [""; 0]);
}

#[test]
fn pkg_config_knows_the_version() {
    assert_eq!(pkg_config("--modversion"), ["0.23.0", "0.23.0"]);
}

#[test]
fn a_project_with_cmake_finds_the_libraries() {
    if Command::new("cmake").arg("--version").output().is_err() {
        eprintln!("skipped: there is no cmake");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lists = "cmake_minimum_required(VERSION 3.10)\nproject(x C)\n\
                 find_package(Ouroboros 0.23 REQUIRED)\nadd_executable(x x.c)\n\
                 target_link_libraries(x Ouroboros::dev Ouroboros::ouroboros-irm)\n";
    fs::write(dir.path().join("CMakeLists.txt"), lists).unwrap();
    let program = "#include <ouroboros/dev.h>\n#include <ouroboros/irm.h>\n\
                   int main(void) { return flow_dealloc(1) + irm_destroy_ipcp(-1) == 0; }\n";
    fs::write(dir.path().join("x.c"), program).unwrap();
    run(Command::new("cmake")
        .current_dir(dir.path())
        .arg(format!("-DCMAKE_PREFIX_PATH={}", stage().display()))
        .args(["-B", "build"]));
    run(Command::new("cmake")
        .current_dir(dir.path())
        .args(["--build", "build"]));
}

/// A program that includes one header alone, and then all.
fn includes() -> Vec<(String, String)> {
    let dir = root().join("include/ouroboros");
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("the headers")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    let line = |name: &String| format!("#include <ouroboros/{name}>\n");
    let all: String = names.iter().map(line).collect();
    let mut programs: Vec<_> = names
        .iter()
        .map(|name| (name.replace('.', "_"), line(name)))
        .collect();
    programs.push(("all".to_owned(), all));
    programs
}

#[test]
fn headers_are_clean_alone_and_together() {
    for (name, text) in includes() {
        let source = out().join(format!("header_{name}.c"));
        fs::write(&source, format!("{text}int main(void) {{ return 0; }}\n")).unwrap();
        let strict = [
            "-std=c89",
            "-pedantic",
            "-Wundef",
            "-Wstrict-prototypes",
            "-Wdeclaration-after-statement",
        ];
        check_syntax("cc", &strict, &source);
        // The least that programs ask of the C library.
        let mut posix = strict.to_vec();
        posix.push("-D_POSIX_C_SOURCE=199506L");
        check_syntax("cc", &posix, &source);
        check_syntax("c++", &["-std=c++17", "-xc++", "-pedantic"], &source);
    }
}
