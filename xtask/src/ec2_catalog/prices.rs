//! On-demand prices, out of the table that Karpenter's AWS provider publishes.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, ensure};

const MODULE: &str = "github.com/aws/karpenter-provider-aws";
const TABLE: &str = "pkg/providers/pricing/zz_generated.pricing_aws.go";

/// Prices by type, by region.
pub(super) type Prices = BTreeMap<String, BTreeMap<String, String>>;

/// The module's name with its version, and its table.
pub(super) fn download(version: &str) -> anyhow::Result<(String, String)> {
    let module = format!("{MODULE}@{version}");
    let output = Command::new("go")
        .args(["mod", "download", "-json", &module])
        .output()
        .context("go, which downloads the prices, cannot be started; name a file with --prices")?;
    // A version of go that is too old to build the module has its archive all the same.
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "{module} cannot be downloaded: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let archive = said["Zip"]
        .as_str()
        .with_context(|| format!("{module} cannot be downloaded: {}", said["Error"]))?;
    let text = member(archive, &format!("{module}/{TABLE}"))?;
    Ok((module, text))
}

/// A member of an archive, by the Python that moto needs anyway.
fn member(archive: &str, name: &str) -> anyhow::Result<String> {
    let program =
        "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
    let output = Command::new("python3")
        .args(["-c", program, archive, name])
        .output()
        .context("python3 cannot be started")?;
    ensure!(
        output.status.success(),
        "{name} cannot be read from {archive}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// When the table was made, as it says.
pub(super) fn date(text: &str) -> &str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("// generated at "));
    line.and_then(|line| line.get(..10)).unwrap_or("without a date")
}

/// The table: `"region": {` and then `"type": price,` as often as there are some on a line.
pub(super) fn read(text: &str) -> Prices {
    let mut prices = Prices::new();
    let mut region = None;
    for line in text.lines().map(str::trim).filter(|line| line.starts_with('"')) {
        if let Some(name) = line.strip_suffix(": {") {
            region = Some(prices.entry(name.trim_matches('"').to_owned()).or_default());
            continue;
        }
        for pair in line.split(',') {
            if let (Some((name, price)), Some(region)) = (pair.split_once(':'), region.as_mut()) {
                let price = price.trim().trim_end_matches('0').trim_end_matches('.');
                region.insert(name.trim().trim_matches('"').to_owned(), price.to_owned());
            }
        }
    }
    prices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_by_region_and_type() {
        let text = "// generated at 2026-07-20T13:44:30Z for us-east-1\nvar X = y{\n\t\"us-east-1\": {\n\t\t// a1 family\n\t\t\"a1.large\": 0.051000, \"a1.metal\": 4.000000,\n\t\t\"a1.x\": 1.25,\n\t},\n\t\"us-west-2\": {\n\t\t\"a1.large\": 0.06,\n\t},\n}\n";
        let prices = read(text);
        assert_eq!(prices["us-east-1"]["a1.large"], "0.051");
        assert_eq!(prices["us-east-1"]["a1.metal"], "4");
        assert_eq!(prices["us-east-1"].len(), 3);
        assert_eq!(prices["us-west-2"]["a1.large"], "0.06");
        assert_eq!(date(text), "2026-07-20");
    }
}
