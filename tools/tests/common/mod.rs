//! A home directory of its own for the real command, and what a test asks of it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Home {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) passphrase: Option<&'static str>,
}

impl Home {
    /// Nothing in it: a first write makes the store.
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), passphrase: Some("correct horse") }
    }

    /// With a store whose passphrase costs nothing to try.
    pub(crate) fn with_store() -> Self {
        Self::with_store_of(&[])
    }

    /// With a store made with these options.
    pub(crate) fn with_store_of(options: &[&str]) -> Self {
        let home = Self::new();
        home.ok(&[&["init", "--kdf", "testing"], options].concat());
        home
    }

    /// The same home with another passphrase in the environment, or none.
    pub(crate) fn with_passphrase(self, passphrase: Option<&'static str>) -> Self {
        Self { passphrase, ..self }
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub(crate) fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ouroboros"));
        command.env_clear().env("HOME", self.directory.path()).current_dir(self.directory.path());
        if let Some(passphrase) = self.passphrase {
            command.env("OUROBOROS_PASSPHRASE", passphrase);
        }
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs it, feeding it standard input.
    pub(crate) fn fed(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().unwrap();
        // A command that refuses at once reads nothing.
        drop(child.stdin.take().unwrap().write_all(input));
        child.wait_with_output().unwrap()
    }

    pub(crate) fn code(&self, words: &[&str]) -> i32 {
        self.run(words).status.code().unwrap()
    }

    /// Standard output of a run that must succeed.
    pub(crate) fn ok(&self, words: &[&str]) -> Vec<u8> {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", text_of(&output.stderr));
        output.stdout
    }

    /// Standard error of a run that must end with `code`.
    pub(crate) fn fails(&self, words: &[&str], code: i32) -> String {
        let output = self.run(words);
        let said = text_of(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        said
    }

    pub(crate) fn json(&self, words: &[&str]) -> Vec<Value> {
        lines(&self.ok(&[&["--json"], words].concat()))
    }

    pub(crate) fn put(&self, key: &str, content: &[u8]) -> Value {
        let output = self.fed(&["--json", "put", key], content);
        assert!(output.status.success(), "{}", text_of(&output.stderr));
        lines(&output.stdout).remove(0)
    }

    pub(crate) fn keyring(&self) -> PathBuf {
        self.path(".config/ouroboros/default.keyring")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path(".local/share/ouroboros/store")
    }

    /// Waits until this process has the store open: it says so in the lock file.
    pub(crate) fn until_held_by(&self, child: &Child) {
        let lock = self.store().join("lock");
        until("the process holds the store", || {
            std::fs::read_to_string(&lock).is_ok_and(|text| text.trim() == child.id().to_string())
        });
    }

    /// The segments of the log.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.store().join("blocks")).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "log")).collect()
    }

    /// Turns over one byte in every 8 KiB of the log that has no structure, and says how many: both slices of chunks, and no
    /// small records.
    pub(crate) fn damage_noise(&self) -> usize {
        const PAGE: usize = 8192;
        let mut damaged = 0;
        for segment in self.segments() {
            let mut bytes = std::fs::read(&segment).unwrap();
            for page in bytes.chunks_exact_mut(PAGE) {
                if page.iter().filter(|byte| **byte == 0).count() * 64 < PAGE {
                    page[PAGE / 2] ^= 0xff;
                    damaged += 1;
                }
            }
            std::fs::write(&segment, bytes).unwrap();
        }
        damaged
    }

    /// `files` small files and some larger ones below `tree`, some alike.
    pub(crate) fn tree(&self, files: usize) -> PathBuf {
        for number in 0..files {
            let content = if number % 7 == 0 { noise(number as u64, 20_000) } else { format!("file {number}").into() };
            self.write(&format!("tree/sub{}/{number}", number % 5), content);
        }
        self.path("tree")
    }
}

/// Waits for a process, which must end.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until something holds, which it must.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Bytes without structure, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(len).collect()
}

pub(crate) fn lines(bytes: &[u8]) -> Vec<Value> {
    text_of(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub(crate) fn same(one: &Path, other: &Path) -> bool {
    Command::new("diff").arg("-r").arg(one).arg(other).status().unwrap().success()
}

/// Runs a line of shell, where `$ouroboros` is the command, on a terminal of its own, typing each answer when its question has come. Gives what stood on the screen,
/// and the exit code.
pub(crate) fn on_a_terminal(home: &Home, line: &str, answers: &[(&str, &str)]) -> (String, i32) {
    let mut script = Command::new("script");
    script.env_clear().env("HOME", home.directory.path()).env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
    script.current_dir(home.directory.path()).env("SHELL", "/bin/sh");
    home.passphrase.into_iter().for_each(|passphrase| {
        script.env("OUROBOROS_PASSPHRASE", passphrase);
    });
    script.env("ouroboros", env!("CARGO_BIN_EXE_ouroboros"));
    let line = format!("stty -a > before; {line}; code=$?; stty -a > after; exit $code");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().expect("script, of Debian's bsdutils, gives a terminal");
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut seen, mut new, mut buffer) = (String::new(), String::new(), [0; 4096]);
    let mut answers = answers.iter();
    let mut next = answers.next();
    loop {
        let read = screen.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
        seen.push_str(&text);
        new.push_str(&text);
        if let Some((question, answer)) = next.filter(|(question, _)| new.contains(question)) {
            assert!(new.contains(question));
            new.clear();
            // A person answers after the terminal has stopped showing what is typed.
            std::thread::sleep(Duration::from_millis(200));
            keyboard.write_all(answer.as_bytes()).unwrap();
            next = answers.next();
        }
    }
    let code = child.wait().unwrap().code().unwrap();
    assert!(next.is_none(), "never asked: {next:?}\n{seen}");
    let stty = |name: &str| std::fs::read_to_string(home.path(name)).unwrap();
    assert_eq!(stty("before"), stty("after"), "the terminal is left as it was");
    (seen, code)
}
