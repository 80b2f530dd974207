//! "Did you mean".

/// The word of `known` that is nearest to `word`, if it is near enough to be a typo.
///
/// A typo is a letter too many, too few, another one, or two that changed places: at most a third of the word's
/// letters, and never more than three. Case does not count. The first of equals wins.
///
/// ```
/// use scaler_api::metadata::nearest;
/// let known = ["queueURL", "queueLength", "awsRegion"];
/// assert_eq!(nearest("queueLenght", known.into_iter()), Some("queueLength"));
/// assert_eq!(nearest("region", known.into_iter()), None);
/// ```
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let letters = lower(word);
    let limit = (letters.len() / 3).clamp(1, 3);
    known
        .map(|candidate| (distance(&letters, &lower(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn lower(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut current = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let substituted = last[j] + usize::from(letter != other);
            let mut best = substituted.min(last[j + 1] + 1).min(current[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                best = best.min(before_last[j - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_their_word_and_other_words_do_not() {
        let known = ["queueURL", "queueLength", "awsRegion", "scaleOnInFlight", "mode"];
        for (word, expected) in [
            ("queueLenght", Some("queueLength")),
            ("queueurl", Some("queueURL")),
            ("queueUrI", Some("queueURL")),
            ("awsregions", Some("awsRegion")),
            ("scaleOnInflght", Some("scaleOnInFlight")),
            ("mod", Some("mode")),
            ("model", Some("mode")),
            ("m", None),
            ("", None),
            ("password", None),
            ("length", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), expected, "{word:?}");
        }
    }

    #[test]
    fn the_first_of_equals_wins() {
        assert_eq!(nearest("host1", ["host2", "host3"].into_iter()), Some("host2"));
    }
}
