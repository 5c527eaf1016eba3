//! Files that the command line names: programs and security files.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use o7s::irm::PATH_MAX;
use rustix::fs::{Access, access};

/// The full path of a program: as given, else on the `PATH` if it has no `/`.
///
/// Links in its directory are resolved; the last part stays as given, since a program is known by
/// the name that it is called by, link or not.
pub(super) fn resolve(given: &str) -> Result<PathBuf, String> {
    let search = if given.contains('/') {
        Vec::new()
    } else {
        env::var_os("PATH")
            .map(|path| env::split_paths(&path).collect())
            .unwrap_or_default()
    };
    resolve_in(given, &search)
}

fn resolve_in(given: &str, search: &[PathBuf]) -> Result<PathBuf, String> {
    let here = Path::new(given);
    let found = search.iter().map(|dir| dir.join(given));
    let mut why = None;
    for path in [here.to_owned()].into_iter().chain(found) {
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                why.get_or_insert_with(|| format!("{given} is a directory, not a program."));
            }
            Ok(_) if access(&path, Access::EXEC_OK).is_err() => {
                why.get_or_insert_with(|| {
                    format!(
                        "Cannot execute {given}, please check permissions.\nTry \"chmod +x {}\".",
                        path.display()
                    )
                });
            }
            Ok(_) => return full(&path).map_err(|error| format!("Cannot find {given}: {error}.")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                why.get_or_insert_with(|| format!("Cannot look at {}: {error}.", path.display()));
            }
        }
    }
    Err(why.unwrap_or_else(|| {
        let where_to = if given.contains('/') {
            "Give the path of a program."
        } else {
            "It is neither in this directory nor on the PATH."
        };
        format!("{given} does not exist.\n{where_to}")
    }))
}

/// The path with its directory resolved.
fn full(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return path.canonicalize();
    };
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.canonicalize()?,
        _ => env::current_dir()?,
    };
    Ok(dir.join(name))
}

/// The full path of a security file.
pub(super) fn security_file(given: &str) -> Result<String, String> {
    let path = fs::canonicalize(given)
        .map_err(|error| format!("Failed to check path {given}: {error}."))?;
    let path = path
        .into_os_string()
        .into_string()
        .map_err(|path| format!("The path {} is not UTF-8.", path.display()))?;
    if path.len() > PATH_MAX {
        return Err(format!(
            "File path too long: {path}.\nIt has {} bytes; the limit is {PATH_MAX}.",
            path.len()
        ));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn programs_are_found_and_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let make = |name: &str, mode: u32| {
            let path = root.join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let program = make("o7s-test-prog", 0o755);
        make("o7s-test-text", 0o644);
        fs::create_dir(root.join("sub")).unwrap();
        symlink("../o7s-test-prog", root.join("sub/link")).unwrap();
        let search = [root.join("missing"), root.clone()];

        assert_eq!(resolve_in("o7s-test-prog", &search), Ok(program.clone()));
        let dotted = format!("{}/sub/../o7s-test-prog", root.display());
        assert_eq!(resolve_in(&dotted, &[]), Ok(program));
        // Called by the link's name, so known by it.
        let link = root.join("sub/link");
        assert_eq!(resolve_in(link.to_str().unwrap(), &[]), Ok(link));

        let error = resolve_in("o7s-test-text", &search).unwrap_err();
        assert!(
            error.starts_with("Cannot execute o7s-test-text, please check permissions."),
            "{error}"
        );
        let error = resolve_in("./o7s-test-none", &search[..0]).unwrap_err();
        assert!(
            error.starts_with("./o7s-test-none does not exist."),
            "{error}"
        );
        let error = resolve_in(root.to_str().unwrap(), &[]).unwrap_err();
        assert!(error.contains("is a directory"), "{error}");
    }

    #[test]
    fn security_files_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("crt.pem");
        fs::write(&file, "").unwrap();
        let full = file.canonicalize().unwrap();
        let given = format!("{}/./crt.pem", dir.path().display());
        assert_eq!(security_file(&given), Ok(full.display().to_string()));
        let error = security_file("/nowhere/crt.pem").unwrap_err();
        assert!(
            error.starts_with("Failed to check path /nowhere/crt.pem: No such file"),
            "{error}"
        );
        let deep = (0..3).fold(dir.path().to_owned(), |path, _| path.join("d".repeat(200)));
        fs::create_dir_all(&deep).unwrap();
        let error = security_file(deep.to_str().unwrap()).unwrap_err();
        assert!(error.starts_with("File path too long: "), "{error}");
    }
}
