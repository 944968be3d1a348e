//! Where events and tables go. A reader that went away, as `head` does, ends the command well: [`Output`] says so, once.

use std::io::{self, BufWriter, Stdout, Write};
use std::ops::ControlFlow;

use super::super::Failure;
use super::top::Top;
use super::{json, line, table};
use crate::monitor::event::Event;
use crate::monitor::view::View;

/// How what is seen is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A line an event, a table at the end.
    Lines,
    /// JSON lines.
    Json,
    /// A view that is drawn over itself, a table at the end.
    Top,
}

/// Whether anybody still reads; else the command ends.
pub(super) type Reader = Result<ControlFlow<()>, Failure>;

/// Standard output, in one style.
pub(super) struct Output {
    style: Style,
    out: BufWriter<Stdout>,
    is_headed: bool,
    top: Option<Top>,
}

impl Output {
    pub(super) fn new(style: Style) -> Self {
        Self { style, out: BufWriter::new(io::stdout()), is_headed: false, top: (style == Style::Top).then(Top::new) }
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// Shows one event.
    pub(super) fn event(&mut self, event: &Event) -> Reader {
        let text = match self.style {
            Style::Json => json::line(event),
            Style::Lines if self.is_headed => line::line(event),
            Style::Lines => format!("{}{}", line::heading(), line::line(event)),
            Style::Top => {
                self.top.iter_mut().for_each(|top| top.note(event));
                return Ok(ControlFlow::Continue(()));
            }
        };
        self.is_headed = true;
        self.write(&text)
    }

    /// Once a second: draws the live view.
    pub(super) fn tick(&mut self, view: &View) -> Reader {
        match &mut self.top {
            None => Ok(ControlFlow::Continue(())),
            Some(top) => {
                let text = top.draw(view);
                self.write(&text)
            }
        }
    }

    /// Shows what it all came to.
    pub(super) fn end(mut self, view: &View) -> Result<(), Failure> {
        let restored = self.top.take().map_or_else(String::new, |_| Top::restore().to_owned());
        let text = match self.style {
            Style::Json => String::new(),
            Style::Lines if self.is_headed => format!("\n{}", table::table(view)),
            Style::Lines | Style::Top => format!("{restored}{}", table::table(view)),
        };
        self.write(&text).map(|_| ())
    }

    /// Writes, and lets it be read at once.
    fn write(&mut self, text: &str) -> Reader {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(Failure::Runtime(anyhow::Error::from(error).context("standard output"))),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.top.is_some() {
            let _ = self.write(Top::restore());
        }
    }
}
