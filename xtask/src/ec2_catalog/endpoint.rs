//! Questions to an EC2-compatible endpoint, by curl, page by page.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use super::xml::Element;

/// The items of every page of an answer: those below `set`.
pub(super) fn ask(
    url: &str,
    region: &str,
    action: &str,
    parameters: &[&str],
    set: &str,
) -> anyhow::Result<Vec<Element>> {
    let mut token = String::new();
    let mut pages = Vec::new();
    loop {
        let answer = post(url, region, action, parameters, &token)?;
        let page = Element::parse(&answer)
            .with_context(|| format!("{action} is answered by something that is no XML"))?;
        if page.at(set).is_none() {
            bail!(
                "{action} is answered without {set}: {}",
                answer.chars().take(300).collect::<String>()
            );
        }
        page.text("nextToken").clone_into(&mut token);
        pages.push(page);
        if token.is_empty() {
            return Ok(pages);
        }
    }
}

fn post(url: &str, region: &str, action: &str, parameters: &[&str], token: &str) -> anyhow::Result<String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| "test".to_owned());
    let user = format!(
        "{}:{}",
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY")
    );
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body", "--config", "-"])
        .args(["--aws-sigv4", &format!("aws:amz:{region}:ec2")])
        .args([
            "--data-urlencode",
            &format!("Action={action}"),
            "--data",
            "Version=2016-11-15",
        ]);
    for parameter in parameters {
        curl.args(["--data-urlencode", parameter]);
    }
    if !token.is_empty() {
        curl.args(["--data-urlencode", &format!("NextToken={token}")]);
    }
    // What proves who asks is no argument, since those are everybody's to read.
    let mut child = curl
        .arg(url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("curl cannot be started")?;
    if let Some(mut input) = child.stdin.take() {
        std::io::Write::write_all(&mut input, format!("user = \"{user}\"\n").as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let answer = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{action} of {url}: {answer}");
    Ok(answer)
}
