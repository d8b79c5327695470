//! Picks some of many hashes so that equal runs give equal picks (Schleimer, Wilkerson, Aiken:
//! "Winnowing", 2003).

/// The places of the picked hashes: of every `window` in a row the least, of equals the last.
///
/// Of fewer than `window` hashes the least is picked. Whatever stands around a run of `window`
/// hashes, one of it is picked.
pub(crate) fn winnow(hashes: &[u64], window: usize) -> Vec<usize> {
    let mut picked: Vec<usize> = Vec::new();
    let window = window.clamp(1, hashes.len().max(1));
    for (start, part) in hashes.windows(window).enumerate() {
        let least = part.iter().enumerate().rev().min_by_key(|(_, hash)| **hash);
        let place = least.map_or(start, |(place, _)| start + place);
        if picked.last() != Some(&place) {
            picked.push(place);
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_equal_hashes_the_last_is_picked() {
        assert_eq!(winnow(&[7, 7, 7, 9], 3), [2]);
        assert_eq!(winnow(&[3, 1, 1, 5, 6, 7], 3), [2, 3]);
    }

    #[test]
    fn few_hashes_give_one_pick_and_none_none() {
        assert_eq!(winnow(&[5, 2, 8], 16), [1]);
        assert_eq!(winnow(&[], 4), [0; 0]);
    }

    proptest! {
        #[test]
        fn what_is_picked_of_a_run_does_not_depend_on_what_stands_around(
            run in prop::collection::vec(0_u64..50, 5..40),
            before in prop::collection::vec(0_u64..50, 0..20),
            after in prop::collection::vec(0_u64..50, 0..20),
        ) {
            let alone = winnow(&run, 5);
            let whole = [before.clone(), run.clone(), after].concat();
            let picked = winnow(&whole, 5);
            for place in alone {
                prop_assert!(picked.contains(&(place + before.len())));
            }
        }
    }
}
