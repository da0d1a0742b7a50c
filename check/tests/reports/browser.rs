//! A headless Chromium, driven over its debugging pipe.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    calls: u64,
    session: Option<String>,
    /// What the browser complained of.
    pub complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one. A machine without it fails the test: `tests/machine.sh install chromium`.
    pub fn start() -> Self {
        let names = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
        let program = names
            .iter()
            .find_map(|name| which::which(name).ok())
            .expect("no Chromium on this machine: tests/machine.sh install chromium");
        let profile = tempfile::tempdir().unwrap();
        // The pipe's ends are the descriptors 3 and 4 of the browser.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 >/dev/null 2>&1 </dev/null"])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let mut messages = BufReader::new(child.stdout.take().unwrap());
        let (told, from) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while messages.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if told.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let complaints = Vec::new();
        let mut browser = Self { child, to, from, calls: 0, session: None, complaints, _profile: profile };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attached =
            browser.call("Target.attachToTarget", &json!({"targetId": target["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.call(domain, &json!({}));
        }
        browser
    }

    /// Opens a file on a screen of that size, light or dark.
    pub fn open(&mut self, file: &Path, (width, height): (u32, u32), scheme: &str) {
        let is_phone = width < 500;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}),
        );
        self.call(
            "Emulation.setEmulatedMedia",
            &json!({"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
        self.call("Page.navigate", &json!({"url": format!("file://{}", file.display())}));
        self.until(|message| message["method"] == "Page.loadEventFired");
    }

    /// What an expression gives.
    pub fn value(&mut self, expression: &str) -> Value {
        let answer = self.call("Runtime.evaluate", &json!({"expression": expression, "returnByValue": true}));
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].clone()
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(message.to_string().as_bytes()).and_then(|()| self.to.write_all(&[0])).unwrap();
        let answer = self.until(|message| message["id"] == id);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The first message that fits; what the browser complains of on the way is kept.
    fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.from.recv_timeout(PATIENCE).expect("the browser answers");
            match message["method"].as_str() {
                Some(
                    "Log.entryAdded"
                    | "Runtime.consoleAPICalled"
                    | "Runtime.exceptionThrown"
                    | "Page.javascriptDialogOpening",
                ) => {
                    self.complaints.push(message["params"].to_string());
                }
                Some("Network.requestWillBeSent") => {
                    let url = message["params"]["request"]["url"].as_str().unwrap_or_default();
                    if !url.starts_with("file://") {
                        self.complaints.push(format!("a request for {url}"));
                    }
                }
                _ => {}
            }
            if fits(&message) {
                return message;
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
