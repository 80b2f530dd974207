//! ElasticMQ, an SQS server, from Maven Central into the user's cache directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{run, tools};

const VERSION: &str = "1.7.1";

/// The folder of its jars, filled on first use.
pub(crate) fn ensure() -> anyhow::Result<PathBuf> {
    let folder = tools::cache()?.join("elasticmq").join(VERSION);
    let libraries = folder.join("lib");
    if libraries.is_dir() {
        return Ok(libraries);
    }
    eprintln!("downloading ElasticMQ {VERSION} (once)");
    // Made beside its place and moved there whole, so that half a download is never taken for one.
    let unfinished = folder.with_extension(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    let result = download(&unfinished).and_then(|()| put(&unfinished, &folder));
    fs::remove_dir_all(&unfinished).ok();
    result?;
    Ok(libraries)
}

fn download(folder: &Path) -> anyhow::Result<()> {
    fs::write(folder.join("pom.xml"), project())?;
    run(Command::new("mvn")
        .current_dir(folder)
        .args(["--quiet", "--batch-mode", "dependency:copy-dependencies"])
        .args(["-DoutputDirectory=lib", "-DincludeScope=runtime"]))
}

fn put(unfinished: &Path, folder: &Path) -> anyhow::Result<()> {
    match fs::rename(unfinished, folder) {
        // Somebody else may have been faster.
        Err(_) if folder.join("lib").is_dir() => Ok(()),
        Err(error) => bail!("cannot make {}: {error}", folder.display()),
        Ok(()) => Ok(()),
    }
}

fn project() -> String {
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.autoscaler</groupId>
  <artifactId>elasticmq</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.elasticmq</groupId>
      <artifactId>elasticmq-server_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"
    )
}
