//! `docs/configuration.md`, from the table of settings.

use std::fmt::Write as _;

use super::{
    foreign::{FEATURE_GATES, foreign},
    setting::{Name, Owner, Setting, settings},
    value::Kind,
};

/// The page.
#[must_use]
pub fn page() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str(
        "\n## Settings\n\n| File | Flag | Environment | Default | Meaning |\n|---|---|---|---|---|\n",
    );
    for setting in settings() {
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        writeln!(
            text,
            "| `{}` | `--{}` | `{}` | {default} | {} |",
            setting.path,
            setting.flag,
            setting.environment(),
            meaning(setting)
        )
        .ok();
    }
    text.push_str("\n## Names of KEDA, Karpenter and Kubernetes with the same meaning\n\n| Theirs | Whose | Ours |\n|---|---|---|\n");
    for setting in settings() {
        for alias in setting.aliases {
            let name = match alias.name {
                Name::Flag(name) => format!("--{name}"),
                Name::Environment(name) => name.to_owned(),
            };
            writeln!(
                text,
                "| `{name}` | {} | `--{}` |",
                alias.owner.as_str(),
                setting.flag
            )
            .ok();
        }
    }
    text.push_str(
        "\nThese flags of KEDA have the same name here: `--metrics-bind-address`, `--health-probe-bind-address`, \
         `--leader-elect`, `--cert-secret-name`, `--enable-cert-rotation`, `--enable-apiservice-patching`, \
         `--enable-webhook-patching`. Karpenter's flags are its variables in lower case with dashes; \
         `--log-level`, `--leader-election-name`, `--leader-election-namespace`, `--batch-idle-duration`, \
         `--batch-max-duration`, `--feature-gates` and `--min-values-policy` are the same here.\n",
    );
    text.push_str("\n## Accepted without effect\n\nEach is logged with the reason unless its value asks for nothing else than what happens anyway.\n\n| Name | Whose | Why |\n|---|---|---|\n");
    for setting in foreign() {
        let names: Vec<_> = setting.names().iter().map(|name| format!("`{name}`")).collect();
        writeln!(
            text,
            "| {} | {} | {} |",
            names.join(", "),
            setting.owner.as_str(),
            setting.why
        )
        .ok();
    }
    for (gate, why) in FEATURE_GATES {
        if let Some(why) = why {
            let owner = Owner::Karpenter.as_str();
            writeln!(text, "| feature gate `{gate}` | {owner} | {why} |").ok();
        }
    }
    text
}

fn meaning(setting: &Setting) -> String {
    let doc = setting.doc.replace('|', "\\|");
    match setting.kind {
        Kind::Choice(words) => format!("{doc} One of {}.", words.join(", ")),
        _ => doc,
    }
}

const INTRODUCTION: &str = "# Configuration of `autoscaler run`

A setting is given by flag, environment variable or file (`--config FILE` or `AUTOSCALER_CONFIG`), in this order of
precedence; what nobody says has a default. `autoscaler run --print-config` prints what holds, each value with its
origin, as a file that gives the same again. Everything that is wrong is reported at once, with exit code 2. Unknown
keys of the file are errors.

The file is YAML, nested at the dots:

```yaml
only: pods
namespaces: [shop, billing]
leaderElection:
  leaseDuration: 15s
```

Durations are written as in Go (`500ms`, `15s`, `1m30s`), lists with commas or, in the file, as lists. An empty
environment variable counts as not set, but an empty `WATCH_NAMESPACE` means every namespace.
";

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_up_to_date() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let page = super::page();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == page,
            "docs/configuration.md differs from the table of settings: run the test with UPDATE_DOCS=1"
        );
    }
}
