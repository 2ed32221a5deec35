//! `ouroboros doctor`

use super::Session;
use crate::exit::{Exit, Failure, Outcome};
use crate::keyring_file;
use crate::output::Report;
use crate::store::Severity;
use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// What `doctor` takes.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {}

#[derive(Serialize)]
struct Told {
    severity: &'static str,
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    advice: String,
}

impl Told {
    fn new(severity: Severity, text: String, advice: String) -> Self {
        let severity = match severity {
            Severity::Good => "good",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Lost => "lost",
        };
        Self { severity, text, advice }
    }

    const fn style(&self) -> Style {
        match self.severity.as_bytes() {
            b"good" => AnsiColor::Green.on_default(),
            b"warning" => AnsiColor::Yellow.on_default().bold(),
            b"lost" => AnsiColor::Red.on_default().bold(),
            _ => Style::new(),
        }
    }
}

impl Report for Told {
    const TYPE: &'static str = "finding";
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let style = self.style();
        writeln!(page, "{style}{:>7}{style:#}  {}", self.severity, self.text)?;
        if self.advice.is_empty() { Ok(()) } else { writeln!(page, "         what to do: {}", self.advice) }
    }
}

pub(super) fn run(session: &mut Session<'_>, _args: DoctorArgs) -> Outcome {
    let place = session.place()?;
    let db = session.open()?;
    let findings = db.doctor()?;
    db.close()?;
    let lost = findings.iter().filter(|f| f.severity == Severity::Lost).count();
    let own = keyring_file::worries(&place.keyring, &place.store).into_iter();
    let own = own.map(|(text, advice)| Told::new(Severity::Warning, text, advice));
    let told: Vec<Told> = findings.into_iter().map(|f| Told::new(f.severity, f.text, f.advice)).chain(own).collect();
    told.iter().try_for_each(|finding| session.out.emit(finding))?;
    if told.is_empty() {
        session.out.say("the store is well")?;
    }
    if lost == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Damaged, format!("{lost} findings mean lost data")).advise("see above"))
}
