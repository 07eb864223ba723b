use std::ops::Deref;

/// A list that holds its first number itself: most seconds of a position hold one record, and each record is remembered
/// twice, by its poll and by its lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Few {
    /// At most one.
    One(Option<u64>),
    /// Two or more.
    Many(Vec<u64>),
}

impl Default for Few {
    fn default() -> Self {
        Self::One(None)
    }
}

impl Deref for Few {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        match self {
            Self::One(one) => one.as_slice(),
            Self::Many(many) => many,
        }
    }
}

impl Few {
    /// The number at `place`.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut u64> {
        match self {
            Self::One(one) => one.as_mut_slice().get_mut(place),
            Self::Many(many) => many.get_mut(place),
        }
    }

    /// Puts a number in `place`, at most behind the last.
    pub fn insert(&mut self, place: usize, number: u64) {
        match self {
            Self::One(one @ None) => *one = Some(number),
            Self::One(Some(first)) => {
                let first = *first;
                *self = Self::Many(if place == 0 { vec![number, first] } else { vec![first, number] });
            }
            Self::Many(many) => many.insert(place, number),
        }
    }

    /// Takes the number out of `place`, where there is one.
    pub fn remove(&mut self, place: usize) {
        match self {
            Self::One(one) if place == 0 => *one = None,
            Self::One(_) => {}
            Self::Many(many) => {
                if place < many.len() {
                    many.remove(place);
                }
                if let [only] = many[..] {
                    *self = Self::One(Some(only));
                }
            }
        }
    }

    /// Puts a number behind the last.
    pub fn push(&mut self, number: u64) {
        self.insert(self.len(), number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_where_they_are_put() {
        let mut few = Few::default();
        let mut list = Vec::new();
        for (place, number) in [(0, 5), (0, 4), (2, 7), (1, 6), (4, 9)] {
            few.insert(place, number);
            list.insert(place, number);
            assert_eq!(few[..], list[..]);
        }
        few.push(1);
        *few.get_mut(1).unwrap() = 2;
        assert_eq!(few[..], [4, 2, 5, 7, 9, 1]);
        let mut two = Few::default();
        two.push(3);
        two.push(1);
        assert_eq!(two[..], [3, 1]);
        assert_eq!(two.get_mut(2), None);
        for (place, left) in [(2, &[3, 1][..]), (0, &[1]), (1, &[1]), (0, &[])] {
            two.remove(place);
            assert_eq!(two[..], *left);
        }
        two.push(8);
        assert_eq!(two, Few::One(Some(8)));
    }
}
