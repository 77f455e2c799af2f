//! Debian's Chromium without a window, told what to do over its DevTools pipe: JSON messages that
//! end with a zero byte, into its descriptor 3 and out of its descriptor 4.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::observe::harness::DEADLINE;

/// A shell gives it the pipes under the numbers that it wants, and sweeps behind it. It ends when
/// the pipes do, which are this process's.
const START: &str = r#"chromium --headless --no-sandbox --disable-gpu --disable-quic \
    --no-first-run --disable-background-networking --disable-component-update --disable-sync \
    --disable-dev-shm-usage --remote-debugging-pipe --user-data-dir="$0" about:blank \
    3<&0 4>&1 </dev/null >/dev/null 2>&1
    rm -rf "$0""#;

/// Two for all tests, which have them in turn: they are heavy, and what is measured is the page.
static CHROMIUMS: [Mutex<Option<Chromium>>; 2] = [const { Mutex::new(None) }; 2];
/// Tests that wanted one so far.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// The browser's process. It ends when it is dropped, or when this process ends.
struct Chromium {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Json>,
    next_id: u64,
}

/// A browser that knows nothing of earlier ones, with one page.
pub(crate) struct Browser {
    chromium: MutexGuard<'static, Option<Chromium>>,
    /// Its cookies, passwords and cache.
    context: String,
    session: String,
    /// Events that came while something else was waited for.
    events: Vec<Json>,
    /// The user and password that it knows.
    user: (&'static str, &'static str),
}

/// A browser, or a loud word that there is none.
pub(crate) fn browser() -> Option<Browser> {
    let is_there = Command::new("sh")
        .args(["-c", "command -v chromium"])
        .stdout(Stdio::null())
        .status();
    if !is_there.is_ok_and(|status| status.success()) {
        crate::observe::say_skipped(
            "chromium",
            "chromium",
            "the page was not looked at in a browser",
        );
        return None;
    }
    Some(Browser::new())
}

impl Chromium {
    fn start() -> Self {
        let mut child = Command::new("sh")
            .args(["-c", START])
            .arg(tempfile::tempdir().unwrap().keep())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let said = child.stdout.take().unwrap();
        let (tell, messages) = channel();
        thread::spawn(move || {
            for message in BufReader::new(said).split(0) {
                let Ok(Ok(message)) = message.map(|message| serde_json::from_slice(&message))
                else {
                    return;
                };
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            commands,
            messages,
            next_id: 0,
        }
    }

    /// Sends a command; gives its number.
    fn send(&mut self, mut message: Json) -> u64 {
        self.next_id += 1;
        message["id"] = self.next_id.into();
        let text = message.to_string() + "\0";
        self.commands.write_all(text.as_bytes()).unwrap();
        self.next_id
    }

    #[track_caller]
    fn receive(&mut self, deadline: Instant, what: &str) -> Json {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.messages.recv_timeout(left) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("the browser does not answer to {what}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the browser has ended before {what}"),
        }
    }
}

/// Whether this error says that the page that was asked has made way for another one.
fn is_of_a_page_that_went(message: &str) -> bool {
    message.contains("navigated or closed") || message.contains("context was destroyed")
}

impl Browser {
    fn new() -> Self {
        let turn = TAKEN.fetch_add(1, Ordering::Relaxed) % CHROMIUMS.len();
        let chromium = CHROMIUMS[turn].lock();
        let mut chromium = chromium.unwrap_or_else(PoisonError::into_inner);
        chromium.get_or_insert_with(Chromium::start);
        let mut browser = Self {
            chromium,
            context: String::new(),
            session: String::new(),
            events: Vec::new(),
            user: ("sync", "sync"),
        };
        let context = browser.call("Target.createBrowserContext", json!({}));
        browser.context = text(&context["browserContextId"]);
        let page = json!({ "url": "about:blank", "browserContextId": browser.context });
        let target = browser.call("Target.createTarget", page);
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = text(&browser.call("Target.attachToTarget", attach)["sessionId"]);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    fn chromium(&mut self) -> &mut Chromium {
        self.chromium.as_mut().expect("it is there until the drop")
    }

    /// A command of the protocol, with its result.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Json) -> Json {
        let result = self.try_call(method, params);
        result.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    #[track_caller]
    fn try_call(&mut self, method: &str, params: Json) -> Result<Json, Json> {
        let id = self.send(method, params);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let message = self.chromium().receive(deadline, method);
            if message["id"] != id {
                self.take_event(message);
                continue;
            }
            return match message.get("error") {
                Some(error) => Err(error.clone()),
                None => Ok(message["result"].clone()),
            };
        }
    }

    fn send(&mut self, method: &str, params: Json) -> u64 {
        let mut message = json!({ "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.chromium().send(message)
    }

    /// Keeps an event; a request that asks for a password is answered at once, by the one that
    /// it knows or as the page's user who has none.
    fn take_event(&mut self, event: Json) {
        let request = event["params"]["requestId"].clone();
        match event["method"].as_str() {
            Some("Fetch.requestPaused") => {
                self.send("Fetch.continueRequest", json!({ "requestId": request }));
            }
            Some("Fetch.authRequired") => {
                let answer = json!({
                    "response": "ProvideCredentials",
                    "username": self.user.0,
                    "password": self.user.1,
                });
                self.send(
                    "Fetch.continueWithAuth",
                    json!({ "requestId": request, "authChallengeResponse": answer }),
                );
            }
            _ => {}
        }
        self.events.push(event);
    }

    /// From now on knows the password that it is asked for: of `sync`, unless told otherwise.
    pub(crate) fn know_password(&mut self) {
        self.call("Fetch.enable", json!({ "handleAuthRequests": true }));
    }

    /// Knows another user.
    pub(crate) fn be(&mut self, user: &'static str, password: &'static str) {
        self.user = (user, password);
    }

    /// Goes to a page and waits until it is loaded.
    #[track_caller]
    pub(crate) fn open(&mut self, url: &str) {
        self.events.clear();
        let went = self.call("Page.navigate", json!({ "url": url }));
        assert!(went.get("errorText").is_none(), "{went}");
        let deadline = Instant::now() + DEADLINE;
        while !self.has("Page.loadEventFired") {
            let event = self.chromium().receive(deadline, "loading the page");
            self.take_event(event);
        }
    }

    /// The value of an expression on the page.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Json {
        let value = self.evaluate(expression);
        value.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    #[track_caller]
    fn evaluate(&mut self, expression: &str) -> Result<Json, Json> {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let told = self.try_call("Runtime.evaluate", params)?;
        assert!(
            told.get("exceptionDetails").is_none(),
            "{expression}: {told}"
        );
        Ok(told["result"]["value"].clone())
    }

    /// Looks until an expression is true; gives how long that took.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, expression: &str) -> Duration {
        let begun = Instant::now();
        loop {
            match self.evaluate(expression) {
                Ok(value) if value == true => break,
                Ok(_) => {}
                // A link was followed a moment ago: another page comes.
                Err(error)
                    if error["message"]
                        .as_str()
                        .is_some_and(is_of_a_page_that_went) => {}
                Err(error) => panic!("{expression}: {error}"),
            }
            assert!(
                begun.elapsed() < DEADLINE,
                "never: {expression}; the page says {}",
                self.value("document.body.innerText")
            );
            thread::sleep(Duration::from_millis(10));
        }
        begun.elapsed()
    }

    /// Presses a key, as a person without a mouse does.
    pub(crate) fn press(&mut self, key: &str, code: u32, text: Option<&str>) {
        let mut down =
            json!({ "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code });
        if let Some(text) = text {
            down["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", down);
        let up = json!({ "type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", up);
    }

    /// A window of this size, with light or dark colours.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": width < 500,
        });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", scheme);
    }

    fn has(&self, method: &str) -> bool {
        self.events.iter().any(|event| event["method"] == method)
    }

    /// Events of this kind since the page was opened.
    pub(crate) fn events(&mut self, method: &str) -> Vec<Json> {
        // What has come by now is taken in by looking up for something.
        self.value("0");
        let of_it = self.events.iter().filter(|event| event["method"] == method);
        of_it.map(|event| event["params"].clone()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if thread::panicking() {
            // Nobody knows what has become of it: the next test begins with another one.
            *self.chromium = None;
            return;
        }
        self.session.clear();
        let context = json!({ "browserContextId": self.context });
        self.call("Target.disposeBrowserContext", context);
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It and its helpers end when it is told to; one that hangs is killed, and its helpers go
        // with it.
        let close = json!({ "id": 0, "method": "Browser.close" }).to_string() + "\0";
        let _ = self.commands.write_all(close.as_bytes());
        let give_up = Instant::now() + Duration::from_secs(5);
        while Instant::now() < give_up {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A word of an answer.
#[track_caller]
fn text(of: &Json) -> String {
    of.as_str().unwrap().to_owned()
}
