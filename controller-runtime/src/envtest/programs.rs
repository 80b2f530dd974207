//! Where the programs are.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{Error, Options, Program, recipe};

/// The variable with which kubebuilder's envtest is told where its programs are.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// The programs of a control plane, each where it was found.
///
/// They come from [`Options::bin_dir`], which must then hold all that are started; else from the folder that
/// `KUBEBUILDER_ASSETS` names; and what is not there (setup-envtest brings etcd, kube-apiserver and kubectl only) from
/// the user's cache directory: `<XDG_CACHE_HOME or ~/.cache>/autoscaler-sdk/control-plane/<versions>/bin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    paths: BTreeMap<Program, PathBuf>,
}

impl Programs {
    /// The programs, if they are there already.
    ///
    /// # Errors
    /// If a folder was named that lacks one of them, or there is no cache directory.
    pub fn find(options: &Options) -> Result<Option<Self>, Error> {
        find(options, &Places::of_environment()?)
    }

    /// The programs; what is missing is built by Go, which takes some minutes once. `progress` is given a line at a
    /// time.
    ///
    /// # Errors
    /// As [`find`](Self::find); and if there is no Go, or it cannot build them.
    pub fn find_or_build(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        let places = Places::of_environment()?;
        if let Some(found) = find(options, &places)? {
            return Ok(found);
        }
        recipe::build(&places.built, progress)?;
        find(options, &places)?.ok_or_else(|| Error::ProgramMissing {
            program: Program::ApiServer,
            folder: places.bin(),
            named_by: "the cache directory",
        })
    }

    #[cfg(test)]
    pub(super) fn of(paths: impl IntoIterator<Item = (Program, PathBuf)>) -> Self {
        let paths = paths.into_iter().collect();
        Self { paths }
    }

    /// Where a program is.
    #[must_use]
    pub fn path(&self, program: Program) -> Option<&Path> {
        self.paths.get(&program).map(PathBuf::as_path)
    }

    /// Where each program is.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.values().map(PathBuf::as_path)
    }
}

/// What belongs to this workspace in the user's cache directory.
///
/// # Errors
/// If neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache_folder() -> Result<PathBuf, Error> {
    cache(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"))
}

fn cache(cache_home: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, Error> {
    let absolute = |folder: Option<OsString>| folder.map(PathBuf::from).filter(|folder| folder.is_absolute());
    let base = absolute(cache_home).or_else(|| absolute(home).map(|home| home.join(".cache")));
    Ok(base.ok_or(Error::NoCacheFolder)?.join("autoscaler-sdk"))
}

/// Folders to look in when the options name none.
#[derive(Debug)]
struct Places {
    assets: Option<PathBuf>,
    /// The folder of one set of versions; the programs are in its `bin`.
    built: PathBuf,
}

impl Places {
    fn of_environment() -> Result<Self, Error> {
        Ok(Self {
            assets: env::var_os(ASSETS)
                .filter(|folder| !folder.is_empty())
                .map(PathBuf::from),
            built: cache_folder()?.join("control-plane").join(recipe::versions()),
        })
    }

    fn bin(&self) -> PathBuf {
        self.built.join("bin")
    }
}

fn find(options: &Options, places: &Places) -> Result<Option<Programs>, Error> {
    let mut paths = BTreeMap::new();
    let wanted = Program::DAEMONS.into_iter().chain([Program::Kubectl]);
    for program in wanted {
        let needed = match program {
            Program::Kubectl => false,
            Program::Kwok => options.kwok,
            _ => true,
        };
        match look(program, options.bin_dir.as_deref(), places) {
            Some(path) => _ = paths.insert(program, path),
            None if !needed => {}
            None => match &options.bin_dir {
                Some(folder) => {
                    return Err(Error::ProgramMissing {
                        program,
                        folder: folder.clone(),
                        named_by: "bin_dir",
                    });
                }
                None => return Ok(None),
            },
        }
    }
    Ok(Some(Programs { paths }))
}

/// The first folder that has it.
fn look(program: Program, bin_dir: Option<&Path>, places: &Places) -> Option<PathBuf> {
    let is_there = |folder: &Path| Some(folder.join(program.name())).filter(|path| path.is_file());
    match bin_dir {
        Some(folder) => is_there(folder),
        None => places
            .assets
            .as_deref()
            .and_then(is_there)
            .or_else(|| is_there(&places.bin())),
    }
}

#[cfg(test)]
mod checks {
    use std::fs;

    use super::*;

    struct World {
        root: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a folder");
            Self { root }
        }

        fn folder(&self, name: &str, programs: &[Program]) -> PathBuf {
            let folder = self.root.path().join(name);
            fs::create_dir_all(&folder).expect("a folder");
            for program in programs {
                fs::write(folder.join(program.name()), "").expect("a file");
            }
            folder
        }

        fn places(&self, assets: Option<&[Program]>, built: &[Program]) -> Places {
            self.folder("built/bin", built);
            Places {
                assets: assets.map(|programs| self.folder("assets", programs)),
                built: self.root.path().join("built"),
            }
        }
    }

    #[test]
    fn a_named_folder_must_hold_everything_that_is_started() {
        let world = World::new();
        let places = world.places(None, &Program::DAEMONS);
        let mut options = Options {
            bin_dir: Some(world.folder("mine", &Program::DAEMONS[..4])),
            ..Options::default()
        };
        let error = find(&options, &places).expect_err("kwok is missing").to_string();
        assert!(
            error.starts_with("kwok is not in ") && error.ends_with("/mine, the folder that bin_dir names")
        );
        options.kwok = false;
        let found = find(&options, &places).expect("complete").expect("found");
        assert_eq!(found.path(Program::Kwok), None);
        assert_eq!(
            found.path(Program::Etcd),
            Some(world.root.path().join("mine/etcd").as_path())
        );
    }

    #[test]
    fn assets_win_over_what_was_built_and_are_completed_from_there() {
        let world = World::new();
        let assets = [Program::Etcd, Program::ApiServer, Program::Kubectl];
        let places = world.places(Some(&assets), &Program::DAEMONS);
        let found = find(&Options::default(), &places)
            .expect("readable")
            .expect("found");
        assert!(
            found
                .path(Program::ApiServer)
                .is_some_and(|path| path.ends_with("assets/kube-apiserver"))
        );
        assert!(
            found
                .path(Program::Scheduler)
                .is_some_and(|path| path.ends_with("built/bin/kube-scheduler"))
        );
        assert!(found.path(Program::Kubectl).is_some());
    }

    #[test]
    fn what_was_never_built_is_not_found() {
        let world = World::new();
        let places = world.places(None, &[Program::Etcd]);
        assert_eq!(find(&Options::default(), &places).expect("readable"), None);
    }

    #[test]
    fn the_cache_directory_is_the_users() {
        let of = |cache_home: Option<&str>, home: Option<&str>| {
            cache(cache_home.map(OsString::from), home.map(OsString::from)).ok()
        };
        assert_eq!(
            of(Some("/c"), Some("/h")),
            Some(PathBuf::from("/c/autoscaler-sdk"))
        );
        assert_eq!(
            of(Some("relative"), Some("/h")),
            Some(PathBuf::from("/h/.cache/autoscaler-sdk"))
        );
        assert_eq!(of(None, None), None);
    }
}
