//! Names like one that does not exist.

/// How many are named.
const MOST: usize = 3;

/// Those of `known` that are most like `wanted`, the most similar first; none that have little in common.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let name = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|candidate| {
            let lower = candidate.to_lowercase();
            // The right name in another namespace is what was meant more often than not.
            let distance = if name(&lower) == name(&wanted) {
                0
            } else if name(&wanted).len() > 2 && lower.contains(&name(&wanted)) {
                1
            } else {
                distance(&lower, &wanted)
            };
            (distance <= (wanted.chars().count() / 3).max(2)).then_some((distance, candidate))
        })
        .collect();
    found.sort();
    found
        .into_iter()
        .take(MOST)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// How many letters have to be put in, left out or replaced.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut corner = row[0];
        row[0] = line + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = corner + usize::from(letter != *other);
            corner = row[column + 1];
            row[column + 1] = replaced.min(corner + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_names_come_first() {
        let known = [
            "shop/orders",
            "shop/order-archive",
            "batch/orders",
            "shop/payments",
        ];
        for (wanted, expected) in [
            ("shop/ordres", vec!["shop/orders"]),
            ("default/orders", vec!["batch/orders", "shop/orders"]),
            (
                "shop/order",
                vec!["batch/orders", "shop/order-archive", "shop/orders"],
            ),
            ("x/y", vec![]),
        ] {
            assert_eq!(nearest(wanted, known), expected, "{wanted}");
        }
    }
}
