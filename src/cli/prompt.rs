//! Asking the operator: for passwords, which the terminal does not show, and for a yes.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::CommandError;
use crate::signals::Signals;
use crate::text;

/// A terminal gives no longer lines. As much as standard input reads at once, so that its buffer keeps none of it. A line
/// that is cut off here is too long for a password anyway.
const LINE_MAX: usize = 8 * 1024;

/// Asks at the terminal whether the operator means it.
pub(super) fn confirm(question: &str) -> Result<(), CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::Input("there is no terminal to ask at: give --yes if you mean it".into()));
    }
    let mut prompt = anstream::stderr();
    write!(prompt, "{question} [y/N] ").and_then(|()| prompt.flush())?;
    match read_line()?.to_ascii_lowercase().trim_ascii() {
        b"y" | b"yes" => Ok(()),
        _ => Err(CommandError::NotConfirmed),
    }
}

/// From the terminal without echo, twice; otherwise the first line of standard input.
pub(super) fn new_password() -> Result<Zeroizing<String>, CommandError> {
    let input = |text: &str| CommandError::Input(text.to_owned());
    let line = if io::stdin().is_terminal() {
        let line = unseen("Password: ")?;
        if line != unseen("Again: ")? {
            return Err(input("the passwords differ"));
        }
        line
    } else {
        read_line()?
    };
    match text::of(&line).map(text::without_line_end) {
        Ok("") => Err(input("no password on standard input")),
        Ok(line) => Ok(Zeroizing::new(line.to_owned())),
        Err(error) => Err(CommandError::Input(format!("the password on standard input is {error}"))),
    }
}

/// The next line of standard input, with its end.
fn read_line() -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    io::stdin().lock().take(LINE_MAX as u64).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Asks for a line without echo. Ctrl-C ends the process, as everywhere.
///
/// # Errors
/// The terminal fails, or the process outlives the signal.
fn unseen(question: &str) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let terminal = io::stdin();
    let before = tcgetattr(&terminal).map_err(io::Error::from)?;
    let interrupt = before.special_codes[SpecialCodeIndex::VINTR];
    let mut modes = before.clone();
    modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    modes.special_codes[SpecialCodeIndex::VEOL] = interrupt; // ends the line, not the process while the terminal hides input
    WATCH.call_once(watch);
    *hidden() = Some(before.clone());
    tcsetattr(&terminal, OptionalActions::Now, &modes).map_err(io::Error::from)?;
    let line = ask(question);
    tcsetattr(&terminal, OptionalActions::Now, &before).map_err(io::Error::from)?;
    *hidden() = None;
    let _ = writeln!(io::stderr()); // the end of the line had no echo either
    let mut line = line?;
    if line.last() == Some(&interrupt) {
        kill_process(getpid(), Signal::INT).map_err(io::Error::from)?;
        // The parent process may have had the signal ignored.
        return Err(CommandError::NotConfirmed);
    }
    // Ctrl-Z and the like are signals everywhere else, and never part of a password.
    let signals = [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT].map(|key| before.special_codes[key]);
    if signals.iter().any(|signal| *signal != 0 && line.contains(signal)) {
        return Err(CommandError::NotConfirmed);
    }
    line.pop_if(|last| *last == b'\n');
    Ok(line)
}

/// The terminal's modes from before, while it hides input.
static HIDDEN: Mutex<Option<Termios>> = Mutex::new(None);

static WATCH: Once = Once::new();

fn hidden() -> MutexGuard<'static, Option<Termios>> {
    HIDDEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on signals restore the terminal before they end the process. Where the system gives no thread for that, they
/// only end it.
fn watch() {
    let (hears, ready) = channel();
    let watcher = thread::Builder::new().name("signals".into()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            let Ok(mut signals) = Signals::listen_beside_interrupt() else { return };
            let _ = hears.send(());
            let signal = signals.next().await;
            if let Some(before) = &*hidden() {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
            }
            std::process::exit(signal.exit_code());
        });
    });
    if watcher.is_ok() {
        let _ = ready.recv(); // an error if it gives up
    }
}

fn ask(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut prompt = io::stderr();
    write!(prompt, "{question}").and_then(|()| prompt.flush())?;
    let mut line = Zeroizing::new(vec![0; LINE_MAX]);
    loop {
        match io::stdin().read(&mut line) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => {
                line.truncate(read?);
                return Ok(line);
            }
        }
    }
}
