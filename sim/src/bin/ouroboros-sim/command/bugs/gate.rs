//! The file of rates that a later hunt is held against.

use super::hunt::Found;
use super::rate::Rate;
use ouroboros_engine::planted::Bug;
use std::collections::BTreeMap;
use std::path::Path;

/// The rates as they were, by the bugs' names.
pub(super) type Rates = BTreeMap<String, Rate>;

/// # Errors
/// What is wrong with the file.
pub(super) fn read(path: &Path) -> Result<Rates, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut rates = Rates::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let wrong = || format!("{}, line {}: {line:?} is no bug with its hits and seeds", path.display(), number + 1);
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, hits, of, ..] = words[..] else { return Err(wrong()) };
        let (Ok(hits), Ok(of)) = (hits.parse(), of.parse()) else { return Err(wrong()) };
        // None of none: a bug that only a scenario can look for.
        if hits > of || !Bug::ALL.iter().any(|bug| bug.name() == name) {
            return Err(wrong());
        }
        rates.insert(name.to_owned(), Rate { hits, of });
    }
    Ok(rates)
}

/// The file, as it is written: it can be read, and looked at.
pub(super) fn text(all: &[(Bug, Found)]) -> String {
    let mut out = String::from(
        "# How often each planted bug is found. `ouroboros-sim bugs --gate` of this file fails where a rate has fallen to a\n\
         # quarter or less; `--write-gate` writes it anew. A line is a bug, its hits and the seeds they are of; what follows\n\
         # is for people: the first seed, the rate and its 95 % interval, the promise that broke, and the choices of the first\n\
         # schedule and of the minimised one.\n",
    );
    for (bug, found) in all {
        let (low, high) = found.rate.interval();
        out.push_str(&format!(
            "{:<22} {:>4} {:>5}   {:>5}  {:>7} ({:>7} to {:>7})  {:<4} {:>5} {:>3}\n",
            bug.name(),
            found.rate.hits,
            found.rate.of,
            found.first().map_or_else(|| "-".to_owned(), |first| first.seed.to_string()),
            super::print::percent(found.rate.per_million()),
            super::print::percent(low),
            super::print::percent(high),
            found.fired(),
            found.first().map_or(0, |first| first.choices),
            found.first().map_or(0, |first| first.least),
        ));
    }
    out
}

/// What has fallen, in words.
pub(super) fn fallen(all: &[(Bug, Found)], rates: &Rates) -> Vec<String> {
    let mut out = Vec::new();
    for (bug, found) in all {
        let Some(was) = rates.get(bug.name()) else {
            out.push(format!("{}: the file has no rate of it", bug.name()));
            continue;
        };
        if found.rate.has_fallen_from(*was) {
            out.push(format!(
                "{}: {} of {} seeds, where it was {} of {}",
                bug.name(),
                found.rate.hits,
                found.rate.of,
                was.hits,
                was.of
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_file_has_a_rate_of_every_bug() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planted_rates.txt");
        let rates = read(&path).unwrap();
        for bug in Bug::ALL {
            assert!(
                rates.contains_key(bug.name()),
                "{}: measure it, with `bugs --only` and `--write-gate`",
                bug.name()
            );
        }
        assert_eq!(rates.len(), Bug::ALL.len());
        let nothing = Rate::default();
        assert!(!nothing.has_fallen_from(nothing));
    }
}
