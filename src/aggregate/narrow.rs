//! Columns of numbers that are wide in the table and nearly always small: a batch in half the memory is a batch of twice the events.
//!
//! Holds: what goes in comes out, whatever it is. Zeros behind the last other value take no room, so that a column nobody uses is free; what
//! does not fit the narrow form is kept beside it.

use rustc_hash::FxHashMap;

/// A wide number that has a narrow form.
pub(crate) trait Wide: Copy + PartialEq + Default {
    type Narrow: Copy + PartialEq + Default;
    /// Stands for what does not fit.
    const TOO_WIDE: Self::Narrow;
    fn narrow(self) -> Option<Self::Narrow>;
    fn widen(narrow: Self::Narrow) -> Self;
}

impl Wide for u64 {
    type Narrow = u32;
    const TOO_WIDE: u32 = u32::MAX;

    fn narrow(self) -> Option<u32> {
        u32::try_from(self).ok().filter(|&narrow| narrow != Self::TOO_WIDE)
    }

    fn widen(narrow: u32) -> Self {
        narrow.into()
    }
}

impl Wide for i128 {
    type Narrow = i64;
    const TOO_WIDE: i64 = i64::MIN;

    fn narrow(self) -> Option<i64> {
        i64::try_from(self).ok().filter(|&narrow| narrow != Self::TOO_WIDE)
    }

    fn widen(narrow: i64) -> Self {
        narrow.into()
    }
}

/// The column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Narrow<T: Wide> {
    values: Vec<T::Narrow>,
    /// How many values there are, zeros at the end included.
    len: usize,
    wide: FxHashMap<u32, T>,
}

impl<T: Wide> Narrow<T> {
    #[inline]
    pub fn push(&mut self, value: T) {
        if value != T::default() {
            // Zeros that were left out.
            self.values.resize(self.len, T::Narrow::default());
            self.values.push(value.narrow().unwrap_or(T::TOO_WIDE));
            if value.narrow().is_none() {
                self.wide.insert(self.len as u32, value); // a batch holds far fewer than 2^32 rows
            }
        }
        self.len += 1;
    }

    #[inline]
    pub fn get(&self, row: u32) -> T {
        match self.values.get(row as usize) {
            Some(&narrow) if narrow == T::TOO_WIDE => self.wide.get(&row).copied().unwrap_or_default(),
            Some(&narrow) => T::widen(narrow),
            None => T::default(),
        }
    }

    /// Memory held, about.
    pub fn bytes(&self) -> usize {
        self.values.len() * size_of::<T::Narrow>() + self.wide.capacity() * (size_of::<(u32, T)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            numbers in proptest::collection::vec(
                prop_oneof![Just(0), 1..9_u64, Just(u64::from(u32::MAX) - 1), Just(u64::from(u32::MAX)), any::<u64>()], 0..100),
            amounts in proptest::collection::vec(
                prop_oneof![Just(0), -9..9_i128, Just(i64::MAX.into()), Just(i64::MIN.into()), any::<i128>()], 0..100),
        ) {
            let (mut narrow_numbers, mut narrow_amounts) = (Narrow::default(), Narrow::default());
            numbers.iter().for_each(|&number| narrow_numbers.push(number));
            amounts.iter().for_each(|&amount| narrow_amounts.push(amount));
            prop_assert_eq!((0..).zip(&numbers).map(|(row, _)| narrow_numbers.get(row)).collect::<Vec<_>>(), numbers);
            prop_assert_eq!((0..).zip(&amounts).map(|(row, _)| narrow_amounts.get(row)).collect::<Vec<_>>(), amounts);
        }
    }

    #[test]
    fn a_column_of_zeros_is_free() {
        let mut column = Narrow::<i128>::default();
        (0..1_000).for_each(|_| column.push(0));
        assert_eq!((column.bytes(), column.get(999)), (0, 0));
    }
}
