//! The status, again and again: a table each time, or in a terminal a screen that can be scrolled.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};
use signal_hook::consts::{SIGHUP, SIGTERM};

use super::client::StatusError;

/// How long a key or a signal may wait.
const LOOK: Duration = Duration::from_millis(100);

/// Runs `step` each `interval`, until it fails.
pub(super) fn repeat(
    interval: Duration,
    mut step: impl FnMut() -> Result<(), StatusError>,
) -> Result<(), StatusError> {
    loop {
        step()?;
        std::thread::sleep(interval);
    }
}

/// Shows what `text` gives for a terminal of so many columns, anew each `interval`, until `q`,
/// Ctrl-C, SIGTERM or SIGHUP. Fails if the first look does; later ones may, which is shown.
pub(super) fn screen(
    interval: Duration,
    text: impl Fn(usize) -> Result<String, StatusError>,
) -> Result<(), StatusError> {
    let is_ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&is_ended)).map_err(StatusError::Output)?;
    }
    let dimensions = || size().map_err(StatusError::Output);
    let (mut width, mut height) = dimensions()?;
    let mut view = View::new(text(width.into())?);
    let terminal = Terminal::take().map_err(StatusError::Output)?;
    let keys = keys();
    let mut shown_at = Instant::now();
    while !is_ended.load(Ordering::Relaxed) {
        terminal
            .draw(&view, width, height)
            .map_err(StatusError::Output)?;
        match keys.recv_timeout(LOOK.min(interval)) {
            Ok(Key::Quit) => break,
            Ok(key) => view.handle_key(key, height.into()),
            Err(RecvTimeoutError::Timeout) => {}
            // There is no keyboard.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK.min(interval)),
        }
        let now = dimensions()?;
        if now != (width, height) || shown_at.elapsed() >= interval {
            (width, height) = now;
            match text(width.into()) {
                Ok(text) => view.handle_text(text),
                Err(error) => view.handle_error(&error),
            }
            shown_at = Instant::now();
        }
    }
    Ok(())
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Down,
    Up,
    PageDown,
    PageUp,
    Home,
    End,
    Quit,
}

/// Keys as a terminal in raw mode sends them (xterm's control sequences).
const KEYS: [(&[u8], Key); 18] = [
    (b"\x1b[A", Key::Up),
    (b"\x1bOA", Key::Up),
    (b"k", Key::Up),
    (b"\x1b[B", Key::Down),
    (b"\x1bOB", Key::Down),
    (b"j", Key::Down),
    (b"\x1b[5~", Key::PageUp),
    (b"b", Key::PageUp),
    (b"\x1b[6~", Key::PageDown),
    (b" ", Key::PageDown),
    (b"\x1b[H", Key::Home),
    (b"\x1b[1~", Key::Home),
    (b"g", Key::Home),
    (b"\x1b[F", Key::End),
    (b"\x1b[4~", Key::End),
    (b"G", Key::End),
    (b"q", Key::Quit),
    // Ctrl-C, which is a key in raw mode.
    (b"\x03", Key::Quit),
];

/// The keys in what a terminal sent, in their order. Others mean nothing.
fn keys_in(mut sent: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let [_, rest @ ..] = sent {
        let known = KEYS.iter().find(|(bytes, _)| sent.starts_with(bytes));
        match known {
            Some((bytes, key)) => {
                keys.push(*key);
                sent = &sent[bytes.len()..];
            }
            None => sent = rest,
        }
    }
    keys
}

/// The keys that are pressed from now on.
fn keys() -> Receiver<Key> {
    let (give, take) = channel();
    // It waits for the keyboard, and ends with the process.
    std::thread::spawn(move || {
        let mut sent = [0; 64];
        while let Ok(bytes @ 1..) = io::stdin().read(&mut sent) {
            for key in keys_in(&sent[..bytes]) {
                if give.send(key).is_err() {
                    return;
                }
            }
        }
    });
    take
}

/// The terminal, without echo and with a screen of its own, until this goes.
struct Terminal;

impl Terminal {
    fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on it is given back, whatever fails.
        let terminal = Self;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(terminal)
    }

    fn draw(&self, view: &View, width: u16, height: u16) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for (row, line) in view.rows(height.into()).into_iter().enumerate() {
            queue!(out, MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX)))?;
            let (line, more) = within(line, width.into());
            out.write_all(line.as_bytes())?;
            out.write_all(more.as_bytes())?;
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nobody is there to be told where this fails.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// The line's beginning that fits `width` columns, and a sign if there is more of it. Colours take
/// no columns.
fn within(line: &str, width: usize) -> (&str, &'static str) {
    let (mut columns, mut is_code, mut last) = (0, false, 0);
    for (at, character) in line.char_indices() {
        match character {
            '\u{1b}' => is_code = true,
            'm' if is_code => is_code = false,
            _ if is_code => {}
            // The last column shows that there is more; a colour that is on ends before it.
            _ if columns == width => return (&line[..last], "\u{1b}[0m…"),
            _ => {
                columns += 1;
                last = at;
            }
        }
    }
    (line, "")
}

/// Text that is longer than the screen, and which part of it is seen.
#[derive(Debug)]
struct View {
    text: String,
    /// What went wrong with the last look.
    error: Option<String>,
    /// Lines above the screen.
    above: usize,
}

impl View {
    fn new(text: String) -> Self {
        Self {
            text,
            error: None,
            above: 0,
        }
    }

    fn handle_text(&mut self, text: String) {
        (self.text, self.error) = (text, None);
    }

    fn handle_error(&mut self, error: &StatusError) {
        self.error = Some(error.to_string());
    }

    fn handle_key(&mut self, key: Key, height: usize) {
        let page = height.saturating_sub(1).max(1);
        let last = self.text.lines().count().saturating_sub(page);
        let above = self.above.min(last);
        self.above = match key {
            Key::Down => above + 1,
            Key::Up => above.saturating_sub(1),
            Key::PageDown => above + page,
            Key::PageUp => above.saturating_sub(page),
            Key::Home => 0,
            Key::End => last,
            Key::Quit => above,
        }
        .min(last);
    }

    /// What a screen of so many lines shows; its last line says what is wrong, or what keys do.
    fn rows(&self, height: usize) -> Vec<&str> {
        let page = height.saturating_sub(1).max(1);
        let lines: Vec<&str> = self.text.lines().collect();
        let above = self.above.min(lines.len().saturating_sub(page));
        let mut rows: Vec<&str> = lines.into_iter().skip(above).take(page).collect();
        rows.push(match &self.error {
            Some(error) => error,
            None => "q ends the watch, not the server; arrows, Page Up and Page Down scroll",
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten lines on a screen of four, three of them for text.
    fn seen_after(keys: &[Key]) -> String {
        let mut view = View::new((0..10).map(|line| format!("{line}\n")).collect());
        keys.iter().for_each(|key| view.handle_key(*key, 4));
        let rows = view.rows(4);
        assert_eq!(rows.len(), 4);
        rows[..3].concat()
    }

    #[test]
    fn keys_scroll_and_no_further_than_there_is_something() {
        assert_eq!(seen_after(&[]), "012");
        assert_eq!(seen_after(&[Key::Down, Key::Down]), "234");
        assert_eq!(seen_after(&[Key::PageDown, Key::Up]), "234");
        assert_eq!(seen_after(&[Key::End, Key::Down]), "789");
        assert_eq!(seen_after(&[Key::End, Key::PageUp]), "456");
        assert_eq!(seen_after(&[Key::PageDown; 9]), "789");
        assert_eq!(seen_after(&[Key::End, Key::Home, Key::Up]), "012");
    }

    #[test]
    fn text_that_shrinks_under_a_scrolled_screen_is_seen() {
        let mut view = View::new("a\n".repeat(30));
        view.handle_key(Key::End, 4);
        view.handle_text("b\nc\n".to_owned());
        assert_eq!(view.rows(4)[..2], ["b", "c"]);
        assert_eq!(view.rows(1).len(), 2, "there is always something to see");
    }

    #[test]
    fn what_goes_wrong_stands_in_the_last_line_until_it_is_right_again() {
        let mut view = View::new("a\n".to_owned());
        view.handle_error(&StatusError::Closed {
            addr: "127.0.0.1:1".parse().unwrap(),
        });
        assert!(view.rows(9)[1].contains("127.0.0.1:1 closed"));
        assert_eq!(view.rows(9)[0], "a", "what was seen last stays");
        view.handle_text("b\n".to_owned());
        assert!(view.rows(9)[1].starts_with("q ends"));
    }

    #[test]
    fn a_line_is_cut_at_the_screens_edge_and_colours_take_no_room() {
        let more = "\u{1b}[0m…";
        assert_eq!(within("abcdef", 3), ("ab", more));
        assert_eq!(within("abc", 3), ("abc", ""));
        assert_eq!(
            within("\u{1b}[31mab\u{1b}[0mcd", 3),
            ("\u{1b}[31mab\u{1b}[0m", more)
        );
        assert_eq!(within("é│", 2), ("é│", ""));
    }

    #[test]
    fn keys_are_what_terminals_send_for_them_and_others_mean_nothing() {
        let keys = keys_in(b"jx\x1b[B\x1bOA\x1b[5~\x1b[99~\xc3\xa9 G\x1b");
        let (down, up) = (Key::Down, Key::Up);
        assert_eq!(keys, [down, down, up, Key::PageUp, Key::PageDown, Key::End]);
        assert_eq!(keys_in(b"\x03"), [Key::Quit]);
        assert_eq!(keys_in(b"q"), [Key::Quit]);
    }
}
