//! Functions about programs, and how a program is found.

use std::{
    env,
    ffi::{OsStr, c_char, c_int},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use o7s::{Error, ErrorKind, Result};
use o7s_capi::boundary::{invalid, text};

use crate::{Call, step};

/// `BIND_AUTO`.
const BIND_AUTO: u16 = 1;
/// The permission to execute that the owner of a file has.
const OWNER_EXECUTES: u32 = 0o100;

/// A step of `irm_bind_program`.
///
/// # Safety
/// The strings are NULL or C strings, `argv` is NULL or has `argc` of them; `call` is one that is
/// under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_bind_program(
    call: *mut Call,
    prog: *const c_char,
    name: *const c_char,
    opts: u16,
    argc: c_int,
    argv: *const *const c_char,
) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            let prog = text(prog, "the program")?;
            let name = text(name, "the name")?;
            let count = usize::try_from(argc).map_err(|_| invalid("argc is negative"))?;
            if argv.is_null() && count > 0 {
                return Err(invalid("argv is NULL"));
            }
            let args: Vec<String> = (0..count)
                .map(|index| text(*argv.add(index), "an argument").map(str::to_owned))
                .collect::<Result<_>>()?;
            let path = find(prog, env::var_os("PATH").as_deref().map(Path::new))?;
            irm.bind_program(&path, name, opts & BIND_AUTO != 0, &args)
                .map(|()| 0)
        })
    }
}

/// A step of `irm_unbind_program`.
///
/// # Safety
/// The strings are NULL or C strings; `call` is one that is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn o7s_c_irm_unbind_program(
    call: *mut Call,
    prog: *const c_char,
    name: *const c_char,
) -> isize {
    // SAFETY: as the caller promises, here and in the closure.
    unsafe {
        step(call, |irm| {
            let prog = text(prog, "the program")?;
            let name = match name.is_null() {
                true => None,
                false => Some(text(name, "the name")?),
            };
            irm.unbind_program(prog, name).map(|()| 0)
        })
    }
}

/// The absolute path of a program: a word is looked for in the directories of `path`
/// (`spec/api.md` A9).
fn find(program: &str, path: Option<&Path>) -> Result<PathBuf> {
    let path = path.map(Path::as_os_str);
    if program.contains('/') || path.is_some_and(OsStr::is_empty) {
        return executable(Path::new(program))
            .and_then(|path| std::path::absolute(path).map_err(|error| system(program, &error)));
    }
    let mut outcome = Err(Error::new(
        ErrorKind::NotFound,
        format!("there is no program {program} in PATH"),
    ));
    for directory in path.map(env::split_paths).into_iter().flatten() {
        if !directory.is_absolute() {
            return Err(invalid(format!(
                "PATH names {}, which is not absolute; mend PATH, or give the program's path",
                directory.display()
            )));
        }
        match executable(&directory.join(program)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => outcome = Err(error),
            found => return found,
        }
    }
    outcome
}

/// The path, if there is a program.
fn executable(path: &Path) -> Result<PathBuf> {
    let meta = fs::metadata(path).map_err(|error| {
        Error::new(
            ErrorKind::NotFound,
            format!("there is no program {}: {error}", path.display()),
        )
    })?;
    if meta.permissions().mode() & OWNER_EXECUTES == 0 {
        return Err(Error::new(
            ErrorKind::Permission,
            format!(
                "{} cannot be executed by its owner; 'chmod u+x' mends that",
                path.display()
            ),
        ));
    }
    Ok(path.to_owned())
}

fn system(program: &str, error: &std::io::Error) -> Error {
    Error::system(format_args!("find the path of {program}"), error)
}
