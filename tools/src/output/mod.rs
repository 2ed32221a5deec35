//! What people and scripts see. Nothing else in this crate prints.
//!
//! Results go to standard output, everything said about them to standard error. With `--json` both are one object a line.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod human;
mod table;

pub(crate) use human::{count, parse_time, rfc3339, short, size, thousands, time};
pub(crate) use table::table;

use crate::args::Globals;
use crate::exit::{Exit, Failure, Outcome};
use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal as _, Stderr, Stdout, Write};
use std::path::Path;
use std::process::ExitCode;

/// One result: an object for scripts, text for people.
pub(crate) trait Report: Serialize {
    /// The object's `type`.
    const TYPE: &'static str;
    /// Writes the text for people.
    fn human(&self, page: &mut dyn Write) -> io::Result<()>;
}

#[derive(Serialize)]
struct Line<'a, T> {
    r#type: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Serialize)]
struct Said<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<u8>,
}

/// The two streams and how to use them.
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    color: anstream::ColorChoice,
    results: BufWriter<AutoStream<Stdout>>,
    messages: AutoStream<Stderr>,
}

const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const ADVICE: Style = AnsiColor::Cyan.on_default();

impl Output {
    /// Output as the options want it.
    pub(crate) fn new(globals: &Globals) -> Self {
        let color = match globals.color {
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
            ColorChoice::Auto => anstream::ColorChoice::Auto,
        };
        Self {
            json: globals.json,
            quiet: globals.quiet,
            color,
            results: BufWriter::new(AutoStream::new(io::stdout(), color)),
            messages: AutoStream::new(io::stderr(), color),
        }
    }

    /// Starts the log of the program's inside, on standard error. What matters to the user is said by the commands
    /// themselves, so that nothing of it is there unasked.
    pub(crate) fn start_log(&self, verbose: u8) {
        let level = match verbose {
            0 => "off",
            1 => "info",
            2 => "debug",
            _ => "trace",
        };
        let filter = std::env::var("OUROBOROS_LOG").unwrap_or_else(|_| level.to_owned());
        let ansi = AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
            && self.color != anstream::ColorChoice::Never;
        let log = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_ansi(ansi)
            .with_writer(io::stderr);
        // Only a second start in one process fails, and then the first one serves.
        drop(log.try_init());
    }

    /// Whether results are objects.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a progress bar may be drawn.
    pub(crate) fn may_draw(&self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal()
    }

    /// Prints one result.
    pub(crate) fn emit<T: Report>(&mut self, report: &T) -> Outcome {
        let written = if self.json {
            serde_json::to_writer(&mut self.results, &Line { r#type: T::TYPE, body: report })
                .map_err(io::Error::from)
                .and_then(|()| self.results.write_all(b"\n"))
        } else {
            report.human(&mut self.results)
        };
        written.map_err(closed)
    }

    /// Prints results as text for people only; nothing with `--json`.
    pub(crate) fn say(&mut self, text: impl Display) -> Outcome {
        if self.json { Ok(()) } else { writeln!(self.results, "{text}").map_err(closed) }
    }

    /// Standard output for a value's own bytes, untouched.
    pub(crate) fn bytes(&mut self) -> Outcome<io::StdoutLock<'static>> {
        self.results.flush().map_err(closed)?;
        Ok(io::stdout().lock())
    }

    /// Says something on standard error unless `--quiet`.
    pub(crate) fn note(&mut self, text: impl Display) {
        if !self.quiet {
            self.message("note", Style::new(), &text.to_string(), None, None);
        }
    }

    /// Warns on standard error, always.
    pub(crate) fn warn(&mut self, text: impl Display) {
        self.message("warning", WARNING, &text.to_string(), None, None);
    }

    /// Asks a question on standard error; the answer is read elsewhere.
    pub(crate) fn ask(&mut self, question: &str) {
        let _ = self.results.flush();
        drop(write!(self.messages, "{question}").and_then(|()| self.messages.flush()));
    }

    /// Says that a store was made, where, and what must not be lost.
    pub(crate) fn created(&mut self, store: &Path, keyring: &Path, keyring_was_there: bool) {
        let which = if keyring_was_there { "existing keyring" } else { "keyring" };
        self.note(format_args!("made a store in {}", store.display()));
        self.note(format_args!("{which}: {}", keyring.display()));
        self.warn(format_args!(
            "without the keyring ({}) or the recovery phrase the data is lost. `ouroboros keys phrase` prints the phrase: \
             write it down, and keep both away from this machine",
            keyring.display()
        ));
    }

    fn message(&mut self, kind: &str, style: Style, message: &str, advice: Option<&str>, exit: Option<u8>) {
        // The bar and the results are on the same screen: results first.
        let _ = self.results.flush();
        let written = if self.json {
            let said = Said { message, advice, exit };
            serde_json::to_string(&Line { r#type: kind, body: &said })
                .map_err(io::Error::from)
                .and_then(|line| writeln!(self.messages, "{line}"))
        } else {
            let advice = advice.map(|advice| format!("\n{ADVICE}what to do:{ADVICE:#} {advice}")).unwrap_or_default();
            let head = if kind == "note" { String::new() } else { format!("{style}{kind}:{style:#} ") };
            writeln!(self.messages, "{head}{message}{advice}")
        };
        // Nobody is left to tell when standard error itself is closed.
        drop(written);
    }

    /// Ends the run: flushes, says what went wrong, gives the exit code.
    pub(crate) fn finish(mut self, result: Outcome) -> ExitCode {
        let result = result.and_then(|()| self.results.flush().map_err(closed));
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                if !failure.message.is_empty() {
                    let code = Some(failure.exit as u8);
                    self.message("error", ERROR, &failure.message, failure.advice.as_deref(), code);
                }
                ExitCode::from(failure.exit as u8)
            }
        }
    }
}

/// Standard output is gone. Somebody's `head` has seen enough: no message for that.
pub(crate) fn closed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::new(Exit::Failed, "")
    } else {
        Failure::new(Exit::Failed, format!("cannot write to standard output: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Sample {
        key: String,
        len: u64,
    }

    #[test]
    fn a_result_is_one_flat_object_with_its_type() {
        let body = Sample { key: "a\\xff".into(), len: 3 };
        let line = serde_json::to_string(&Line { r#type: "put", body: &body }).unwrap();
        assert_eq!(line, r#"{"type":"put","key":"a\\xff","len":3}"#);
    }

    #[test]
    fn an_error_object_says_what_to_do_and_the_exit_code() {
        let said = Said { message: "no", advice: Some("do"), exit: Some(3) };
        let line = serde_json::to_string(&Line { r#type: "error", body: &said }).unwrap();
        assert_eq!(line, r#"{"type":"error","message":"no","advice":"do","exit":3}"#);
    }
}
