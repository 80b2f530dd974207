//! `docs/writing-a-scaler.md`, done as it says: its commands in their order, its code where it says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a guide that does not work fails the test"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A folder that is not there yet, always at the same place, so that what is built there is built once.
fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    folder
}

/// The blocks of code with their languages.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("```") {
        let (language, after) = after.split_once('\n').unwrap();
        let (code, after) = after.split_once("```").unwrap();
        blocks.push((language.to_owned(), code.to_owned()));
        rest = after;
    }
    blocks
}

/// Runs a command of the guide as a person would, with what the workspace has built already.
fn execute(line: &str, folder: &Path) -> String {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    // This program is built with the test, no need for another one.
    let script = format!(
        "cargo() {{ if [ \"$1\" = xtask ]; then shift; \"$XTASK\" \"$@\"; else command \"$CARGO\" \"$@\"; fi; }}\n{line}"
    );
    let output = Command::new("bash")
        .args(["-euc", &script])
        .current_dir(folder)
        .env("XTASK", env!("CARGO_BIN_EXE_xtask"))
        .env("CARGO", env!("CARGO"))
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_NET_OFFLINE", "true")
        // As `.cargo/config.toml` of the workspace has it, so that nothing is built twice.
        .env("K8S_OPENAPI_ENABLED_VERSION", "1.35")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Replaces the function of a file.
fn replace_function(file: &Path, name: &str, by: &str) {
    let text = fs::read_to_string(file).unwrap();
    let start = |text: &str| {
        let signature = text.find(&format!("\nfn {name}(")).unwrap();
        text[..signature].rfind("\n///").unwrap()
    };
    let (from, new) = (start(&text), start(by));
    let end = from + text[from..].find("\n}\n").unwrap() + "\n}\n".len();
    fs::write(file, format!("{}{}{}", &text[..from], &by[new..], &text[end..])).unwrap();
}

/// The replicas of the Deployment, one after the other.
fn replicas(record: &Path) -> Vec<u64> {
    let record: Value = serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap();
    let mut seen = Vec::new();
    for moment in record["timeline"].as_array().unwrap() {
        let now = moment["desired"].as_u64().unwrap();
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    seen
}

#[test]
fn who_does_as_the_guide_says_gets_a_deployment_that_follows_a_scaler_of_their_own() {
    let guide = read("docs/writing-a-scaler.md");
    let package = fresh("tide");
    let place = |line: &str| line.replace("../tide", &package.display().to_string());
    let mut folder = workspace();
    let mut followed = Vec::new();
    for (language, code) in blocks(&guide) {
        match language.as_str() {
            "sh" => {
                for line in code.lines().map(place) {
                    match line.strip_prefix("cd ") {
                        Some(path) => folder = folder.join(path),
                        None => drop(execute(&line, &folder)),
                    }
                    if line.contains("--json record.json") {
                        followed.push(replicas(&package.join("record.json")));
                    }
                }
            }
            "rust" if code.contains("fn value(") && !code.contains("impl Trigger") => {
                replace_function(&package.join("src/tide.rs"), "value", &code);
            }
            _ => {}
        }
    }
    let [steps, slope] = followed.as_slice() else {
        panic!("{} runs on the embedded cluster", followed.len());
    };
    assert_eq!(steps.as_slice(), [0, 1, 4, 8, 0], "as load.txt says");
    assert!(
        slope.len() > steps.len() && slope.iter().any(|count| (5..8).contains(count)),
        "what lies between is followed too: {slope:?}"
    );
    assert_eq!(slope.last(), Some(&0), "and back to zero: {slope:?}");
}

#[test]
fn a_new_scaler_of_the_workspace_passes_the_suite() {
    let copy = fresh("workspace");
    let files = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(workspace())
        .output()
        .unwrap();
    for file in String::from_utf8(files.stdout).unwrap().lines() {
        let (from, to) = (workspace().join(file), copy.join(file));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        // What was removed is listed until that is committed.
        if from.is_file() {
            fs::copy(from, to).unwrap();
        }
    }
    execute("cargo xtask new-scaler tide-gauge", &copy);
    let suite = "cargo test --package scalers --features tide-gauge --lib tide_gauge";
    let output = execute(suite, &copy);
    assert!(
        output.contains("tide_gauge::conformance::it_conforms ... ok"),
        "{output}"
    );
}

#[test]
fn the_guide_shows_the_example_as_it_is() {
    let guide = read("docs/writing-a-scaler.md");
    let scaler = read("examples/custom-scaler/src/forecast.rs");
    let (_, scaler) = scaler.split_once("\n\n").unwrap();
    let (scaler, _) = scaler.split_once("\n#[cfg(test)]").unwrap();
    assert!(
        guide.contains(scaler),
        "docs/writing-a-scaler.md differs from {scaler}"
    );
    assert!(
        guide.contains(&read("examples/custom-scaler/src/main.rs")),
        "main.rs"
    );
}

#[test]
fn the_example_is_short() {
    let lines = |file: &str| {
        read(Path::new("examples/custom-scaler").join(file))
            .lines()
            .count()
    };
    let sum = lines("src/main.rs") + lines("src/forecast.rs");
    assert!(sum < 120, "{sum} lines");
}
