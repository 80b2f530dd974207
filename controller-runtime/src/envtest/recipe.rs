//! How Go builds the programs from its module proxy, once for each set of versions.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Error, group::Group};

const KUBERNETES: &str = "1.35.0";
const ETCD: &str = "3.6.5";
const KWOK: &str = "0.7.0";

/// The modules that k8s.io/kubernetes replaces by folders of its own repository; whoever requires it has to say which
/// versions those are. A module of Kubernetes 1.x has the version 0.x.
const STAGING: [&str; 31] = [
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-cli-plugin",
    "sample-controller",
];

/// How often a build that says nothing new is reported.
const REPORT: Duration = Duration::from_secs(5);

/// The name of this set of versions.
pub(super) fn versions() -> String {
    format!("kubernetes-{KUBERNETES}-etcd-{ETCD}-kwok-{KWOK}")
}

/// A Go module whose only purpose is to build programs of others.
#[derive(Debug, PartialEq, Eq)]
struct Module {
    name: &'static str,
    go_mod: String,
    packages: Vec<&'static str>,
    linker_flags: String,
    /// What the only program is called, where it is not called as its package.
    output: &'static str,
}

fn modules() -> [Module; 3] {
    [kubernetes(), etcd(), kwok()]
}

fn kubernetes() -> Module {
    let packages = vec![
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl",
    ];
    let (major, rest) = KUBERNETES.split_once('.').unwrap_or((KUBERNETES, ""));
    let minor = rest.split_once('.').map_or(rest, |(minor, _)| minor);
    let replace: String = STAGING
        .iter()
        .map(|module| format!("\tk8s.io/{module} => k8s.io/{module} v0.{rest}\n"))
        .collect();
    let tools: String = packages.iter().map(|package| format!("\t{package}\n")).collect();
    let version = "-X k8s.io/component-base/version";
    Module {
        name: "kubernetes",
        go_mod: format!(
            "module controlplane\n\ngo 1.25.0\n\ntool (\n{tools})\n\nrequire k8s.io/kubernetes v{KUBERNETES}\n\n\
             replace (\n{replace})\n"
        ),
        packages,
        linker_flags: format!(
            "-s -w {version}.gitVersion=v{KUBERNETES} {version}.gitMajor={major} {version}.gitMinor={minor} \
             {version}.gitTreeState=clean"
        ),
        output: "",
    }
}

fn etcd() -> Module {
    Module {
        name: "etcd",
        go_mod: format!(
            "module etcdtool\n\ngo 1.24\n\ntool go.etcd.io/etcd/server/v3\n\nrequire go.etcd.io/etcd/server/v3 v{ETCD}\n"
        ),
        packages: vec!["go.etcd.io/etcd/server/v3"],
        linker_flags: "-s -w".to_owned(),
        output: "etcd",
    }
}

fn kwok() -> Module {
    Module {
        name: "kwok",
        go_mod: format!(
            "module kwoktool\n\ngo 1.24\n\ntool sigs.k8s.io/kwok/cmd/kwok\n\nrequire sigs.k8s.io/kwok v{KWOK}\n"
        ),
        packages: vec!["sigs.k8s.io/kwok/cmd/kwok"],
        linker_flags: format!("-s -w -X sigs.k8s.io/kwok/pkg/consts.Version=v{KWOK}"),
        output: "kwok",
    }
}

/// Builds everything into `<folder>/bin`, unless another process has done so in the meantime.
///
/// One builds at a time, in a folder beside, which gets its name only when it is complete.
pub(super) fn build(folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let parent = folder.parent().ok_or(Error::NoCacheFolder)?;
    fs::create_dir_all(parent).map_err(Error::io(format!("{} cannot be made", parent.display())))?;
    let _lock = lock(&beside(folder, "lock"), progress)?;
    if folder.join("bin").is_dir() {
        return Ok(());
    }
    require_go(folder)?;
    let started = Instant::now();
    let unfinished = beside(folder, "unfinished");
    remove(&unfinished)?;
    // Neither Go nor its folder stays if this process is killed; Go's own cache does, so that little is lost.
    let group = Group::new(&unfinished)?;
    let bin = unfinished.join("bin");
    fs::create_dir_all(&bin).map_err(Error::io(format!("{} cannot be made", bin.display())))?;
    progress(&format!(
        "building the control plane ({}) in {}: some minutes, once",
        versions(),
        folder.display()
    ));
    for module in modules() {
        if let Err(error) = build_module(&module, &unfinished, &group, started, progress) {
            group.kill();
            remove(&unfinished)?;
            return Err(error);
        }
    }
    fs::rename(&unfinished, folder).map_err(Error::io(format!("{} cannot be made", folder.display())))?;
    progress(&format!(
        "[{:4} s] the control plane is built",
        started.elapsed().as_secs()
    ));
    Ok(())
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(format!(
            "{} cannot be removed",
            folder.display()
        ))(error)),
        _ => Ok(()),
    }
}

/// `<folder>.<extension>`; the folder's own name has dots.
fn beside(folder: &Path, extension: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

/// Held until it is dropped, or the process ends.
fn lock(path: &Path, progress: &mut dyn FnMut(&str)) -> Result<fs::File, Error> {
    let failed = || Error::io(format!("{} cannot be locked", path.display()));
    let file = fs::File::create(path).map_err(failed())?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(fs::TryLockError::WouldBlock) => {}
        Err(fs::TryLockError::Error(error)) => return Err(failed()(error)),
    }
    progress("another process is building the control plane; waiting for it");
    file.lock().map_err(failed())?;
    Ok(file)
}

fn require_go(folder: &Path) -> Result<(), Error> {
    match Command::new("go").arg("version").stdout(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::NoGo {
            folder: folder.join("bin"),
            source,
        }),
    }
}

fn build_module(
    module: &Module,
    unfinished: &Path,
    group: &Group,
    started: Instant,
    progress: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let source = unfinished.join("src").join(module.name);
    let failed = || Error::io(format!("{} cannot be written", source.display()));
    fs::create_dir_all(&source).map_err(failed())?;
    fs::write(source.join("go.mod"), &module.go_mod).map_err(failed())?;
    let mut child = group
        .spawn(&mut go_build(module, &source, &unfinished.join("bin")))
        .map_err(Error::io("go cannot be started"))?;
    let (sender, lines) = mpsc::channel();
    let stderr = child.stderr.take();
    // Ends with go's output.
    std::thread::spawn(move || {
        for line in stderr
            .into_iter()
            .flat_map(|output| BufReader::new(output).lines())
        {
            if !line.is_ok_and(|line| sender.send(line).is_ok()) {
                return;
            }
        }
    });
    let mut report = Report::new(module.name, started);
    loop {
        match lines.recv_timeout(REPORT) {
            Ok(line) => report.add(line, progress),
            Err(RecvTimeoutError::Timeout) => report.print(progress),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().map_err(Error::io("go cannot be waited for"))?;
    if !status.success() {
        return Err(Error::Build {
            what: module.packages.join(", "),
            folder: source,
            status,
            output: Vec::from(report.last).join("\n"),
        });
    }
    report.print(progress);
    Ok(())
}

/// `go build`, with whatever would change its result taken out of the environment.
fn go_build(module: &Module, source: &Path, bin: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GOWORK", "off")
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .args([
            "build",
            "-v",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            &module.linker_flags,
            "-o",
        ])
        // With a slash at its end it is a folder.
        .arg(bin.join(module.output))
        .args(&module.packages)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// What is told of a build: `go build -v` names every module that it loads and every package that it compiles.
#[derive(Debug)]
struct Report {
    what: &'static str,
    started: Instant,
    printed: Instant,
    downloads: usize,
    packages: usize,
    last: VecDeque<String>,
}

impl Report {
    fn new(what: &'static str, started: Instant) -> Self {
        Self {
            what,
            started,
            printed: Instant::now(),
            downloads: 0,
            packages: 0,
            last: VecDeque::new(),
        }
    }

    fn add(&mut self, line: String, progress: &mut dyn FnMut(&str)) {
        if line.starts_with("go: downloading ") {
            self.downloads += 1;
        } else if !line.contains(' ') {
            self.packages += 1;
        }
        self.last.push_back(line);
        if self.last.len() > 20 {
            self.last.pop_front();
        }
        if self.printed.elapsed() >= REPORT {
            self.print(progress);
        }
    }

    fn print(&mut self, progress: &mut dyn FnMut(&str)) {
        self.printed = Instant::now();
        progress(&format!(
            "[{:4} s] {}: {} modules loaded, {} packages compiled; {}",
            self.started.elapsed().as_secs(),
            self.what,
            self.downloads,
            self.packages,
            self.last.back().map_or("at work", String::as_str),
        ));
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn kubernetes_is_required_with_all_of_its_staging_modules() {
        let module = kubernetes();
        for line in [
            "tool (\n\tk8s.io/kubernetes/cmd/kube-apiserver\n",
            "\tk8s.io/kubernetes/cmd/kubectl\n)\n",
            "\nrequire k8s.io/kubernetes v1.35.0\n",
            "replace (\n\tk8s.io/api => k8s.io/api v0.35.0\n",
            "\tk8s.io/sample-controller => k8s.io/sample-controller v0.35.0\n)\n",
        ] {
            assert!(
                module.go_mod.contains(line),
                "{line:?} is not in {}",
                module.go_mod
            );
        }
        assert_eq!(module.go_mod.matches(" => ").count(), STAGING.len());
        assert!(module.linker_flags.contains("version.gitVersion=v1.35.0 "));
        assert!(module.linker_flags.contains("version.gitMinor=35 "));
    }

    #[test]
    fn etcd_is_called_etcd_though_its_package_is_not() {
        let command = go_build(&etcd(), Path::new("/src"), Path::new("/bin"));
        let arguments: Vec<_> = command
            .get_args()
            .filter_map(|argument| argument.to_str())
            .collect();
        assert!(
            arguments.ends_with(&["-o", "/bin/etcd", "go.etcd.io/etcd/server/v3"]),
            "{arguments:?}"
        );
        let command = go_build(&kubernetes(), Path::new("/src"), Path::new("/bin"));
        assert!(command.get_args().any(|argument| argument == "/bin/"));
    }

    #[test]
    fn what_another_process_has_built_is_not_built_again() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join(versions());
        fs::create_dir_all(folder.join("bin")).expect("a folder");
        let mut lines = Vec::new();
        build(&folder, &mut |line| lines.push(line.to_owned())).expect("nothing to do");
        assert_eq!(lines, Vec::<String>::new());
    }

    #[test]
    fn one_builds_at_a_time() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("lock");
        let mut said = Vec::new();
        let first = lock(&path, &mut |line| said.push(line.to_owned())).expect("free");
        let (told, waiting) = mpsc::channel();
        let second = std::thread::spawn(move || {
            lock(&path, &mut |line| told.send(line.to_owned()).expect("heard")).map(|_| ())
        });
        assert_eq!(
            waiting.recv().expect("the second waits"),
            "another process is building the control plane; waiting for it"
        );
        drop(first);
        second.join().expect("no panic").expect("the lock");
        assert_eq!(said, Vec::<String>::new());
    }

    #[test]
    fn progress_tells_seconds_modules_and_packages() {
        let mut said = Vec::new();
        let mut report = Report::new("etcd", Instant::now());
        let mut say = |line: &str| said.push(line.to_owned());
        report.add("go: downloading go.uber.org/zap v1.27.0".to_owned(), &mut say);
        report.add("go.uber.org/zap".to_owned(), &mut say);
        report.print(&mut say);
        assert_eq!(
            said,
            ["[   0 s] etcd: 1 modules loaded, 1 packages compiled; go.uber.org/zap"]
        );
    }
}
