//! `codegen ec2-catalog`: EC2's instance types and their prices as one compressed table in `provisioner/data`.
//!
//! Types and zones come from an EC2-compatible endpoint (moto where none is named), on-demand prices from the table that
//! Karpenter's AWS provider publishes as a Go module. Figures are facts; nothing else is taken over.

mod endpoint;
mod prices;
mod types;
mod xml;

use std::{fs, io::Write as _, path::PathBuf};

use anyhow::{Context as _, ensure};
use flate2::{Compression, GzBuilder};

use crate::services::{self, Service};

/// Where the table goes.
const FILE: &str = "provisioner/data/ec2.tsv.gz";

/// Where facts come from.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// An EC2-compatible endpoint; moto, started for it, where missing. Credentials, where it wants some, are those of
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Regions; those without prices are left out.
    #[arg(long = "region", value_name = "REGION", default_values = ["us-east-1"])]
    regions: Vec<String>,
    /// A file of prices as the Go module has it; the module's own, downloaded, where missing.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// The version of the Go module.
    #[arg(long, value_name = "VERSION", default_value = "v1.15.1")]
    prices_version: String,
}

/// Writes the table.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let (name, prices) = match &options.prices {
        Some(file) => (
            file.display().to_string(),
            fs::read_to_string(file).with_context(|| file.display().to_string())?,
        ),
        None => prices::download(&options.prices_version)?,
    };
    let table = prices::read(&prices);
    let server = match &options.endpoint {
        Some(_) => None,
        None => Some(Service::find("moto")?.start(&services::Options::default())?),
    };
    let url = options
        .endpoint
        .clone()
        .or_else(|| Some(server.as_ref()?.detail("url").to_owned()));
    let url = url.context("no endpoint")?;
    let mut text = String::new();
    text.push_str("# EC2 instance types. Written by `cargo xtask codegen ec2-catalog`; do not edit.\n");
    text.push_str("# Types and zones: DescribeInstanceTypes and DescribeInstanceTypeOfferings");
    text.push_str(if options.endpoint.is_some() {
        ".\n"
    } else {
        " of moto "
    });
    if options.endpoint.is_none() {
        text.push_str(services::MOTO_VERSION);
        text.push_str(".\n");
    }
    text.push_str(&format!(
        "# On-demand prices, US dollars an hour: {name}, {}.\n",
        prices::date(&prices)
    ));
    let first = options.regions.first().context("no region")?;
    let types = types::describe(&url, first)?;
    ensure!(!types.is_empty(), "{url} knows no instance type");
    for it in &types {
        text.push_str(&it.line());
        text.push('\n');
    }
    for region in &options.regions {
        let Some(prices) = table.get(region) else {
            eprintln!("no prices of {region}, which is left out");
            continue;
        };
        let zones = types::zones(&url, region)?;
        let section = types::region(region, &types, &zones, prices);
        text.push_str(&section);
    }
    let mut compressed = GzBuilder::new().write(Vec::new(), Compression::best());
    compressed.write_all(text.as_bytes())?;
    let compressed = compressed.finish()?;
    fs::create_dir_all("provisioner/data")?;
    fs::write(FILE, &compressed).with_context(|| FILE.to_owned())?;
    eprintln!(
        "{FILE}: {} types, {} bytes, {} as text",
        types.len(),
        compressed.len(),
        text.len()
    );
    Ok(())
}
