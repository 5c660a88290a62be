//! The report on a terminal, drawn again and again until somebody has seen enough.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{cursor, execute, queue, style};

use super::connection::Connection;
use super::options::Options;
use super::report::Report;
use super::{Failure, lost, page};

/// The terminal while it is ours; dropped, it is as it was.
struct Screen;

impl Screen {
    fn take() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Draws the lines that fit from the top left on.
    fn draw(&self, lines: &[String]) -> io::Result<()> {
        let (columns, rows) = terminal::size()?;
        let mut out = io::stdout().lock();
        for (row, line) in (0..rows).zip(lines) {
            let shown: String = line.chars().take(usize::from(columns)).collect();
            queue!(
                out,
                cursor::MoveTo(0, row),
                style::Print(shown),
                Clear(ClearType::UntilNewLine)
            )?;
        }
        let drawn = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        if drawn < rows {
            queue!(out, cursor::MoveTo(0, drawn), Clear(ClearType::FromCursorDown))?;
        }
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What fails here fails because the terminal is gone.
        let _ = execute!(io::stdout(), cursor::Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// All since the last reset.
    All,
    /// What came since the last look.
    Interval,
    End,
}

fn wish_of(key: KeyEvent) -> Option<Wish> {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::End),
        KeyCode::Char('q') | KeyCode::Esc => Some(Wish::End),
        KeyCode::Char('a') => Some(Wish::All),
        KeyCode::Char('i') => Some(Wish::Interval),
        _ => None,
    }
}

/// Shows `first` and what comes after it, until a key or an error ends it.
pub(super) fn run(
    options: &Options,
    mut connection: Connection,
    first: Report,
) -> Result<(), Failure> {
    let no_terminal = |error: io::Error| {
        Failure::Lost(format!("The terminal can't be used ({error}): --once does without it."))
    };
    let screen = Screen::take().map_err(no_terminal)?;
    let (mut earlier, mut looked) = (first.clone(), Instant::now());
    let (mut now, mut covered) = (first, None);
    let mut show_all = false;
    loop {
        let lines = match covered {
            Some(covered) if !show_all => lines(options, &now.since(&earlier), Some(covered)),
            _ => lines(options, &now, None),
        };
        screen.draw(&lines).map_err(no_terminal)?;
        let due = looked + options.interval();
        match wait_for_key(due).map_err(no_terminal)? {
            Some(Wish::End) => return Ok(()),
            Some(Wish::All) => show_all = true,
            Some(Wish::Interval) => show_all = false,
            None if Instant::now() < due => {}
            None => {
                let report = Report::fetch(&mut connection, options).map_err(lost)?;
                earlier = std::mem::replace(&mut now, report);
                covered = Some(looked.elapsed());
                looked = Instant::now();
            }
        }
    }
}

fn lines(options: &Options, report: &Report, covered: Option<Duration>) -> Vec<String> {
    let columns = terminal::size().map_or(super::PAGE_COLUMNS, |(columns, _)| columns.into());
    let mut lines = page(options, report, covered, columns);
    lines[0].push_str("   (a: all since the last reset, i: the last moments, q: end)");
    lines
}

/// Waits until `due`, or for a key or a new size of the terminal.
fn wait_for_key(due: Instant) -> io::Result<Option<Wish>> {
    if !event::poll(due.saturating_duration_since(Instant::now()))? {
        return Ok(None);
    }
    match event::read()? {
        Event::Key(key) => Ok(wish_of(key)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyCode, KeyEvent, KeyModifiers, Wish, wish_of};

    #[test]
    fn keys_are_wishes() {
        let press = |code, modifiers| wish_of(KeyEvent::new(code, modifiers));
        for (code, modifiers, wish) in [
            (KeyCode::Char('q'), KeyModifiers::NONE, Some(Wish::End)),
            (KeyCode::Esc, KeyModifiers::NONE, Some(Wish::End)),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Wish::End)),
            (KeyCode::Char('c'), KeyModifiers::NONE, None),
            (KeyCode::Char('a'), KeyModifiers::NONE, Some(Wish::All)),
            (KeyCode::Char('i'), KeyModifiers::NONE, Some(Wish::Interval)),
            (KeyCode::Enter, KeyModifiers::NONE, None),
        ] {
            assert_eq!(press(code, modifiers), wish, "{code:?}");
        }
    }
}
