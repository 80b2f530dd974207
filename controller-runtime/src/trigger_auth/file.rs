//! Parameters from a file of the process, for ClusterTriggerAuthentications.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

use scaler_api::{Error, Secret};

/// Bytes of a file that are read; a few credentials need far fewer.
const MAX_FILE: u64 = 1024 * 1024;

/// Where the file is that an authentication names: inside `root`, by a relative path that goes nowhere up.
///
/// # Errors
/// What is wrong with the path, in words.
pub(super) fn locate(root: Option<&Path>, path: &str) -> Result<PathBuf, String> {
    let Some(root) = root else {
        return Err(format!(
            "spec.filePath {path:?}: no folder of such files is configured (filepath-auth-root-path)"
        ));
    };
    let relative = Path::new(path);
    if relative.is_absolute() {
        return Err(format!(
            "spec.filePath {path:?} is absolute, expected a relative path"
        ));
    }
    let mut names = relative.components();
    if !names.all(|name| matches!(name, Component::Normal(_) | Component::CurDir)) {
        return Err(format!(
            "spec.filePath {path:?} leads upwards, expected no \"..\""
        ));
    }
    Ok(root.join(relative))
}

/// The parameters in a file: a JSON object of strings.
///
/// # Errors
/// If it is not inside `root`, cannot be read, or holds something else. What it holds is not quoted.
pub(super) fn read(root: &Path, file: &Path) -> Result<BTreeMap<String, Secret>, Error> {
    let failed = |error: io::Error| {
        let shown = file.display();
        match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(format!("file {shown} does not exist")),
            _ => Error::unavailable(format!("file {shown} cannot be read")).with_source(error),
        }
    };
    // A link may lead to another place of the folder, as those of mounted Secrets do, but not out of it.
    let actual = fs::canonicalize(file).map_err(failed)?;
    if !actual.starts_with(fs::canonicalize(root).map_err(failed)?) {
        return Err(Error::invalid(format!(
            "file {} is not inside its folder",
            file.display()
        )));
    }
    if fs::metadata(&actual).map_err(failed)?.len() > MAX_FILE {
        return Err(Error::invalid(format!("file {} is too long", file.display())));
    }
    let text = fs::read(&actual).map_err(failed)?;
    let found: BTreeMap<String, Secret> = serde_json::from_slice(&text)
        .map_err(|_| Error::invalid(format!("file {} is no JSON object of strings", file.display())))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    //! keda.md §6.
    use super::*;

    #[test]
    fn paths_stay_inside_the_folder() {
        let root = Path::new("/keys");
        assert_eq!(
            locate(Some(root), "a/b.json"),
            Ok(PathBuf::from("/keys/a/b.json"))
        );
        for (path, problem) in [
            ("/etc/passwd", "is absolute"),
            ("../etc/passwd", "leads upwards"),
            ("a/../../b", "leads upwards"),
        ] {
            let error = locate(Some(root), path).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
        assert!(
            locate(None, "a.json")
                .unwrap_err()
                .contains("filepath-auth-root-path")
        );
    }

    #[test]
    fn a_file_is_a_json_object_of_strings_inside_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("keys");
        fs::create_dir(&root).unwrap();
        let file = |name: &str| root.join(name);
        fs::write(file("good.json"), r#"{"user": "bob", "password": "hunter2"}"#).unwrap();
        fs::write(file("bad.json"), r#"{"password": {"of": "hunter2"}}"#).unwrap();
        fs::write(folder.path().join("outside.json"), "{}").unwrap();
        std::os::unix::fs::symlink(folder.path().join("outside.json"), file("link.json")).unwrap();
        let found = read(&root, &file("good.json")).unwrap();
        assert_eq!(found["password"], Secret::new("hunter2"));
        let error = read(&root, &file("bad.json")).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let error = read(&root, &file("link.json")).unwrap_err();
        assert!(error.to_string().contains("not inside"), "{error}");
        let error = read(&root, &file("gone.json")).unwrap_err();
        assert_eq!(error.kind(), scaler_api::ErrorKind::NotFound);
    }
}
