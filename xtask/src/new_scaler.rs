//! A scaler to begin with: `examples/custom-scaler` under another name, as a package of its own or in `scalers`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::cargo;

macro_rules! example {
    ($path:literal) => {
        include_str!(concat!("../../examples/custom-scaler/", $path))
    };
}

/// The trigger type of the example, which the new one's replaces.
const EXAMPLE: &str = "forecast";
const SCALER: &str = example!("src/forecast.rs");
const CONFORMANCE: &str = example!("src/forecast/conformance.rs");

/// What to make.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The trigger type, e.g. my-queue.
    name: String,
    /// Make a package of its own in this new folder, instead of a folder in `scalers`.
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
}

/// Writes the files, and says what to do next.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let names = Names::new(&options.name)?;
    let workspace = workspace();
    let Some(folder) = &options.path else {
        add(&names, &workspace)?;
        crate::run(
            cargo()
                .args(["fmt", "--package", "scalers"])
                .current_dir(&workspace),
        )?;
        println!(
            "made scalers/src/{}; next:\n\
             cargo test -p scalers --features {} --lib {}                        # the suite that every scaler passes\n\
             UPDATE_DOCS=1 cargo test -p scalers --all-features --test reference # its page in docs/scalers\n\
             docs/writing-a-scaler.md tells what to change",
            names.module, names.name, names.module
        );
        return Ok(());
    };
    package(&names, folder, &workspace)?;
    // Names of another length move line breaks; who has no rustfmt loses nothing else.
    cargo()
        .args(["fmt", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .status()?;
    println!(
        "made {0}; next:\n\
         cd {0}\n\
         cargo test                                                   # the suite that every scaler passes\n\
         cargo run -- simulate -f manifests --scenario scenario.yaml  # a Deployment follows it on the embedded cluster\n\
         docs/writing-a-scaler.md tells what to change",
        folder.display()
    );
    Ok(())
}

/// The folder of the workspace: the one that this is run in, or else the one that this program was built in.
fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = std::env::current_dir().unwrap_or_default();
    let is_workspace = |folder: &&Path| {
        ["scalers/Cargo.toml", "examples/Cargo.toml", "xtask/Cargo.toml"]
            .iter()
            .all(|file| folder.join(file).exists())
    };
    let found = here.ancestors().find(is_workspace).or_else(|| own.parent());
    found.unwrap_or(own).to_owned()
}

/// The ways in which a scaler is called.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    /// `my-queue`
    name: String,
    /// `my_queue`
    module: String,
    /// `MyQueue`
    prefix: String,
}

impl Names {
    fn new(name: &str) -> anyhow::Result<Self> {
        let is_word = |word: &str| {
            word.starts_with(|letter: char| letter.is_ascii_lowercase())
                && word
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        };
        ensure!(
            name.split('-').all(is_word),
            "the name {name:?} is no trigger type: expected words of lower-case letters and digits with - between, such as my-queue"
        );
        let module = name.replace('-', "_");
        let reserved = [
            "as", "async", "box", "crate", "enum", "fn", "impl", "loop", "match", "mod", "move", "pub",
            "self", "static", "struct", "super", "trait", "type", "use", "where", "yield",
        ];
        ensure!(
            !reserved.contains(&module.as_str()),
            "the name {name:?} is a word of Rust's own"
        );
        let prefix = name.split('-').map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        });
        Ok(Self {
            prefix: prefix.collect(),
            name: name.to_owned(),
            module,
        })
    }

    /// The example's text under these names.
    fn apply(&self, text: &str) -> String {
        let Self { name, module, prefix } = self;
        text.replace("ForecastTrigger", &format!("{prefix}Trigger"))
            .replace("ForecastScaler", &format!("{prefix}Scaler"))
            .replace("mod forecast;", &format!("mod {module};"))
            .replace("forecast::", &format!("{module}::"))
            .replace(EXAMPLE, name)
    }
}

/// Makes a package of its own.
fn package(names: &Names, folder: &Path, workspace: &Path) -> anyhow::Result<()> {
    ensure!(!folder.exists(), "{} is there already", folder.display());
    let path = workspace.display();
    let manifest = example!("Cargo.toml")
        .replace("custom-scaler", &names.name)
        .replace("\"../../scaler-api\"", &format!("\"{path}/scaler-api\""))
        .replace("\"..\"", &format!("\"{path}/examples\""));
    let module = &names.module;
    for (file, text) in [
        ("Cargo.toml".to_owned(), manifest),
        (".gitignore".to_owned(), "target\n".to_owned()),
        ("src/main.rs".to_owned(), names.apply(example!("src/main.rs"))),
        (format!("src/{module}.rs"), names.apply(SCALER)),
        (format!("src/{module}/conformance.rs"), names.apply(CONFORMANCE)),
        (
            "manifests/shop.yaml".to_owned(),
            names.apply(example!("manifests/shop.yaml")),
        ),
        ("scenario.yaml".to_owned(), example!("scenario.yaml").to_owned()),
        ("load.txt".to_owned(), example!("load.txt").to_owned()),
    ] {
        write(&folder.join(file), &text)?;
    }
    // The versions that the workspace is tested with.
    let lock = workspace.join("Cargo.lock");
    fs::copy(&lock, folder.join("Cargo.lock")).with_context(|| format!("cannot copy {}", lock.display()))?;
    Ok(())
}

/// Makes a folder in `scalers`, and names it wherever the scalers are named.
fn add(names: &Names, workspace: &Path) -> anyhow::Result<()> {
    let Names { name, module, prefix } = names;
    let scalers = workspace.join("scalers");
    let folder = scalers.join("src").join(module);
    ensure!(!folder.exists(), "{} is there already", folder.display());
    let catalogue = scalers.join("src/catalogue.rs");
    let known =
        fs::read_to_string(&catalogue).with_context(|| format!("cannot read {}", catalogue.display()))?;
    ensure!(
        !known.contains(&format!("        \"{name}\",\n")),
        "the trigger type {name:?} is there already"
    );
    let entry = format!(
        "    (\n        \"{name}\",\n        \"the feature `{name}` of the crate `scalers`\",\n        cfg!(feature = \"{name}\"),\n    ),\n"
    );
    // A type of KEDA's is supported now; any other is one more.
    let later = format!("    \"{name}\",\n");
    let (known, list) = match known.split_once("const NOT_SUPPORTED") {
        Some((before, after)) if after.contains(&later) => (
            format!("{before}const NOT_SUPPORTED{}", after.replacen(&later, "", 1)),
            "const BY_FEATURE: &[(&str, &str, bool)] = &[\n",
        ),
        _ => (known, "const BEYOND_KEDA: &[(&str, &str, bool)] = &[\n"),
    };
    fs::write(&catalogue, inserted(&known, list, &entry)?)?;
    write(&folder.join("mod.rs"), &names.apply(SCALER))?;
    write(&folder.join("conformance.rs"), &names.apply(CONFORMANCE))?;
    edit(
        &scalers.join("src/lib.rs"),
        &[
            (
                "mod catalogue;\n",
                format!("#[cfg(feature = \"{name}\")]\npub mod {module};\n"),
            ),
            (
                "    registry.register::<resource::MemoryTrigger>();\n",
                format!(
                    "    #[cfg(feature = \"{name}\")]\n    registry.register::<{module}::{prefix}Trigger>();\n"
                ),
            ),
        ],
    )?;
    edit(
        &scalers.join("Cargo.toml"),
        &[
            ("full = [\n", format!("    \"{name}\",\n")),
            (
                "[features]\ndefault = []\n",
                format!("## `{name}`\n{name} = []\n"),
            ),
        ],
    )?;
    edit(
        &workspace.join("examples/Cargo.toml"),
        &[(
            "cron = [\"scalers/cron\"]\n",
            format!("{name} = [\"scalers/{name}\"]\n"),
        )],
    )
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn edit(path: &Path, insertions: &[(&str, String)]) -> anyhow::Result<()> {
    let mut text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    for (after, insertion) in insertions {
        text = inserted(&text, after, insertion).with_context(|| format!("in {}", path.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn inserted(text: &str, after: &str, insertion: &str) -> anyhow::Result<String> {
    let Some((before, rest)) = text.split_once(after) else {
        bail!("there is no {after:?}");
    };
    Ok(format!("{before}{after}{insertion}{rest}"))
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_name_is_spelled_as_its_place_asks() {
        let names = Names::new("my-queue2").unwrap();
        assert_eq!(
            (names.module.as_str(), names.prefix.as_str()),
            ("my_queue2", "MyQueue2")
        );
        assert_eq!(
            names.apply("mod forecast; forecast::ForecastTrigger \"forecast\""),
            "mod my_queue2; my_queue2::MyQueue2Trigger \"my-queue2\""
        );
        for bad in ["", "My", "a_b", "2a", "a--b", "self", "a b"] {
            assert!(Names::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_of_the_example_s_name_is_left() {
        let names = Names::new("tide").unwrap();
        for text in [
            SCALER,
            CONFORMANCE,
            example!("src/main.rs"),
            example!("manifests/shop.yaml"),
        ] {
            assert!(!names.apply(text).to_lowercase().contains(EXAMPLE));
        }
    }

    #[test]
    fn a_package_names_the_workspace_where_a_user_has_versions() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("tide");
        package(&Names::new("tide").unwrap(), &own, &workspace()).unwrap();
        let manifest = fs::read_to_string(own.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("name = \"tide\""), "{manifest}");
        assert!(
            !manifest.contains("\"..\"") && !manifest.contains("../.."),
            "{manifest}"
        );
        assert!(own.join("src/tide/conformance.rs").exists());
        let again = package(&Names::new("tide").unwrap(), &own, &workspace()).unwrap_err();
        assert!(again.to_string().contains("is there already"), "{again}");
    }

    /// What is edited, in a copy.
    fn copy(of: &Path, to: &Path) {
        for file in [
            "scalers/Cargo.toml",
            "scalers/src/lib.rs",
            "scalers/src/catalogue.rs",
            "examples/Cargo.toml",
        ] {
            write(&to.join(file), &fs::read_to_string(of.join(file)).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_scaler_of_the_workspace_is_named_wherever_scalers_are() {
        let folder = tempfile::tempdir().unwrap();
        copy(&workspace(), folder.path());
        for name in ["tide-gauge", "selenium-grid"] {
            add(&Names::new(name).unwrap(), folder.path()).unwrap();
        }
        let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
        let catalogue = read("scalers/src/catalogue.rs");
        let (ours, keda) = catalogue.split_once("const NOT_SUPPORTED").unwrap();
        assert!(ours.contains("the feature `tide-gauge`") && ours.contains("the feature `selenium-grid`"));
        assert!(!keda.contains("\"selenium-grid\""));
        assert!(read("scalers/src/lib.rs").contains("registry.register::<tide_gauge::TideGaugeTrigger>();"));
        assert!(read("scalers/Cargo.toml").contains("\ntide-gauge = []\n"));
        assert!(read("examples/Cargo.toml").contains("\ntide-gauge = [\"scalers/tide-gauge\"]\n"));
        let again = add(&Names::new("cron").unwrap(), folder.path()).unwrap_err();
        assert!(again.to_string().contains("there already"), "{again}");
    }
}
