//! A headless Chromium, driven by chromedriver over W3C WebDriver.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

/// A browser session; both processes end when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    client: reqwest::Client,
    _profile: tempfile::TempDir,
}

/// Whether `program` is there; a missing one fails the test where tools are required.
pub(crate) fn available(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    assert!(
        found || std::env::var_os("AUTOSCALER_TESTS_REQUIRE_TOOLS").is_none(),
        "{program} is required, but it is not installed"
    );
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

impl Browser {
    /// Starts a browser without a window.
    pub(crate) async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let output = BufReader::new(driver.stdout.take().expect("its output is piped"));
        let port = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                line.split("started successfully on port ")
                    .nth(1)
                    .map(|port| port.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver says its port");
        let client = reqwest::Client::new();
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1200,1600",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities =
            json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}});
        let base = format!("http://127.0.0.1:{port}");
        let answer: Value = client
            .post(format!("{base}/session"))
            .json(&capabilities)
            .send()
            .await
            .expect("chromedriver answers")
            .json()
            .await
            .expect("chromedriver answers in JSON");
        let id = answer["value"]["sessionId"]
            .as_str()
            .expect("chromedriver opens a session");
        Self {
            driver,
            session: format!("{base}/session/{id}"),
            client,
            _profile: profile,
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer: Value = self
            .client
            .post(format!("{}{path}", self.session))
            .json(&body)
            .send()
            .await
            .expect("chromedriver answers")
            .json()
            .await
            .expect("chromedriver answers in JSON");
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    /// Opens a file.
    pub(crate) async fn open(&self, file: &Path) {
        self.post("/url", json!({"url": format!("file://{}", file.display())}))
            .await;
    }

    /// The value of a JavaScript expression in the page.
    pub(crate) async fn evaluate(&self, expression: &str) -> Value {
        self.post(
            "/execute/sync",
            json!({"script": format!("return {expression};"), "args": []}),
        )
        .await
    }

    async fn find(&self, selector: &str) -> String {
        let element = self
            .post("/element", json!({"using": "css selector", "value": selector}))
            .await;
        element
            .as_object()
            .and_then(|element| element.values().next())
            .and_then(Value::as_str)
            .expect("an element")
            .to_owned()
    }

    /// Types into an element as a person would.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.post(&format!("/element/{element}/value"), json!({"text": text}))
            .await;
    }

    /// Moves the mouse over the middle of an element.
    pub(crate) async fn hover(&self, selector: &str) {
        let element = self.find(selector).await;
        let origin = json!({"element-6066-11e4-a52e-4f735466cecf": element});
        let moves = json!([{"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}]);
        self.post("/actions", json!({"actions": [{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": moves}]}))
            .await;
    }

    /// Closes the browser.
    pub(crate) async fn close(self) {
        self.client
            .delete(&self.session)
            .send()
            .await
            .expect("chromedriver answers");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _gone = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}
