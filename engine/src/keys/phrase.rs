//! The master secret as 24 English words (BIP-39), to be kept on paper.
//!
//! The words spell the 256 bits themselves and an 8-bit checksum. BIP-39's second step, which stretches the words into a
//! wallet's seed with PBKDF2, plays no part: the bits already are a full-strength key.

use crate::id::Secret;
use bip39::{Language, Mnemonic};
use zeroize::{Zeroize, Zeroizing};

/// Words in a phrase.
const WORDS: usize = 24;
/// Bytes of the longest word in the list.
const MAX_WORD_LEN: usize = 8;
/// How much of a word that is not in the list is repeated in the error, in characters.
const SHOWN_LEN: usize = 24;

/// Why a phrase was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Not 24 words.
    #[error(
        "the recovery phrase has 24 words, but {found} were given; check for words that were left out or run together"
    )]
    WordCount {
        /// How many there were.
        found: usize,
    },
    /// A word that is not in the list.
    #[error("word {position} of the recovery phrase, {word:?}, is not in the word list{}", hint(*.suggestion))]
    UnknownWord {
        /// Its place; the first word is 1.
        position: usize,
        /// The word, shortened if it is very long.
        word: String,
        /// The word of the list that is most like it, if one is.
        suggestion: Option<&'static str>,
    },
    /// All words are in the list, but do not belong together.
    #[error(
        "the recovery phrase does not add up: every word is in the word list, but at least one is not the right one or \
         stands in the wrong place; compare it with the paper word by word"
    )]
    Checksum,
}

fn hint(suggestion: Option<&'static str>) -> String {
    suggestion.map_or_else(String::new, |word| format!("; did you mean {word:?}?"))
}

/// 24 words that make a master secret anew. Wiped on drop; only [`Self::as_str`] and [`Self::words`] show them.
pub struct RecoveryPhrase(Zeroizing<String>);

impl RecoveryPhrase {
    pub(super) fn of(secret: &Secret) -> Self {
        // PA
        let mnemonic = match Mnemonic::from_entropy_in(Language::English, secret.expose()) {
            Ok(mnemonic) => mnemonic,
            // Only lengths other than 16 to 32 bytes are refused.
            Err(error) => unreachable!("32 bytes make 24 words: {error}"),
        };
        // Room for all words at once, so that no shorter copy is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(WORDS * (MAX_WORD_LEN + 1)));
        for word in mnemonic.words() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        Self(text)
    }

    /// Reads 24 words in either case, between any white space; numbers such as `7.` before a word are passed over, so that
    /// a numbered list can be pasted. A phrase with a wrong word passes the checksum once in 256 times: whoever recovers a
    /// keyring compares its realm id with the store's.
    pub(super) fn parse(text: &str) -> Result<Secret, PhraseError> {
        // PA
        let words = || text.split_whitespace().filter(|word| !is_numbering(word));
        let found = words().count();
        // The unknown word first: it is also why the count may be off.
        let mut normal = Zeroizing::new(String::with_capacity(WORDS * (MAX_WORD_LEN + 1)));
        for (index, word) in words().enumerate() {
            let mut lower = Zeroizing::new(String::with_capacity(word.len()));
            lower.push_str(word);
            lower.make_ascii_lowercase();
            let Some(known) = in_list(&lower) else {
                let suggestion = closest(&lower);
                let word = word.chars().take(SHOWN_LEN).collect();
                return Err(PhraseError::UnknownWord { position: index + 1, word, suggestion });
            };
            if index < WORDS {
                normal.push_str(known);
                normal.push(' ');
            }
        }
        if found != WORDS {
            return Err(PhraseError::WordCount { found });
        }
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &normal).map_err(|_| PhraseError::Checksum)?;
        let (mut entropy, _) = mnemonic.to_entropy_array();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&entropy[..32]);
        entropy.zeroize();
        let secret = Secret::new(bytes);
        bytes.zeroize();
        Ok(secret)
    }

    /// The words, with a space between them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The words in order.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ')
    }
}

impl core::fmt::Debug for RecoveryPhrase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RecoveryPhrase(…)")
    }
}

fn is_numbering(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b')' | b':'))
}

fn in_list(word: &str) -> Option<&'static str> {
    let list = Language::English.word_list();
    list.binary_search(&word).ok().map(|index| list[index])
}

/// The word of the list that a typing error would have made into `word`: at most two letters off.
fn closest(word: &str) -> Option<&'static str> {
    if word.len() > 2 * MAX_WORD_LEN {
        return None;
    }
    let (distance, known) =
        Language::English.word_list().iter().map(|known| (edits(word.as_bytes(), known.as_bytes()), *known)).min()?;
    (distance <= 2 && distance < word.len()).then_some(known)
}

/// Levenshtein distance.
fn edits(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let kept = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = kept.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::MasterSecret;
    use crate::keys::golden::secret;
    use proptest::prelude::*;

    fn phrase(fill: u8) -> String {
        RecoveryPhrase::of(&secret(fill)).as_str().to_owned()
    }

    /// The reference vectors of BIP-39 for 256 bits.
    #[test]
    fn phrases_are_those_of_bip_39() {
        assert_eq!(phrase(0x00), format!("{}art", "abandon ".repeat(23)));
        assert_eq!(phrase(0xff), format!("{}vote", "zoo ".repeat(23)));
        let legal = "legal winner thank year wave sausage worth useful ";
        assert_eq!(phrase(0x7f), format!("{}legal winner thank year wave sausage worth title", legal.repeat(2)));
        let letter = "letter advice cage absurd amount doctor acoustic avoid ";
        assert_eq!(phrase(0x80), format!("{}letter advice cage absurd amount doctor acoustic bless", letter.repeat(2)));
    }

    #[test]
    fn the_list_is_sorted_for_the_search() {
        assert!(Language::English.word_list().is_sorted());
        assert_eq!(Language::English.word_list().iter().map(|word| word.len()).max(), Some(MAX_WORD_LEN));
    }

    #[test]
    fn a_missing_or_extra_word_is_a_wrong_count() {
        let phrase = phrase(7);
        let short = phrase.rsplit_once(' ').unwrap().0;
        assert_eq!(RecoveryPhrase::parse(short), Err(PhraseError::WordCount { found: 23 }));
        assert_eq!(RecoveryPhrase::parse(&format!("{phrase} zoo")), Err(PhraseError::WordCount { found: 25 }));
        assert_eq!(RecoveryPhrase::parse(""), Err(PhraseError::WordCount { found: 0 }));
        assert_eq!(RecoveryPhrase::parse(" \n"), Err(PhraseError::WordCount { found: 0 }));
        let twelve = "abandon ".repeat(11) + "about";
        assert_eq!(RecoveryPhrase::parse(&twelve), Err(PhraseError::WordCount { found: 12 }));
    }

    #[test]
    fn an_unknown_word_is_named_with_its_place_and_the_likely_word() {
        let cases = [
            ("abandno", Some("abandon")),
            ("artt", Some("art")),
            ("Zooo", Some("zoo")),
            ("qqqqqqqq", None),
            ("q", None),
            ("ärt", Some("art")),
            ("\u{1b}[31m", None),
        ];
        for (typo, suggestion) in cases {
            let text = format!("{} {typo} {}", "abandon ".repeat(4), "abandon ".repeat(19));
            let refused = PhraseError::UnknownWord { position: 5, word: typo.to_owned(), suggestion };
            assert_eq!(RecoveryPhrase::parse(&text), Err(refused));
        }
        let run_together = RecoveryPhrase::parse(&phrase(7).replace(' ', ""));
        let Err(PhraseError::UnknownWord { position: 1, word, suggestion: None }) = run_together else {
            panic!("{run_together:?}")
        };
        assert_eq!(word.chars().count(), SHOWN_LEN);
    }

    #[test]
    fn swapped_words_do_not_add_up() {
        let text = "abandon ".repeat(22) + "art abandon";
        assert_eq!(RecoveryPhrase::parse(&text), Err(PhraseError::Checksum));
        assert_eq!(RecoveryPhrase::parse(&"abandon ".repeat(24)), Err(PhraseError::Checksum));
    }

    #[test]
    fn errors_say_what_to_do() {
        let unknown = PhraseError::UnknownWord { position: 5, word: "abandno".into(), suggestion: Some("abandon") };
        assert_eq!(
            unknown.to_string(),
            "word 5 of the recovery phrase, \"abandno\", is not in the word list; did you mean \"abandon\"?"
        );
        let escape = PhraseError::UnknownWord { position: 1, word: "\u{1b}[31m".into(), suggestion: None };
        assert!(!escape.to_string().contains('\u{1b}'));
    }

    #[test]
    fn case_white_space_and_numbering_do_not_matter() {
        let words = phrase(9);
        let listed: String = words
            .split(' ')
            .enumerate()
            .map(|(i, word)| format!("  {}.\t{}\r\n", i + 1, word.to_uppercase()))
            .collect();
        assert_eq!(RecoveryPhrase::parse(&listed), Ok(secret(9)));
    }

    #[test]
    fn a_phrase_is_not_printed() {
        assert_eq!(format!("{:?}", RecoveryPhrase::of(&secret(0))), "RecoveryPhrase(…)");
    }

    proptest! {
        #[test]
        fn every_secret_survives_its_phrase(bytes in any::<[u8; 32]>()) {
            let master = MasterSecret::new(Secret::new(bytes));
            let phrase = master.phrase();
            prop_assert_eq!(phrase.words().count(), 24);
            prop_assert!(MasterSecret::from_phrase(phrase.as_str()) == Ok(master));
        }

        #[test]
        fn one_wrong_word_is_hardly_ever_taken_for_the_secret(
            bytes in any::<[u8; 32]>(), place in 0..24usize, other in 0..2048usize,
        ) {
            let phrase = RecoveryPhrase::of(&Secret::new(bytes));
            let mut words: Vec<&str> = phrase.words().collect();
            words[place] = Language::English.word_list()[other];
            let changed = words.join(" ");
            match RecoveryPhrase::parse(&changed) {
                Ok(secret) => prop_assert_eq!(secret == Secret::new(bytes), changed == phrase.as_str()),
                Err(error) => prop_assert_eq!(error, PhraseError::Checksum),
            }
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,300}") {
            let _ = RecoveryPhrase::parse(&text);
        }
    }
}
