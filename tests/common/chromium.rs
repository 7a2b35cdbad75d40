//! A headless Chromium that shows pages of files, asked by the DevTools protocol (<https://chromedevtools.github.io/devtools-protocol>)
//! over a pipe.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// What it is called by distributions.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Chromium {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    /// What it has reported by itself.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Chromium {
    /// Starts it with an empty tab. None, with a message, if there is none; a failure if `REFLUX_REQUIRE_CHROMIUM` is 1.
    pub fn start() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<_> = std::env::split_paths(&path).collect();
        let found = NAMES.iter().find(|name| folders.iter().any(|folder| folder.join(name).is_file()));
        let Some(name) = found else {
            let is_required = std::env::var("REFLUX_REQUIRE_CHROMIUM").is_ok_and(|value| value == "1");
            assert!(!is_required, "REFLUX_REQUIRE_CHROMIUM is 1, and none of {NAMES:?} is in PATH");
            eprintln!("skipped: none of {NAMES:?} is in PATH");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // It reads commands at descriptor 3 and answers at 4. The sandbox needs rights that containers do not give; the only
        // page that it opens is ours, and it has no network.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null", "sh", name])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--remote-debugging-pipe",
            ])
            .args(["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, messages) = channel();
        let answers = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
            }
        });
        let commands = process.stdin.take().unwrap();
        let mut chromium = Self {
            process,
            commands,
            messages,
            session: None,
            last_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = chromium.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = chromium.call("Target.attachToTarget", attach);
        chromium.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            chromium.call(&format!("{domain}.enable"), json!({}));
        }
        Some(chromium)
    }

    /// The answer to a command.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let message = self.next_message(method);
            if message["id"] == self.last_id {
                assert!(message.get("error").is_none(), "{method}: {}", message["error"]);
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn next_message(&self, when: &str) -> Value {
        self.messages
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("{when}: Chromium is silent: {error}"))
    }

    /// Shows a file and waits until all of it is there.
    pub fn open(&mut self, file: &Path) {
        self.events.clear();
        let file = file.canonicalize().unwrap();
        self.call("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next_message("load");
            self.events.push(event);
        }
    }

    /// What a JavaScript expression gives, waiting for it if it is a promise.
    pub fn eval(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    /// Presses and releases a key, as a user does.
    pub fn press(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", event);
            if kind == "rawKeyDown" && key == "Enter" {
                self.call("Input.dispatchKeyEvent", json!({"type": "char", "text": "\r", "key": key}));
            }
        }
    }

    /// The window's size in pixels, and the media features and the medium that a page asks for.
    pub fn show_as(&mut self, width: u32, medium: &str, scheme: &str) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"media": medium, "features": features}));
        // A busy machine takes the new size some time later.
        self.eval(&format!(
            "(async () => {{ for (let tries = 0; innerWidth !== {width} && tries < 200; tries++)
                await new Promise((done) => setTimeout(done, 10)); }})()"
        ));
    }

    /// All of the page as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let shot =
            self.call("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}));
        BASE64.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// The page as PDF.
    pub fn pdf(&mut self) -> Vec<u8> {
        let pdf = self.call("Page.printToPDF", json!({"preferCSSPageSize": true, "printBackground": false}));
        BASE64.decode(pdf["data"].as_str().unwrap()).unwrap()
    }

    /// Everything that the page has complained about since it was opened.
    pub fn complaints(&mut self) -> Vec<String> {
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Log.entryAdded") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] != "log",
            _ => false,
        };
        self.eval("0");
        self.events.iter().filter(is_complaint).map(|event| event["params"].to_string()).collect()
    }

    /// Addresses that the page has asked for since it was opened, without those that hold their data themselves.
    pub fn requests(&mut self) -> Vec<String> {
        let is_request = |event: &&Value| event["method"] == "Network.requestWillBeSent";
        let address = |event: &Value| event["params"]["request"]["url"].as_str().unwrap().to_owned();
        let all = self.events.iter().filter(is_request).map(address);
        all.filter(|address| !address.starts_with("data:")).collect()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        self.session = None;
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        for _ in 0..100 {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
